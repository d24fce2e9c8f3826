"""Golden files: weights, inputs, outputs and gradients of a public code, and how far ours is from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

OUTPUTS, GRADIENTS = 1e-5, 1e-4  # relative to the largest value of each array


@dataclass(frozen=True)
class Golden:
    """What a golden file holds; names are those of the public code.

    Args:
        name: of the file, without its suffix.
        meta: sizes, hyperparameters, loss, what trains.
        weights: by name.
        gradients: of the loss, by the name of a weight or input.
        inputs: by name.
        outputs: by name, `loss` among them.
    """

    name: str
    meta: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass
class Ours:
    """What ours computes from a golden file.

    Args:
        outputs: by the file's names.
        gradients: by the file's names; of a part that ours has no counterpart of, nothing.
        trains: the file's names of the weights that train with us; None if the file does not say what trains.
        notes: printed after the errors.
    """

    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    trains: set[str] | None = None
    notes: list[str] = field(default_factory=list)


def read_golden(path: Path) -> Golden:
    """Reads a golden file, its numbers as float64. Nothing in it is unpickled."""
    parts: dict[str, dict[str, Tensor]] = {"weight": {}, "grad": {}, "input": {}, "output": {}}
    with np.load(path, allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta"]))
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind in parts:
                array = torch.from_numpy(np.array(arrays[key]))
                parts[kind][name] = array.double() if array.is_floating_point() else array
    return Golden(path.stem, meta, parts["weight"], parts["grad"], parts["input"], parts["output"])


def compare(golden: Golden, ours: Ours) -> tuple[bool, str]:
    """Whether ours is the same, and the errors, or what is off."""
    off = []
    worst = {"outputs": 0.0, "gradients": 0.0}
    scale = max((float(x.abs().max()) for x in golden.gradients.values()), default=1.0)
    zero = set(golden.meta.get("exactly_zero_grads", ()))
    pairs: list[tuple[str, str, Tensor | None, Tensor, float, float]] = [
        ("outputs", name, ours.outputs.get(name), x, _largest(x), OUTPUTS)
        for name, x in golden.outputs.items()
    ]
    pairs += [
        (
            "gradients",
            name,
            ours.gradients.get(name),
            x,
            scale if name in zero else _largest(x),
            GRADIENTS,
        )
        for name, x in golden.gradients.items()
    ]
    for kind, name, mine, theirs, largest, limit in pairs:
        if mine is None or mine.shape != theirs.shape:
            found = "missing" if mine is None else f"of shape {tuple(mine.shape)}"
            off.append(f"{kind} {name} {found}")
            continue
        error = _largest(mine.detach().double() - theirs.double()) / (largest or scale)
        worst[kind] = max(worst[kind], error)
        if not error <= limit:
            off.append(f"{kind} {name} {error:.1e}")
    off += _other_trainables(golden, ours)
    if off:
        return False, "; ".join(off[:4]) + (f"; {len(off) - 4} more" if len(off) > 4 else "")
    errors = " ".join(f"{kind} {error:.1e}" for kind, error in worst.items())
    return True, " ".join([errors, *(f"({note})" for note in ours.notes)])


def _largest(x: Tensor) -> float:
    return float(x.double().abs().max()) if x.numel() else 0.0


def _other_trainables(golden: Golden, ours: Ours) -> list[str]:
    if ours.trains is None or "trainable" not in golden.meta:
        return []
    theirs = set(golden.meta["trainable"]) - set(golden.meta.get("trainable_without_gradient", ()))
    off = [f"{name} does not train with us" for name in sorted(theirs - ours.trains)]
    return off + [f"{name} trains with us alone" for name in sorted(ours.trains - theirs)]
