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

from toolkit.backbones.batching import by_length
from toolkit.backbones.pooling import POOLINGS, Pooling
from toolkit.backbones.resolve import revision_as
from toolkit.backbones.weights import Quantize
from toolkit.towers import Modality, select_layers

BATCH_SIZE = 128
TOKENS_A_THREAD, TOKENS_ON_GPU = (
    1024,
    8192,
)  # a CPU likes what its caches hold (benchmarks/encode.py)

Tokens = dict[str, list[int]]  # of one text: input_ids and whatever else its tokenizer gives


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
        prepare: what goes together (JPEG bytes, lists of them, or the tokens of texts) to the tensors of a
            batch.
        run: those tensors to hidden states.
        depth: L.
        width: D.
        commit: what the hub calls this revision; None for a local folder.
        widths: of the L + 1 states, where they differ.
        frames: how many frames a video encoder reads of a clip; None for one that reads texts or images.
        has_cls: whether the first token stands for the whole item.
        tokenize: of a text encoder: each text's tokens.
        processor: class and backend of what makes its tensors: a tokenizer, or an image or video processor.
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
    tokenize: Callable[[Sequence[str]], list[Tokens]] | None = None
    processor: str = "unknown"

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes; of a quantised model, what is not quantised."""
        return next(x.dtype for x in self.model.parameters() if x.is_floating_point())


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
        batch_size: images that go through the encoder at a time, which bounds its memory.
        batch_tokens: tokens of texts, padding counted, that do; None takes what suits the device.
        quantize: how the weights were quantised.
    """

    name: str
    revision: str
    modality: Modality
    encoder: Encoder = field(repr=False)
    kept: tuple[int, ...]
    pooling: Pooling
    batch_size: int = BATCH_SIZE
    batch_tokens: int | None = None
    quantize: Quantize = "none"

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
    def precision(self) -> str:
        """In which the encoder computes, such as `float32`."""
        return str(self.encoder.dtype).removeprefix("torch.")

    @property
    def parameters(self) -> int:
        """How many weights the encoder has; two in 4 bits count as one where they share a byte."""
        return sum(parameter.numel() for parameter in self.encoder.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.encoder.model.parameters()).device

    @property
    def processor(self) -> str:
        """Class and backend of what makes the encoder's tensors, such as `ViTImageProcessor (torchvision)`."""
        return self.encoder.processor

    def revision_as(self, recorded: str) -> str:
        """The revision in the form in which an older Versa may have recorded it, to be compared with that."""
        return revision_as(recorded, self.name, self.encoder.commit)

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
            "precision": self.precision,
            "quantize": self.quantize,
        }
        if len(set(self.widths)) > 1:
            about["widths"] = ",".join(map(str, self.widths))
        return about

    def can_read(self, item: Any) -> bool:
        """Whether there is enough of an item: it is not None, nor a clip of too few frames."""
        return item is not None and (self.frames is None or len(item) >= self.frames)

    def encode(self, items: Sequence[Any]) -> Tensor:
        """Kept hidden states of `items`, (B, K, D), float32, on the encoder's device.

        Args:
            items: strings for a text encoder; JPEG bytes, or lists of them, for an image encoder; lists
                of JPEG bytes for a video encoder. To an image encoder, the states of a list (the frames
                of a clip) are the mean over it of each one's states.
        """
        states = torch.empty(len(items), self.layers, self.width, device=self.device)
        for places, made in self.batches(items):
            states[places] = made
        return states

    def batches(self, items: Sequence[Any]) -> Iterator[tuple[list[int], Tensor]]:
        """The same, a few items at a time: their places in `items`, and their states.

        Pictures come in their order, texts sorted by length.
        """
        if not items:
            return
        if self.frames or not isinstance(items[0], list):
            yield from self._states(items)
            return
        frames = chain.from_iterable(x for _, x in self._states(list(chain.from_iterable(items))))
        for place, clip in enumerate(items):
            yield [place], torch.stack(list(islice(frames, len(clip)))).mean(dim=0, keepdim=True)

    @torch.no_grad()
    def _states(self, items: Sequence[Any]) -> Iterator[tuple[list[int], Tensor]]:
        for places, inputs in self._inputs(items):
            hidden = self.encoder.run({name: self._moved(x) for name, x in inputs.items()})
            pooled = [self._pooled(hidden.states[index], hidden.mask) for index in self.kept]
            yield places, torch.stack(pooled, dim=1)

    def _inputs(self, items: Sequence[Any]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """What goes through the encoder at a time, and its places in `items`."""
        if self.encoder.tokenize is None:
            size = max(
                self.batch_size // (self.frames or 1), 1
            )  # every frame of a clip is an image
            for start in range(0, len(items), size):
                together = items[start : start + size]
                yield list(range(start, start + len(together))), self.encoder.prepare(together)
            return
        texts = self.encoder.tokenize(items)
        budget = self.batch_tokens or self._token_budget()
        for places in by_length([len(text["input_ids"]) for text in texts], budget):
            yield places, self.encoder.prepare([texts[place] for place in places])

    def _token_budget(self) -> int:
        if self.device.type != "cpu":
            return TOKENS_ON_GPU
        return min(TOKENS_A_THREAD * torch.get_num_threads(), TOKENS_ON_GPU)

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.encoder.dtype if x.is_floating_point() else None)

    def _pooled(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, at most D) -> (B, D); the layers of a model that is spread over GPUs lie on several."""
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.long)
        pooled = POOLINGS[self.pooling](states, mask.to(states.device))
        pooled = F.pad(pooled, (0, self.width - pooled.shape[1]))
        return pooled.to(self.device, torch.float32)


def kept_states(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices into L + 1 hidden states: the embedding output, then the chosen layers' outputs."""
    return (0, *(layer + 1 for layer in select_layers(layers, depth)))
