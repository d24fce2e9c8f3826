"""The optimizer of a run, and its learning rates over time."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from models.parameters import decayed, is_sharded, rate_groups

Name = Literal["adam", "adamw"]


def make_optimizer(
    model: nn.Module,
    *,
    rates: Mapping[str, float],
    name: Name = "adam",
    weight_decay: float = 0.0,
    group_weight_decay: Mapping[str, float] | None = None,
    device: torch.device | str = "cpu",
    capturable: bool = False,
) -> torch.optim.Optimizer:
    """The optimizer over the learning-rate groups that a model declares (`models.parameters`).

    Args:
        model: its trainable parameters are optimized.
        rates: learning rate by group; `base` is the group of all that declare none.
        name: `adam` or `adamw`.
        weight_decay: of the matrices (`models.parameters.decayed`).
        group_weight_decay: of the matrices of single groups, in place of `weight_decay`.
        device: where the model computes. The update is one fused kernel on a CPU and on a GPU: three times as fast on
            a CPU.
        capturable: whether CUDA graphs record the update (`models.training.step.GraphStep`). Learning rates are then
            tensors, because a recorded update reads them from memory.

    Raises:
        ValueError: if a group has no rate, or the name is unknown.
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if name not in kinds:
        raise ValueError(f"optimizer {name!r}; expected one of {', '.join(kinds)}")
    device = torch.device(device)
    groups = parameter_groups(model, rates, weight_decay, group_weight_decay)
    options: dict[str, Any] = {"fused": device.type in ("cpu", "cuda")}
    if capturable:
        options["capturable"] = True
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
    return kinds[name](groups, **options)


def set_rates(optimizer: Any, factor: float) -> None:
    """Sets the learning rate of each group to its own rate times a factor (`models.schedule.rate_factor`)."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(group["rate"] * factor)
        else:
            group["lr"] = group["rate"] * factor


def rates_now(optimizer: Any) -> dict[str, float]:
    """The current learning rate of each group; reading it may wait for a GPU."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}


def parameter_groups(
    model: nn.Module,
    rates: Mapping[str, float],
    weight_decay: float = 0.0,
    group_weight_decay: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Optimizer groups: each trainable parameter under the rate of its declared group; decayed and sharded ones apart.

    Raises:
        ValueError: if a group has no rate.
    """
    decays = dict.fromkeys(rates, weight_decay) | dict(group_weight_decay or {})
    matrices = decayed(model) if any(decays.values()) else set()
    groups: dict[tuple[str, bool, bool], list[nn.Parameter]] = {}
    group_of: dict[nn.Parameter, str] = {}
    for group, parameter in rate_groups(model):
        group_of.setdefault(parameter, group)  # a parameter that several modules share counts once
    for parameter, group in group_of.items():
        if group not in rates:
            raise ValueError(f"no learning rate for group {group!r}; rates has {sorted(rates)}")
        is_decayed = bool(decays[group]) and parameter in matrices
        key = (group, is_decayed, is_sharded(parameter))  # one kernel updates a group
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": group,
            "name": name,
            "lr": rates[name],
            "rate": rates[name],
            "weight_decay": decays[name] if is_decayed else 0.0,
        }
        for (name, is_decayed, _), group in groups.items()
    ]
