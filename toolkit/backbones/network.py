"""A network as its library loads it, together with how its inputs are prepared and its hidden states read.

B items, S tokens, L layers, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Hidden(NamedTuple):
    """Hidden states of a batch.

    Args:
        states: L + 1 tensors (B, S, D): the embedding output, then the output of every layer. S and D may
            differ between layers (stages of a hierarchical image encoder).
        mask: (B, S), nonzero at real tokens; None where there is no padding.
    """

    states: Sequence[Tensor]
    mask: Tensor | None


Run = Callable[[Any, dict[str, Tensor]], Hidden]  # of the model and the tensors of a batch


class Preparation(Protocol):
    """Turns payloads (texts, JPEG bytes, or clips as lists of JPEG bytes) into tensors, on the CPU.

    It holds no weights and no state, can be pickled, and may be called from several threads.
    """

    def read(self, payloads: Sequence[Any]) -> list[Any]:
        """Tokens of each text, or pixels of each image or clip.

        Raises:
            ValueError: if an image cannot be decoded.
        """
        ...

    def lengths(self, read: Sequence[Any]) -> list[int] | None:
        """Number of tokens of each; None if all take the same memory, as images of one size do."""
        ...

    def collate(self, read: Sequence[Any]) -> dict[str, Tensor]:
        """The tensors of a batch, from what `read` returned."""
        ...


@dataclass(frozen=True)
class Network:
    """A library's network.

    Args:
        model: holds the weights. Nothing is frozen.
        preparation: payloads to the tensors of a batch.
        run: the model and those tensors to hidden states. It closes over no weights, so that a copied or
            wrapped model runs as well.
        depth: L.
        width: D.
        commit: the hub's commit; None for a local folder.
        widths: of the L + 1 states, where they differ.
        frames: how many frames a video encoder reads of a clip; None for text and image encoders.
        crop_px: height and width of these frames, where the user may choose it.
        has_cls: whether the first token represents the whole item.
        processor: class and backend of the tokenizer or of the image or video processor.
        layer_modules: by layer, the paths of its modules in the model, where they are declared; empty where a list in
            the model holds the layers (`models.adaptation.anatomy`).
    """

    model: nn.Module
    preparation: Preparation
    run: Run
    depth: int
    width: int
    commit: str | None = None
    widths: tuple[int, ...] | None = None
    frames: int | None = None
    crop_px: int | None = None
    has_cls: bool = True
    processor: str = "unknown"
    layer_modules: tuple[tuple[str, ...], ...] = ()


def dtype_of(model: nn.Module) -> torch.dtype:
    """The precision that a model computes in; of a quantised model, the precision of the other weights."""
    return next(x.dtype for x in model.parameters() if x.is_floating_point())
