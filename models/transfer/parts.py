"""The parts of a model, each of which moves to another model as a whole, or not at all.

A part is named after its tower; what joins towers is named as in the item encoder (`fusion`, `inter`). Weights per item
or user (`models.parameters.of_ids`) are the part `id`, which never moves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from models.adaptation import follow
from models.items import ITEMS, TrainedEncoders
from models.items.kind import ID_TOWER
from models.items.part_names import part_name, tower_of
from models.parameters import id_names
from models.recommender import Model

ITEM_PARTS, SEQUENCE, FUSION, RECOMMENDER = "items", "sequence", "fusion", "recommender"
# Scalar settings that may differ between two models: shapes show them, or evaluation does not depend on them.
_FREE = {"dropout", "max_len", "items", "users", "parts", "inter_bottleneck"}
_PEFT = ".base_layer"  # the name that peft puts before an encoder's own weights


@dataclass
class Part:
    """A part of a model.

    Args:
        name: of its tower, or its own.
        group: `items`, `sequence` or `recommender`.
        kind: class of the module.
        settings: the weights mean the same in two models if these are equal, and the shapes.
        reads: the towers whose states it reads.
        along: parts that move if this one does, because it reads their vectors.
        moves: whether its weights mean something in another dataset.
        tensors: the model's own tensors by their names in it, without what peft adds to these.
        base: names of tensors that are as published, which a model folder leaves out.
        added: names of tensors that an adaptation added.
        moved: called after its weights have been replaced.
    """

    name: str
    group: str
    kind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    moves: bool = True
    tensors: dict[str, Tensor] = field(default_factory=dict)
    base: set[str] = field(default_factory=set)
    added: set[str] = field(default_factory=set)
    moved: Callable[[], None] = lambda: None

    def shapes(self) -> dict[str, list[int]]:
        """The shape of each tensor."""
        return {name: list(tensor.shape) for name, tensor in self.tensors.items()}


def parts_of(model: Model) -> dict[str, Part]:
    """The parts of a model by name."""
    parts: dict[str, Part] = {}
    ids = id_names(model) | _of_known_items(model)
    for name, tensor in model.state_dict(keep_vars=True).items():
        module, inner = _owner(model, name)
        key = ID_TOWER if name in ids else _part_of(module, name, inner)
        if key not in parts:
            parts[key] = _empty_part(model, key, name.partition(".")[0])
        part, plain = parts[key], name.replace(_PEFT, "")
        part.tensors[plain] = tensor.detach()
        if isinstance(module, TrainedEncoders):
            _note_base(part, module, inner, plain)
    return parts


def _owner(model: Model, name: str) -> tuple[nn.Module, str]:
    """The item encoder, sequence encoder or network that a tensor belongs to, and its name there."""
    first, _, inner = name.partition(".")
    return model.get_submodule(first), inner


def _part_of(module: nn.Module, name: str, inner: str) -> str:
    """The part that a tensor belongs to: modules by tower are in a ModuleDict (`by_tower`)."""
    if name.startswith("sequence_encoder."):
        return SEQUENCE
    if name.startswith("general."):
        return RECOMMENDER
    child, _, rest = inner.partition(".")
    by_tower = isinstance(getattr(module, child), nn.ModuleDict)
    return tower_of(rest.partition(".")[0]) if by_tower else child


def _of_known_items(model: Model) -> set[str]:
    """The tensors of an item encoder that knows its training items only."""
    module = model.item_encoder
    kinds = [kind for kind in ITEMS.values() if type(module) is kind.module]
    if module is None or any(kind.knows_new_items for kind in kinds):
        return set()
    return {f"item_encoder.{name}" for name in module.state_dict()}


def _empty_part(model: Model, key: str, first: str) -> Part:
    """A part without its tensors yet."""
    if key == ID_TOWER:
        return Part(key, ITEM_PARTS, moves=False)
    module: Any = model.get_submodule(first)
    kind, settings = type(module).__name__, dict(module.settings())
    scalars = {
        name: value
        for name, value in settings.items()
        if isinstance(value, bool | int | float | str) and name not in _FREE
    }
    if first != "item_encoder":
        return Part(key, SEQUENCE if key == SEQUENCE else RECOMMENDER, kind, scalars)
    towers = tuple(model.made_with.get("encode", {}))
    joined = {"towers": list(getattr(module, "joined", towers))}
    if key == FUSION:
        return Part(key, ITEM_PARTS, kind, {**joined, "fusion": settings.get("fusion")})
    if key not in towers:
        return Part(key, ITEM_PARTS, kind, {**scalars, **joined}, reads=towers)
    own = Part(key, ITEM_PARTS, kind, scalars, reads=(key,))
    if isinstance(module, TrainedEncoders):
        owner = module.owners[key]
        own.along = (owner,) if owner != key else ()
        own.moved = partial(_encoder_moved, module, owner)
    return own


def _note_base(part: Part, module: TrainedEncoders, inner: str, plain: str) -> None:
    """Notes which tensors of an encoder are as published, and which an adaptation added."""
    if inner in module.base_names:
        part.base.add(plain)
    loaded = {name.replace(_PEFT, "") for name in module.loaded_names}
    if inner.startswith("encoders.") and inner.replace(_PEFT, "") not in loaded:
        part.added.add(plain)


def _encoder_moved(module: TrainedEncoders, tower: str) -> None:
    """What an encoder needs once it has the weights of another model."""
    module.keep_base([tower])
    encoder: Any = module.encoders[part_name(tower)]
    follow(encoder, encoder.adapted.method)
