"""The upper part of an encoder: its top layers, run on the stored states of the tokens below them.

The encoder's own `forward` runs, so attention masks, rotary positions and the norm after the last layer are the
library's. Only what lies below is taken out: the embeddings pass on the states that come in, and the lower layers pass
on what they receive. Stored states come after the embeddings, so that no position is added twice. Names of parameters
do not change.

B items, S tokens, L layers, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from toolkit.backbones.encoder import Encoder, Preparer
from toolkit.backbones.pretrained import probing
from toolkit.backbones.samples import sample_payload
from toolkit.errors import UserError

_OF_POOLED = (
    "pooling",
    "layers",
    "kept",
    "widths",
)  # what pooled states depend on, and those of tokens do not


@dataclass(frozen=True)
class Stack:
    """Where a family of encoders keeps its layers, and how states enter in front of them.

    Args:
        families: `model_type` of their configurations.
        layers: the list of layers, in the model.
        below: what comes before the layers, in the model.
        entry: the argument of the model that reaches the first of these.
    """

    families: tuple[str, ...]
    layers: str
    below: tuple[str, ...]
    entry: str


STACKS = (
    Stack(
        ("bert", "roberta", "xlm-roberta"),
        "encoder.layer",
        ("embeddings",),
        "inputs_embeds",
    ),
    Stack(("distilbert",), "transformer.layer", ("embeddings",), "inputs_embeds"),
    Stack(("vit", "deit"), "layers", ("embeddings",), "pixel_values"),
    Stack(("dinov2", "videomae"), "encoder.layer", ("embeddings",), "pixel_values"),
    Stack(("clip_vision_model",), "encoder.layers", ("embeddings", "pre_layrnorm"), "pixel_values"),
    Stack(("llama", "mistral", "qwen2", "qwen3"), "layers", ("embed_tokens",), "inputs_embeds"),
)


@dataclass(frozen=True)
class TokenPreparation:
    """Collates stored states of tokens.

    Args:
        entry: the argument of the model that takes them.
        fixed: whether every payload has the same number of tokens, as images have; otherwise batches are padded.
    """

    entry: str
    fixed: bool

    def read(self, payloads: Sequence[Tensor]) -> list[Tensor]:
        """The states of each text, image or clip, (S, D), as they are."""
        return list(payloads)

    def lengths(self, read: Sequence[Tensor]) -> list[int] | None:
        """Tokens of each text; None for images."""
        return None if self.fixed else [len(states) for states in read]

    def collate(self, read: Sequence[Tensor]) -> dict[str, Tensor]:
        """States (B, S, D) and, where there can be padding, the attention mask (B, S)."""
        states = pad_sequence(list(read), batch_first=True)
        if self.fixed:
            return {self.entry: states}
        lengths = torch.tensor([len(one) for one in read])
        mask = torch.arange(states.shape[1]) < lengths[:, None]
        return {self.entry: states, "attention_mask": mask.long()}


def stack_of(encoder: Encoder) -> Stack:
    """Where the encoder's layers are.

    Raises:
        UserError: if it cannot run from a middle layer.
    """
    kind = getattr(
        getattr(encoder.model, "config", None), "model_type", type(encoder.model).__name__
    )
    for stack in STACKS:
        if kind in stack.families:
            return stack
    known = ", ".join(family for stack in STACKS for family in stack.families)
    raise UserError(
        f"encoder {encoder.spec.encoder!r} ({kind}) cannot run from a middle layer, so stored token states are of no use "
        f"to it; it is known how for {known}: leave out from_layer and tokens"
    )


def layers_of(encoder: Encoder) -> nn.ModuleList:
    """The list of an encoder's L layers.

    Raises:
        UserError: if it cannot run from a middle layer.
    """
    layers = encoder.model.get_submodule(stack_of(encoder).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def modules_below(encoder: Encoder) -> list[nn.Module]:
    """What comes before an encoder's first layer.

    Raises:
        UserError: if it cannot run from a middle layer.
    """
    return [encoder.model.get_submodule(path) for path in stack_of(encoder).below]


def keep_upper_part(encoder: Encoder, layer: int) -> None:
    """Removes what lies below a layer from an encoder, in place.

    Afterwards `prepare` takes stored states of tokens as payloads: (S, D) of a text, image or clip, or a list of them
    for a clip whose frames the encoder reads one by one. Kept states below the layer are no longer computed.

    Args:
        encoder: to be cut.
        layer: number of layers to remove, 1..L-1: the index of the state that is stored.

    Raises:
        UserError: if it cannot run from a middle layer, or has too few layers.
    """
    stack, layers, dtype = stack_of(encoder), layers_of(encoder), encoder.dtype
    refuse_outside(encoder, layer)
    for index in range(layer):
        _remove(layers[index])
        layers[index] = _Passing()
    for path, module in zip(stack.below, modules_below(encoder), strict=True):
        _remove(module)
        encoder.model.set_submodule(path, _Passing(dtype))
    above = [index for index in encoder.kept if index > layer]
    encoder.widths = encoder.widths[-len(above) :]
    encoder.kept = tuple(index - layer for index in above)
    encoder.example = torch.zeros(1, encoder.width)
    encoder.prepare = Preparer(TokenPreparation(stack.entry, fixed=encoder.modality == "image"))


def refuse_outside(encoder: Encoder, layer: int) -> None:
    """Refuses a layer that has no layer below or none above it.

    Raises:
        UserError: if `layer` is not in 1..L-1.
    """
    depth = len(layers_of(encoder))
    if not 1 <= layer < depth:
        raise UserError(
            f"encoder {encoder.spec.encoder!r}: token states after layer {layer} are asked for, and the encoder has {depth} "
            f"layers; choose from 1 to {depth - 1}"
        )


def tokens_metadata(encoder: Encoder, layer: int) -> dict[str, str]:
    """Metadata of a table of the states of an encoder's tokens (`toolkit.Dataset.tokens_metadata`).

    Args:
        encoder: whole.
        layer: index of the state.

    Raises:
        UserError: if it cannot run from that layer, so that the states would be of no use.
    """
    refuse_outside(encoder, layer)
    metadata = _without(encoder.states_metadata()) | {"layer": str(layer)}
    if encoder.modality == "image":
        metadata["image_tokens"] = str(image_tokens(encoder))
        one_by_one = encoder.spec.source == "frames" and encoder.frames is None
        metadata["images"] = "clip" if one_by_one else "one"
    return metadata


def tokens_settings(encoder: Encoder, layer: int) -> dict[str, Any]:
    """Every setting that the states of tokens depend on, as resolved (`toolkit.Dataset.tokens_settings`)."""
    return _without(encoder.states_settings()) | {"layer": layer}


def image_tokens(encoder: Encoder) -> int:
    """S of an image, or of a clip that the encoder reads as a whole."""
    payload = sample_payload("image", encoder.frames)
    with probing(encoder):
        return encoder.hidden(encoder.prepare([payload])).states[-1].shape[1]


def _without(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _OF_POOLED}


class _Passing(nn.Module):
    """Passes on the states that it receives.

    Args:
        dtype: of the encoder; ViT compares that of its patch projection with the dtype of its input.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if dtype is not None:
            self.patch_embeddings = nn.Module()
            self.patch_embeddings.projection = nn.Module()
            self.patch_embeddings.projection.weight = torch.empty(0, dtype=dtype)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The first tensor among the arguments, (B, S, D)."""
        return next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))


def _remove(module: nn.Module) -> None:
    """Frees the weights, whoever still refers to the module."""
    module.to("meta")
