"""A frozen encoder that gives all its hidden states, whichever library it comes from.

B items, S tokens, L layers, K kept states (the embedding output and the chosen layers), D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.backbones.pooling import POOLINGS, Pooling
from toolkit.towers import Modality, select_layers

BATCH_SIZE = 128


class Hidden(NamedTuple):
    """What an encoder makes of a batch.

    Args:
        states: L + 1 tensors (B, S, D): the embedding output, then every layer's.
        mask: (B, S), nonzero at real tokens.
    """

    states: Sequence[Tensor]
    mask: Tensor


@dataclass(frozen=True)
class Encoder:
    """A library's encoder, loaded, frozen and in evaluation mode.

    Args:
        model: holds the weights.
        prepare: raw items (strings, or JPEG bytes) to the tensors of a batch.
        run: those tensors to hidden states.
        depth: L.
        width: D.
        commit: what the hub calls this revision; None for a local folder.
    """

    model: torch.nn.Module
    prepare: Callable[[Sequence[Any]], dict[str, Tensor]]
    run: Callable[[dict[str, Tensor]], Hidden]
    depth: int
    width: int
    commit: str | None = None


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
        return self.encoder.width

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.encoder.model.parameters()).device

    def metadata(self, *, source: str) -> dict[str, str]:
        """What identifies the states that this backbone makes of `source`."""
        return {
            "encoder": self.name,
            "revision": self.revision,
            "layers": str(self.layers),
            "width": str(self.width),
            "pooling": self.pooling,
            "source": source,
            "modality": self.modality,
            "kept": ",".join(map(str, self.kept)),
        }

    def encode(self, items: Sequence[Any]) -> Tensor:
        """Kept hidden states of `items`, (B, K, D), in the model's precision and on its device.

        Args:
            items: strings for a text encoder; JPEG bytes, or lists of them, for an image encoder. The
                states of a list (the frames of a clip) are the mean over it of each one's states.
        """
        if not isinstance(items[0], list):
            return torch.cat(list(self._batches(items)))
        frames = chain.from_iterable(self._batches(list(chain.from_iterable(items))))
        clips = [torch.stack(list(islice(frames, len(clip)))) for clip in items]
        return torch.stack([clip.mean(dim=0) for clip in clips])

    @torch.no_grad()
    def _batches(self, items: Sequence[Any]) -> Iterator[Tensor]:
        """States of `batch_size` items at a time."""
        pool = POOLINGS[self.pooling]
        for start in range(0, len(items), self.batch_size):
            inputs = self.encoder.prepare(items[start : start + self.batch_size])
            hidden = self.encoder.run({name: x.to(self.device) for name, x in inputs.items()})
            yield torch.stack([pool(hidden.states[i], hidden.mask) for i in self.kept], dim=1)


def kept_states(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices into L + 1 hidden states: the embedding output, then the chosen layers' outputs."""
    return (0, *(layer + 1 for layer in select_layers(layers, depth)))
