"""Methods that add nothing: they choose which of an encoder's own parameters train."""

from dataclasses import dataclass

from torch import nn

from models.adaptation.gradients import expect_zero
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.errors import UserError


@dataclass
class FrozenSettings:
    """Nothing trains."""


@dataclass
class FullSettings:
    """Everything trains: full fine-tuning (FFT)."""


@dataclass
class TopSettings:
    """The top layers train.

    Args:
        layers: K, how many, counted down from the highest layer that the kept states depend on.
    """

    layers: int = 2


@dataclass
class BitFitSettings:
    """The biases train (BitFit, arXiv 2106.10199)."""


@dataclass
class LayerNormSettings:
    """The LayerNorms train: gains and biases."""


def _frozen(target: Target, settings: FrozenSettings) -> None:
    pass


def _full(target: Target, settings: FullSettings) -> None:
    in_group(target.model, target.group("encoder"))
    target.train(list(target.model.parameters()))
    _expect_zeros(target)


def _top(target: Target, settings: TopSettings) -> None:
    depth = len(target.layers)
    if not 1 <= settings.layers <= depth:
        raise UserError(
            f"adapt top-{settings.layers}: the kept states depend on {depth} layers of the encoder; choose top-1 to "
            f"top-{depth}, or full"
        )
    in_group(target.model, target.group("encoder"))
    top = target.layers[depth - settings.layers :]
    for module in (*top, target.final_norm):
        if module is not None:
            target.train(list(module.parameters()))
    _expect_zeros(target)


def _bitfit(target: Target, settings: BitFitSettings) -> None:
    in_group(target.model, target.group("encoder"))
    target.train(target.biases)
    _expect_zeros(target)


def _layernorm(target: Target, settings: LayerNormSettings) -> None:
    target.train_norms()


def _keep_weights(model: nn.Module) -> None:
    """These methods add nothing that has to be merged."""


def _expect_zeros(target: Target) -> None:
    """A bias of keys adds the same to all scores of a query, which softmax ignores; and what is idle at first."""
    for block in target.blocks:
        if block.key is not None:
            expect_zero(block.key, "always", "bias")
    for path in target.anatomy.idle_at_first if target.anatomy else ():
        expect_zero(target.layers[0].get_submodule(path), "always", "weight", "bias")


FROZEN = AdaptationKind(settings=FrozenSettings, apply=_frozen, groups=(), merge=_keep_weights)
FULL = AdaptationKind(settings=FullSettings, apply=_full, groups=("encoder",), merge=_keep_weights)
TOP = AdaptationKind(
    settings=TopSettings, apply=_top, groups=("encoder",), needs=("layers",), merge=_keep_weights
)
BITFIT = AdaptationKind(
    settings=BitFitSettings,
    apply=_bitfit,
    groups=("encoder",),
    needs=("biases",),
    merge=_keep_weights,
)
LAYERNORM = AdaptationKind(
    settings=LayerNormSettings,
    apply=_layernorm,
    groups=("norm",),
    needs=("layer norms",),
    merge=_keep_weights,
)
