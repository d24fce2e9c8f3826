"""An encoder that training can differentiate through: payloads to pooled hidden states of the kept layers.

U items, S tokens, L layers, K kept states (the embedding output and the chosen layers), D width: of the widest
kept state where widths differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.final_norm import FinalNorm
from toolkit.backbones.network import Hidden, Network, Preparation, dtype_of
from toolkit.backbones.pooling import POOLINGS
from toolkit.backbones.resolve import revision_as
from toolkit.backbones.samples import sample_payload
from toolkit.backbones.spec import EncoderSpec
from toolkit.backbones.token_states import TokenStates
from toolkit.towers import Modality, select_layers


class Inputs(NamedTuple):
    """The tensors of a batch of items, on the CPU until `Encoder.forward` moves them.

    Args:
        tensors: what the network reads.
        images: how many images each item has, where an image encoder reads clips frame by frame; else None.
    """

    tensors: dict[str, Tensor]
    images: tuple[int, ...] | None = None

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same with every tensor moved, such as by `torch.Tensor.pin_memory`."""
        return self._replace(tensors={name: move(x) for name, x in self.tensors.items()})


@dataclass(frozen=True)
class Preparer:
    """`Encoder.prepare` without the encoder's weights: it can be pickled and called from several threads.

    Args:
        preparation: of the encoder's network.
        frames: how many frames a video encoder reads of a clip; None for text and image encoders.
    """

    preparation: Preparation
    frames: int | None = None

    def __call__(self, payloads: Sequence[Any]) -> Inputs:
        """The tensors of a batch; see `Encoder.prepare`."""
        if not self.splits_clips(payloads):
            return Inputs(self.preparation.collate(self.preparation.read(payloads)))
        images = self.preparation.read(list(chain.from_iterable(payloads)))
        return Inputs(self.preparation.collate(images), tuple(map(len, payloads)))

    def splits_clips(self, payloads: Sequence[Any]) -> bool:
        """Whether the payloads are clips of which an image encoder reads every frame."""
        return self.frames is None and len(payloads) > 0 and isinstance(payloads[0], list)


