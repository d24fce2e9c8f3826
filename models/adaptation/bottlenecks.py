"""Bottleneck adapters: two small dense layers beside or after the parts of each layer.

A(z) = W_up · act(W_down · z + b) + b', with z (B, S, D) and W_down (w, D). W_up and b' begin as zeros, so that the
encoder is at first what it was. They begin nearly as zeros in the public codes (normal, deviation 0.01).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from models.adaptation.attached import Attached, Normed, Parallel, Serial, place_like
from models.adaptation.gradients import expect_zero
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.errors import UserError

Activation = Literal["relu", "gelu", "gelu-tanh", "silu"]
Places = Literal["attention", "feed-forward", "both"]

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
}
_START = 0.01  # deviation of W_down at its start


@dataclass
class HoulsbySettings:
    """Adapters after the dense layers of attention and feed-forward network.

    Args:
        width: w, of the bottleneck.
        activation: between its layers.
        places: after which parts of a layer: attention, feed-forward or both.
        norms: whether the encoder's LayerNorms train too.
    """

    width: int = 64
    activation: Activation = "relu"
    places: Places = "both"
    norms: bool = False


@dataclass
class ParallelSettings:
    """Adapters beside the parts of a layer.

    Args:
        width: w, of the bottleneck.
        activation: between its layers.
        places: beside which parts of a layer: attention, feed-forward or both.
        scale: s, by which the adapter's output is multiplied.
        norms: whether the encoder's LayerNorms train too.
    """

    width: int = 64
    activation: Activation = "relu"
    places: Places = "feed-forward"
    scale: float = 4.0
    norms: bool = False


@dataclass
class PfeifferSettings:
    """One adapter per layer, after the LayerNorm of the feed-forward network.

    Args:
        width: w, of the bottleneck.
        activation: between its layers.
        places: after which parts of a layer: attention, feed-forward or both.
        second_norm: whether the LayerNorm after the adapter is a new one, a copy at first.
        norms: whether the encoder's LayerNorms train too.
    """

    width: int = 64
    activation: Activation = "relu"
    places: Places = "feed-forward"
    second_norm: bool = False
    norms: bool = False


class Bottleneck(nn.Module):
    """W_up · act(W_down · z + b) + b'.

    Args:
        features: D.
        width: w.
        activation: act.
    """

    def __init__(self, features: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.down = nn.Linear(features, width)
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Linear(width, features)
        nn.init.normal_(self.down.weight, std=_START)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        expect_zero(self.down, "at first", "weight", "bias")

    def forward(self, states: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        out: Tensor = self.up(self.activation(self.down(states)))
        return out


def attach_everywhere(
    target: Target,
    places: Places,
    make: Callable[[int], Attached],
    *,
    norms: bool = False,
) -> None:
    """Adds a module to the chosen parts of every layer that the outputs depend on, as `encoder.adapters`.

    Args:
        target: the encoder.
        places: which parts of a layer.
        make: from D, the width of the layer, to a module to attach.
        norms: whether the encoder's LayerNorms train too.
    """
    added = nn.ModuleDict()
    for number, block in enumerate(target.blocks):
        parts = {"attention": block.attention, "feed_forward": block.feed_forward}
        if places != "both":
            name = places.replace("-", "_")
            parts = {name: parts[name]}
        for name, sublayer in parts.items():
            attached = make(width_of(block.module))
            attached.attach(sublayer)
            added[f"{number}_{name}"] = place_like(attached, block.module)
    target.add(in_group(added, target.group("adapter")))
    for part in added.modules():
        if isinstance(part, Normed) and part.norm is not None:
            in_group(part.norm, target.group("norm"))
    if norms:
        target.train_norms()


def width_of(block: nn.Module) -> int:
    """D of a transformer layer: the size of its first norm."""
    norms = (x for name, x in block.named_parameters() if "norm" in name.lower() or "ln_" in name)
    return next(norms).shape[0]


def check_width(width: int) -> None:
    """Refuses a bottleneck without width.

    Raises:
        UserError: as said.
    """
    if width < 1:
        raise UserError(f"the width of an adapter is {width}; it must be at least 1")


def _houlsby(target: Target, settings: HoulsbySettings) -> None:
    def make(features: int) -> Attached:
        return Serial(Bottleneck(features, settings.width, settings.activation))

    check_width(settings.width)
    attach_everywhere(target, settings.places, make, norms=settings.norms)


def _parallel(target: Target, settings: ParallelSettings) -> None:
    def make(features: int) -> Attached:
        return Parallel(Bottleneck(features, settings.width, settings.activation), settings.scale)

    check_width(settings.width)
    attach_everywhere(target, settings.places, make, norms=settings.norms)


def _pfeiffer(target: Target, settings: PfeifferSettings) -> None:
    def make(features: int) -> Attached:
        core = Bottleneck(features, settings.width, settings.activation)
        return Normed(core, second_norm=settings.second_norm)

    check_width(settings.width)
    attach_everywhere(target, settings.places, make, norms=settings.norms)


HOULSBY = AdaptationKind(
    settings=HoulsbySettings,
    apply=_houlsby,
    groups=("adapter", "norm"),
    needs=("transformer layers",),
)
PARALLEL = AdaptationKind(
    settings=ParallelSettings,
    apply=_parallel,
    groups=("adapter", "norm"),
    needs=("transformer layers",),
)
PFEIFFER = AdaptationKind(
    settings=PfeifferSettings,
    apply=_pfeiffer,
    groups=("adapter", "norm"),
    needs=("transformer layers",),
)
