"""GRU4Rec (arXiv 1511.06939): gated recurrent units over a sequence of items.

B sequences, L positions, E embedding, H width of the GRU. Sequences are left-padded: the newest item is last.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout
from models.sequence.kind import SequenceKind


@dataclass
class GRU4RecSettings:
    """GRU4Rec.

    Args:
        kind: name of the sequence encoder.
        max_len: inputs per sequence, L; the last L + 3 interactions of each user are kept.
        layers: number of stacked GRU layers.
        hidden: width of the GRU; 0 selects the width of the item embeddings.
        output_layer: whether a linear layer with bias follows the GRU, as in RecBole; required if `hidden` differs from
            the width of the item embeddings.
        dropout: dropout probability of the inputs.
        adapt: what trains of an encoder with initial weights, by a method of `--adapt`; empty to train all of it in the
            group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "gru4rec"
    max_len: int = 10
    layers: int = 1
    hidden: int = 0
    output_layer: bool = False
    dropout: float = 0.1
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class GRU4Rec(nn.Module):
    """Recurrent sequence encoder without biases, as in MicroLens, NineRec, MMSR and RecBole.

    With input x_l and state h_{l-1}: r = σ(W_r x + U_r h), z = σ(W_z x + U_z h), n = tanh(W_n x + r ⊙ U_n h),
    h_l = (1 - z) ⊙ n + z ⊙ h. Without biases, an input of zeros leaves a state of zeros unchanged. Padding is such an
    input, so the number of padding positions does not affect the states.

    Args:
        embedding_dim: E.
        max_len: maximum input length L.
        layers: number of stacked layers.
        hidden: H; 0 for E.
        output_layer: whether a linear layer, (H) -> (E), follows the last GRU layer.
        dropout: dropout probability of the inputs.
        read_padding: whether the vectors at padding positions are inputs like all others, as in the public codes. They
            are not saved with the model.
        initial_std: standard deviation of the initial weights; by default the GRU's are Xavier uniform and the output
            layer's Xavier normal.

    Raises:
        ValueError: if H differs from E and there is no output layer.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_len: int = 10,
        layers: int = 1,
        hidden: int = 0,
        output_layer: bool = False,
        dropout: float = 0.1,
        read_padding: bool = False,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or embedding_dim
        if hidden != embedding_dim and not output_layer:
            raise ValueError(
                f"hidden is {hidden}, but item embeddings have width {embedding_dim}; add output_layer, or leave out "
                "hidden"
            )
        self.embedding_dim = embedding_dim
        self.max_len = max_len
        self.read_padding = read_padding
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, hidden, layers, bias=False, batch_first=True)
        self.output = nn.Linear(hidden, embedding_dim) if output_layer else None
        self._initialise(initial_std)

    def _initialise(self, std: float | None) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            elif std is not None:
                nn.init.normal_(parameter, std=std)
            elif name.startswith("gru."):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.xavier_normal_(parameter)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`GRU4Rec(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.embedding_dim,
            "max_len": self.max_len,
            "layers": self.gru.num_layers,
            "hidden": self.gru.hidden_size,
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
        if not self.read_padding:
            items = items.masked_fill(~real[..., None], 0.0)
        states, _ = self.gru(self.dropout(items))
        return states if self.output is None else self.output(states)


def _about(settings: GRU4RecSettings) -> str:
    return f"GRU4Rec, {settings.layers} layers, over {settings.max_len} items"


GRU4REC = SequenceKind(settings=GRU4RecSettings, encoder=GRU4Rec, about=_about)
