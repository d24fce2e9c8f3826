"""A frozen encoder that gives all its hidden states, whichever library it comes from.

B items, S tokens, L layers, K kept states (the embedding output and the chosen layers), D width: of
the widest kept state where widths differ.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from toolkit.backbones.pooling import POOLINGS, Pooling
from toolkit.towers import Modality, select_layers

BATCH_SIZE = 128


class Hidden(NamedTuple):
    """What an encoder makes of a batch.

    Args:
        states: L + 1 tensors (B, S, D): the embedding output, then every layer's. S and D may
            differ from one to the next (stages of a hierarchical image encoder).
        mask: (B, S), nonzero at real tokens; None where there is no padding.
    """

    states: Sequence[Tensor]
    mask: Tensor | None


@dataclass(frozen=True)
class Encoder:
    """A library's encoder, loaded, frozen and in evaluation mode.

    Args:
        model: holds the weights.
        prepare: raw items (strings, JPEG bytes, or lists of them) to the tensors of a batch.
        run: those tensors to hidden states.
        depth: L.
        width: D.
        commit: what the hub calls this revision; None for a local folder.
        widths: of the L + 1 states, where they differ.
        frames: how many frames a video encoder reads of a clip; None for one that reads texts or images.
        has_cls: whether the first token stands for the whole item.
    """

    model: torch.nn.Module
    prepare: Callable[[Sequence[Any]], dict[str, Tensor]]
    run: Callable[[dict[str, Tensor]], Hidden]
    depth: int
    width: int
    commit: str | None = None
    widths: tuple[int, ...] | None = None
    frames: int | None = None
    has_cls: bool = True


@dataclass(frozen=True)
class Backbone:
    """An encoder with a choice of layers and pooling.

    Args:
        name: the encoder's, as it was asked for.
        revision: hub commit, or fingerprint of a local folder.
        modality: `text` or `image`.
        encoder: what computes.
        kept: indices into the hidden states: 0 (the embedding output), then layer + 1.
        pooling: how tokens become one vector.
        batch_size: texts or images that go through the encoder at a time, which bounds its memory.
    """

    name: str
    revision: str
    modality: Modality
    encoder: Encoder = field(repr=False)
    kept: tuple[int, ...]
    pooling: Pooling
    batch_size: int = BATCH_SIZE

    @property
    def layers(self) -> int:
        """K, how many states are kept an item."""
        return len(self.kept)

    @property
    def width(self) -> int:
        """D."""
        return max(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each kept state; those narrower than D are stored with zeros at the end."""
        widths = self.encoder.widths
        return tuple(widths[i] if widths else self.encoder.width for i in self.kept)

    @property
    def frames(self) -> int | None:
        """How many frames a video encoder reads of a clip; None for one that reads texts or images."""
        return self.encoder.frames

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.encoder.model.parameters()).device

    def metadata(self, *, source: str) -> dict[str, str]:
        """What identifies the states that this backbone makes of `source`."""
        about = {
            "encoder": self.name,
            "revision": self.revision,
            "layers": str(self.layers),
            "width": str(self.width),
            "pooling": self.pooling,
            "source": source,
            "modality": self.modality,
            "kept": ",".join(map(str, self.kept)),
        }
        if len(set(self.widths)) > 1:
            about["widths"] = ",".join(map(str, self.widths))
        return about

    def can_read(self, item: Any) -> bool:
        """Whether there is enough of an item: it is not None, nor a clip of too few frames."""
        return item is not None and (self.frames is None or len(item) >= self.frames)

    def encode(self, items: Sequence[Any]) -> Tensor:
        """Kept hidden states of `items`, (B, K, D), in the model's precision and on its device.

        Args:
            items: strings for a text encoder; JPEG bytes, or lists of them, for an image encoder; lists
                of JPEG bytes for a video encoder. To an image encoder, the states of a list (the frames
                of a clip) are the mean over it of each one's states.
        """
        if self.frames or not isinstance(items[0], list):
            return torch.cat(list(self._batches(items)))
        frames = chain.from_iterable(self._batches(list(chain.from_iterable(items))))
        clips = [torch.stack(list(islice(frames, len(clip)))) for clip in items]
        return torch.stack([clip.mean(dim=0) for clip in clips])

    @torch.no_grad()
    def _batches(self, items: Sequence[Any]) -> Iterator[Tensor]:
        """States of `batch_size` texts or images at a time; a clip is as many images as it has frames."""
        size = max(self.batch_size // (self.frames or 1), 1)
        for start in range(0, len(items), size):
            inputs = self.encoder.prepare(items[start : start + size])
            hidden = self.encoder.run({name: x.to(self.device) for name, x in inputs.items()})
            yield torch.stack([self._pool(hidden.states[i], hidden.mask) for i in self.kept], dim=1)

    def _pool(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, at most D), (B, S) -> (B, D)."""
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        pooled = POOLINGS[self.pooling](states, mask)
        return F.pad(pooled, (0, self.width - pooled.shape[1]))


def kept_states(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices into L + 1 hidden states: the embedding output, then the chosen layers' outputs."""
    return (0, *(layer + 1 for layer in select_layers(layers, depth)))
