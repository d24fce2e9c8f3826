"""Moves the weights of a source into a new model."""

from collections.abc import Collection, Mapping, Sequence

import torch

from models.items import TrainedEncoders
from models.items.kind import ID_TOWER
from models.recommender import Model
from models.runs.identity import differing_states
from models.runs.lineage import Lineage, Refused, Shapes
from models.transfer.parts import ITEM_PARTS, RECOMMENDER, SEQUENCE, Part, parts_of
from models.transfer.sources import Source
from toolkit.errors import UserError

ALL = "all"
_DEFAULT = "its default"  # modules describe other settings only
_GROUPS = (ITEM_PARTS, SEQUENCE, RECOMMENDER)


def move(model: Model, source: Source, asked: Sequence[str]) -> Lineage:
    """Moves the weights of a source into a new model, in place, part by part.

    A part moves if both models have it, of one kind, with settings and shapes alike, and if the states that it reads have
    the same provenance. Weights per item or user never move. Under `all`, a part that cannot move begins fresh.

    Args:
        model: new model, whose sequence encoder is not adapted yet.
        source: where the weights come from.
        asked: `all`, or names of parts: `items`, `sequence`, `fusion`, `recommender` or a tower.

    Raises:
        UserError: if a part that was asked for by name cannot move, or nothing can.
    """
    parts = parts_of(model)
    wanted = _wanted(parts, asked, source.name)
    refused = {name: reason for name in wanted if (reason := _obstacle(parts[name], source, model))}
    if refused and [*asked] != [ALL]:
        name, first = next(iter(refused.items()))
        raise UserError(
            f"init_from {source.name}: init_parts asks for {name}, which cannot move: {first.reason}; train with the "
            "settings of the source, or leave the part out of init_parts"
        )
    taken = [name for name in wanted if name not in refused]
    if not taken:
        reasons = "; ".join(f"{name}: {one.reason}" for name, one in refused.items())
        raise UserError(
            f"init_from {source.name}: nothing of it can move into this run"
            f"{f' ({reasons})' if reasons else ', which has vectors of items and users only'}; leave out init_from"
        )
    moved = {name: _copy(parts[name], source.parts[name]) for name in taken}
    return Lineage(
        source=source.name,
        weights_sha256=source.digest,
        parts=list(asked),
        taken=moved,
        fresh=_fresh(parts, moved),
        refused=refused,
        own_base=own_base(model),
        lineage=source.lineage,
    )


def own_base(model: Model) -> list[str]:
    """The towers of a model whose base encoders are no longer as published."""
    items = model.item_encoder
    return sorted(items.own_base) if isinstance(items, TrainedEncoders) else []


def _wanted(parts: Mapping[str, Part], asked: Sequence[str], source: str) -> list[str]:
    """The parts that names stand for, in the order of the model.

    Raises:
        UserError: if a name stands for none, or for weights that never move.
    """
    movable = [name for name, part in parts.items() if part.moves]
    groups = {ALL: movable} | {
        group: [name for name in movable if parts[name].group == group] for group in _GROUPS
    }
    known = {**{name: [name] for name in movable}, **groups}
    for name in asked:
        if name == ID_TOWER and name in parts:
            raise UserError(
                f"init_from {source}: init_parts asks for {name}, but vectors of items and users never move to another "
                "dataset; leave it out"
            )
        if not known.get(name):
            names = ", ".join(dict.fromkeys([ALL, *(g for g in groups if groups[g]), *movable]))
            raise UserError(
                f"init_from {source}: init_parts names {name!r}; the parts of this run are {names}"
            )
    chosen = {part for name in asked for part in known[name]}
    chosen |= {other for name in chosen for other in parts[name].along}
    return [name for name in movable if name in chosen]


def _obstacle(part: Part, source: Source, model: Model) -> Refused | None:
    """Why a part cannot move; None if it can."""
    other = source.parts.get(part.name)
    if other is None or not other.moves:
        return Refused("the source has no such part")
    if part.name in source.unmovable:
        return Refused(source.unmovable[part.name])
    if other.kind != part.kind:
        return Refused(f"it is {other.kind} in the source, and {part.kind} here")
    if reason := _other_states(part.reads, source, model):
        return Refused(reason)
    for key in sorted({*part.settings, *other.settings}):
        here, there = (
            repr(one.settings[key]) if key in one.settings else _DEFAULT for one in (part, other)
        )
        if here != there:
            return Refused(
                f"{key} is {there} in the source, and {here} here", _differing(part, other)
            )
    shapes = _differing(part, other)
    if not shapes:
        return None
    name, (first, second) = next(iter(shapes.items()))
    return Refused(
        f"{name} is {first or 'absent'} in the source, and {second or 'absent'} here", shapes
    )


def _other_states(towers: Collection[str], source: Source, model: Model) -> str:
    """Why the states of some towers differ from those of the source; empty if they do not, or nobody knows."""
    if source.made_with is None:
        return ""
    for tower in towers:
        if tower not in source.made_with.get("encode", {}):
            return f"the source does not record how the states of tower {tower!r} were made"
        found = differing_states(source.made_with, model.made_with, tower=tower)
        if found is not None:
            key, then, now = found
            return f"it was trained on states with {key} {then!r}, and this dataset has {now!r}"
    return ""


def _differing(part: Part, other: Part) -> dict[str, list[list[int] | None]]:
    """By tensor, the shapes in the source and in the run where these differ, or where only one has it.

    The source leaves out what is as published; the run has tensors of its own where an adaptation added them.
    """
    theirs = {name: list(x.shape) for name, x in other.tensors.items() if name not in other.base}
    ours = part.shapes()
    spare = part.added | other.base
    return {
        name: [theirs.get(name), ours.get(name)]
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name) and not (name not in theirs and name in spare)
    }


@torch.no_grad()
def _copy(part: Part, other: Part) -> Shapes:
    """Copies a part's tensors, and returns their shapes."""
    names = [name for name in part.tensors if name in other.tensors and name not in other.base]
    for name in names:
        part.tensors[name].copy_(other.tensors[name])
    if part.base & {*names}:
        part.moved()
    return {name: list(part.tensors[name].shape) for name in names}


def _fresh(parts: Mapping[str, Part], moved: Mapping[str, Shapes]) -> dict[str, Shapes]:
    """The shapes of tensors that begin with new weights: neither moved, nor those of a published encoder."""
    fresh = {
        name: {
            tensor: shape
            for tensor, shape in part.shapes().items()
            if tensor not in moved.get(name, {}) and tensor not in part.base
        }
        for name, part in parts.items()
    }
    return {name: shapes for name, shapes in fresh.items() if shapes}
