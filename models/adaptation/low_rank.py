"""LoRA, DoRA and IA3, by the library `peft`, which puts its layers in the place of the encoder's.

W (out, in) is a dense layer of an encoder, A (r, in), B (out, r).
LoRA (arXiv 2106.09685): W · z + b + (α / r) · B · A · z; with `rslora` α / √r instead (arXiv 2312.03732).
DoRA (arXiv 2402.09353): each row of W + (α / r) · B · A is scaled to a learned length m (out,), at first its own.
IA3 (arXiv 2205.05638): keys and values are multiplied by l (out,), and the input of the feed-forward network's last
layer by l (in,); l is at first 1. B is at first 0.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from models.adaptation.anatomy import part
from models.adaptation.gradients import expect_zero
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.errors import UserError

Layers = Literal["query-value", "attention", "all"]
_NAME = "default"  # what peft calls an adapter without a name


@dataclass
class LoraSettings:
    """Low-rank updates of dense layers.

    Args:
        rank: r.
        alpha: α; the update is scaled by alpha / rank.
        layers: which dense layers: query-value, attention (its output too) or all (the feed-forward network's too).
        rslora: whether the scale is alpha / √rank.
        dropout: on the input of the update.
        biases: whether the biases of these layers train too.
    """

    rank: int = 8
    alpha: float = 16.0
    layers: Layers = "query-value"
    rslora: bool = False
    dropout: float = 0.0
    biases: bool = False


@dataclass
class DoraSettings:
    """Low-rank updates of dense layers, with lengths apart.

    Args:
        rank: r.
        alpha: α; the update is scaled by alpha / rank.
        layers: which dense layers: query-value, attention (its output too) or all (the feed-forward network's too).
        rslora: whether the scale is alpha / √rank.
        dropout: on the input of the update.
    """

    rank: int = 8
    alpha: float = 16.0
    layers: Layers = "query-value"
    rslora: bool = False
    dropout: float = 0.0


@dataclass
class Ia3Settings:
    """Factors of keys, values and the feed-forward networks' inner states."""


def _lora(target: Target, settings: LoraSettings) -> None:
    layers = _inject_low_rank(target, settings, dora=False)
    if settings.biases:
        # By name, as peft's layers now stand there; softmax ignores a shift of the keys.
        path = target.anatomy.key if target.anatomy else ""
        keys = {part(block.module, path) for block in target.blocks if block.key is not None}
        for layer in layers:
            base = in_group(layer.base_layer, target.group("encoder"))
            if base.bias is not None:
                target.train([base.bias])
            if layer in keys:
                expect_zero(base, "always", "bias")


def _dora(target: Target, settings: DoraSettings) -> None:
    _inject_low_rank(target, settings, dora=True)


def _inject_low_rank(
    target: Target, settings: LoraSettings | DoraSettings, *, dora: bool
) -> list[Any]:
    """Injects the updates, and returns peft's layers."""
    if settings.rank < 1:
        raise UserError(f"the rank of a low-rank update is {settings.rank}; it must be at least 1")
    require_peft("dora" if dora else "lora")
    from peft import LoraConfig

    chosen = list(_chosen(target, settings.layers))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=_names(target.model, chosen),
        use_rslora=settings.rslora,
        use_dora=dora,
        bias="lora_only" if getattr(settings, "biases", False) else "none",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in chosen),
    )
    layers = _inject(target, config)
    for layer in layers:
        expect_zero(layer.lora_A[_NAME], "at first", "weight")
    return layers


def _ia3(target: Target, settings: Ia3Settings) -> None:
    require_peft("ia3")
    from peft import IA3Config

    inner = [block.feed_forward.dense for block in target.blocks]
    keys_values = [x for block in target.blocks for x in (block.key, block.value) if x]
    config = IA3Config(
        target_modules=_names(target.model, [*keys_values, *inner]),
        feedforward_modules=_names(target.model, inner),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in inner),
    )
    _inject(target, config)


def require_peft(method: str) -> None:
    """Refuses a method that needs peft where that is not installed.

    Raises:
        UserError: as said.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError(
            f"adapt {method} needs the package peft, and it is not installed; pip install peft"
        )


def _inject(target: Target, config: Any) -> list[Any]:
    """Puts peft's layers into the model; what they add trains in the group `adapter`."""
    from peft import inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    inject_adapter_in_model(config, target.model)
    layers = [module for module in target.model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        for name in layer.adapter_layer_names:
            added = getattr(layer, name)
            if isinstance(added, nn.Module):
                in_group(added, target.group("adapter"))
    return layers


def _merge(model: nn.Module) -> None:
    """Puts each layer of peft back to a layer of the encoder, with the update in its weights."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
    del model.peft_config


@torch.no_grad()
def _own_lengths(model: nn.Module) -> None:
    """Sets m to the lengths of the rows of W, as for a new update, whose B is 0."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            weight = layer.get_base_layer().weight
            rows = weight.T if layer.fan_in_fan_out else weight
            layer.lora_magnitude_vector[_NAME].weight.copy_(rows.norm(dim=1))


def _chosen(target: Target, layers: Layers) -> Iterable[nn.Module]:
    """The dense layers that are updated; those that hold queries and values at once count once."""
    for block in target.blocks:
        dense = (nn.Linear, Conv1D)
        found: list[nn.Module | None] = [block.query, block.value]
        if layers != "query-value":
            found += [block.key, block.attention.dense]
        if layers == "all":
            found += [
                x
                for x in block.module.modules()
                if isinstance(x, dense) and x not in found and x is not block.key
            ]
        yield from {id(x): x for x in found if isinstance(x, dense)}.values()


def _names(model: nn.Module, modules: list[nn.Module]) -> list[str]:
    """Their full names in a model."""
    wanted = {id(module) for module in modules}
    return [name for name, module in model.named_modules() if id(module) in wanted]


LORA = AdaptationKind(
    settings=LoraSettings,
    apply=_lora,
    groups=("adapter", "encoder"),
    needs=("query layers",),
    merge=_merge,
)
DORA = AdaptationKind(
    settings=DoraSettings,
    apply=_dora,
    groups=("adapter",),
    needs=("query layers",),
    merge=_merge,
    follow=_own_lengths,
)
IA3 = AdaptationKind(
    settings=Ia3Settings,
    apply=_ia3,
    groups=("adapter",),
    needs=("key layers of their own",),
    merge=_merge,
)
