"""NextItNet (arXiv 1808.05163): dilated causal convolutions over a sequence of items.

B sequences, L positions, P computed positions (`models.sequence.positions`), E embedding. Sequences are left-padded: the
newest item is last.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout
from models.sequence.kind import SequenceKind
from models.sequence.positions import EarlierPositions, Positions
from models.sequence.sasrec import initialise

LAYER_NORM_EPS = 1e-8


@dataclass
class NextItNetSettings:
    """NextItNet.

    Args:
        kind: name of the sequence encoder.
        max_len: inputs per sequence, L; the last L + 3 interactions of each user are kept.
        blocks: how often the list of dilations is repeated.
        dilations: dilation of the first convolution of each residual block; that of the second is twice as large.
        kernel: positions that a convolution reads.
        output_layer: whether a linear layer with bias follows the last residual block, as in RecBole.
        dropout: dropout probability of the inputs.
        adapt: what trains of an encoder with initial weights, by a method of `--adapt`; empty to train all of it in the
            group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "nextitnet"
    max_len: int = 10
    blocks: int = 2
    dilations: list[int] = field(default_factory=lambda: [1, 4])
    kernel: int = 3
    output_layer: bool = False
    dropout: float = 0.1
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class CausalConvolution(nn.Module):
    """A convolution of the current and earlier positions, followed by LayerNorm and ReLU.

    y_l = ReLU(LN(b + Σ_{k=0..K-1} W_k x_{l - (K-1-k)·dilation})), with zeros before the first position.

    Args:
        width: E.
        kernel: K.
        dilation: distance between the positions that are read.
    """

    def __init__(self, width: int, *, kernel: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, kernel, dilation=dilation)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, earlier: EarlierPositions) -> Tensor:
        """(P, E) -> (P, E)."""
        (kernel,), (dilation,) = self.convolution.kernel_size, self.convolution.dilation
        distances = [(kernel - 1 - k) * dilation for k in range(kernel)]
        # A matrix product of the read positions: for short sequences it is faster on a CPU than a convolution.
        read = [k for k, distance in enumerate(distances) if distance < earlier.length]
        inputs = torch.cat([earlier.shift(x, distances[k]) for k in read], dim=1)
        weight = self.convolution.weight[:, :, read[0] :].transpose(1, 2).flatten(1)
        return F.relu(self.norm(F.linear(inputs, weight, self.convolution.bias)))


class ResidualBlock(nn.Module):
    """Two causal convolutions, the second with twice the dilation, and a residual connection (figure 3b of the paper).

    Args:
        width: E.
        kernel: positions that a convolution reads.
        dilation: dilation of the first convolution.
    """

    def __init__(self, width: int, *, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvolution(width, kernel=kernel, dilation=dilation)
        self.second = CausalConvolution(width, kernel=kernel, dilation=2 * dilation)

    def forward(self, x: Tensor, earlier: EarlierPositions) -> Tensor:
        """(P, E) -> (P, E)."""
        return x + self.second(self.first(x, earlier), earlier)


class NextItNet(nn.Module):
    """Convolutional sequence encoder of residual blocks, without position embeddings.

    Padding is read as zeros by each convolution, like the positions before the first, so the number of padding
    positions does not affect the states.

    Args:
        embedding_dim: E.
        max_len: maximum input length L.
        blocks: how often `dilations` is repeated.
        dilations: dilations of the residual blocks.
        kernel: positions that a convolution reads.
        output_layer: whether a linear layer, (E) -> (E), follows the last block.
        dropout: dropout probability of the inputs.
        read_padding: whether the vectors at padding positions are inputs like all others, as in the public codes. They
            are not saved with the model.
        initial_std: standard deviation of the initial weights; by default convolutions have those of torch, as in the
            public codes, and the output layer Xavier normal ones.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_len: int = 10,
        blocks: int = 2,
        dilations: list[int] | tuple[int, ...] = (1, 4),
        kernel: int = 3,
        output_layer: bool = False,
        dropout: float = 0.1,
        read_padding: bool = False,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if not dilations or min(blocks, kernel, *dilations) < 1:
            raise ValueError(
                f"blocks is {blocks}, dilations {list(dilations)} and kernel {kernel}; expected at least one dilation, and "
                "positive numbers"
            )
        self.embedding_dim = embedding_dim
        self.max_len = max_len
        self.dilations = list(dilations)
        self.kernel = kernel
        self.read_padding = read_padding
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            ResidualBlock(embedding_dim, kernel=kernel, dilation=dilation)
            for dilation in self.dilations * blocks
        )
        self.output = nn.Linear(embedding_dim, embedding_dim) if output_layer else None
        self.apply(partial(_initialise, std=initial_std))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`NextItNet(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.embedding_dim,
            "max_len": self.max_len,
            "blocks": len(self.blocks) // len(self.dilations),
            "dilations": self.dilations,
            "kernel": self.kernel,
            "output_layer": self.output is not None,
            "dropout": self.dropout.p,
        }

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        """States after each position.

        Args:
            items: (B, L, E) item embeddings.
            real: (B, L) false at padding.

        Returns:
            (B, L, E). The state at position l depends on items 0..l only. Values at padding are meaningless.
        """
        if self.read_padding:
            real = torch.ones_like(real)
        positions = Positions(real, skip_padding=True)
        earlier = EarlierPositions(real, positions)
        x = self.dropout(positions.pick(items))
        for block in self.blocks:
            x = block(x, earlier)
        return positions.spread(x if self.output is None else self.output(x))


def _initialise(module: nn.Module, *, std: float | None) -> None:
    if isinstance(module, nn.Linear):
        initialise(module, std=std)
    elif isinstance(module, nn.Conv1d) and std is not None and module.bias is not None:
        nn.init.normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)


def _about(settings: NextItNetSettings) -> str:
    residual = settings.blocks * len(settings.dilations)
    return f"NextItNet, {residual} residual blocks with kernel {settings.kernel}, over {settings.max_len} items"


NEXTITNET = SequenceKind(settings=NextItNetSettings, encoder=NextItNet, about=_about)