class Encoder(nn.Module):
    """An encoder with a choice of layers and pooling. Nothing is frozen, and gradients are enabled.

    It is in evaluation mode when it comes from `load_encoder`, as models of transformers are. Its dropout is the
    network's own.

    Its attribute `run`, from the model and the tensors of a batch to hidden states, may be replaced: methods that add to
    what the network reads or returns wrap it. Its attribute `example` is a smallest payload that `prepare` takes.

    Args:
        network: as its library loads it.
        spec: which encoder it is, what it reads, and which layers and pooling are used.
        revision: hub commit, or fingerprint of a local folder.
        final_norm: the norm through which `forward` reads the state of the last layer, as encoders that train do; None
            for the state itself, which prep stores.

    Raises:
        UserError: if the network does not have the layers of `spec`.
    """

    def __init__(
        self,
        network: Network,
        spec: EncoderSpec,
        *,
        revision: str = "unknown",
        final_norm: FinalNorm | None = None,
    ) -> None:
        super().__init__()
        self.model = network.model
        self.spec = spec
        self.revision = revision
        self.commit = network.commit
        self.processor = network.processor
        self.has_cls = network.has_cls
        self.layer_modules = network.layer_modules
        self.crop_px = network.crop_px
        self.prepare = Preparer(network.preparation, network.frames)
        self.kept = kept_states(spec.layers, network.depth)
        widths = network.widths or (network.width,) * (network.depth + 1)
        self.widths = tuple(widths[index] for index in self.kept)
        self.final_norm = final_norm
        self.run = network.run
        self.example: Any = sample_payload(spec.modality, network.frames)

    @property
    def layers(self) -> int:
        """K, how many states are kept per item."""
        return len(self.kept)

    @property
    def width(self) -> int:
        """D. States that are narrower end in zeros."""
        return max(self.widths)

    @property
    def modality(self) -> Modality:
        """`text` or `image`."""
        return self.spec.modality

    @property
    def frames(self) -> int | None:
        """How many frames a video encoder reads of a clip; None for text and image encoders."""
        return self.prepare.frames

    @property
    def device(self) -> torch.device:
        """Where inputs go and states come out."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network computes in."""
        return dtype_of(self.model)

    @property
    def precision(self) -> str:
        """The same as text, such as `float32`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def parameter_count(self) -> int:
        """Number of weights; two 4-bit weights that share a byte count as one."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def can_read(self, payload: Any) -> bool:
        """Whether a payload is complete: it is not None, nor a clip of too few frames."""
        return payload is not None and (self.frames is None or len(payload) >= self.frames)

    def forward(self, inputs: Inputs) -> Tensor:
        """Pooled hidden states (U, K, D) of what `prepare` returned, float32, differentiable.

        States of a clip that an image encoder reads are the mean over its frames.
        """
        hidden = self.hidden(inputs)
        states = torch.stack([self._read(hidden, index) for index in self.kept], dim=1)
        if inputs.images is None:
            return states
        return torch.stack([clip.mean(dim=0) for clip in states.split(list(inputs.images))])

    def token_states(self, inputs: Inputs) -> TokenStates:
        """The last kept state of every token before pooling, float32, differentiable, of what `prepare` returned.

        Each token is normalised by the final norm, if there is one. States of a clip that an image encoder reads are
        the mean over its frames.
        """
        hidden = self.hidden(inputs)
        index = self.kept[-1]
        states, norm = hidden.states[index], self._norm_of(hidden, index)
        if norm is not None:
            states = self._normed(norm, states)
        states = states.to(self.device, torch.float32)
        real = _mask(hidden, states).to(self.device) != 0
        if inputs.images is None:
            return TokenStates(states, real)
        clips, masks = (x.split(list(inputs.images)) for x in (states, real))
        return TokenStates(
            torch.stack([clip.mean(dim=0) for clip in clips]),
            torch.stack([mask[0] for mask in masks]),
        )

    def hidden(self, inputs: Inputs) -> Hidden:
        """Hidden states of every token and layer, before pooling, of what `prepare` returned."""
        return self.run(self.model, inputs.moved(self._move).tensors)

    def states_metadata(self) -> dict[str, str]:
        """Metadata of a table of this encoder's states (`toolkit.Dataset.states_metadata`)."""
        metadata = {
            "encoder": self.spec.encoder,
            "revision": self.revision,
            "layers": str(self.layers),
            "width": str(self.width),
            "pooling": self.spec.pooling,
            "source": self.spec.source,
            "modality": self.modality,
            "kept": ",".join(map(str, self.kept)),
            "precision": self.precision,
            "quantize": self.spec.quantize,
        }
        if len(set(self.widths)) > 1:
            metadata["widths"] = ",".join(map(str, self.widths))
        return metadata

    def states_settings(self) -> dict[str, Any]:
        """Every setting that the states depend on, as resolved (`toolkit.Dataset.states_settings`)."""
        settings: dict[str, Any] = {
            "encoder": self.spec.encoder,
            "revision": self.revision,
            "source": self.spec.source,
            "pooling": self.spec.pooling,
            "layers": ",".join(map(str, self.kept)),
            "precision": self.precision,
            "quantize": self.spec.quantize,
            "processor": self.processor,
        }
        if self.modality == "text":
            settings |= {"max_tokens": self.spec.token_limit, "lowercase": self.spec.lowercase}
        if self.crop_px is not None:
            settings["crop_px"] = self.crop_px
        if self.crop_px is not None or self.spec.frame_count is not None:
            settings["frame_count"] = self.frames
        return settings

    def revision_as(self, recorded: str) -> str:
        """The revision in the form that an older Versa may have recorded, to be compared with `recorded`."""
        return revision_as(recorded, self.spec.encoder, self.commit)

    def _move(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else None, non_blocking=True)

    def _read(self, hidden: Hidden, index: int) -> Tensor:
        """The pooled state of one layer, (U, D). Layers of a model that is spread over GPUs lie on several of them."""
        states, norm = hidden.states[index], self._norm_of(hidden, index)
        mask = _mask(hidden, states)
        if norm is not None and not norm.pooled:
            states = self._normed(norm, states)
        pooled = POOLINGS[self.spec.pooling](states, mask.to(states.device))
        if norm is not None and norm.pooled:
            pooled = self._normed(norm, pooled)
        pooled = F.pad(pooled, (0, self.width - pooled.shape[1]))
        return pooled.to(self.device, torch.float32)

    def _norm_of(self, hidden: Hidden, index: int) -> FinalNorm | None:
        """The norm through which the state of a layer is read."""
        return self.final_norm if index == len(hidden.states) - 1 else None

    def _normed(self, norm: FinalNorm, states: Tensor) -> Tensor:
        module = self.model.get_submodule(norm.path)
        weight = next(module.parameters(), states)
        normed: Tensor = module(states.to(weight.device, weight.dtype))
        return normed


def _mask(hidden: Hidden, states: Tensor) -> Tensor:
    """(B, S), nonzero at real tokens."""
    return torch.ones(states.shape[:2], dtype=torch.long) if hidden.mask is None else hidden.mask


def kept_states(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices into the L + 1 hidden states: 0, the embedding output, then layer + 1 for each chosen layer."""
    return (0, *(layer + 1 for layer in select_layers(layers, depth)))
