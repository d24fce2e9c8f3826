"""The losses by name. A loss of your own is a class and a line in `LOSSES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from models.losses.candidates import Full, InBatch, Sampled
from models.losses.loss import Loss
from models.losses.objectives import OBJECTIVES, ObjectiveKind
from toolkit.console.command_help import did_you_mean
from toolkit.errors import UserError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class LossKind:
    """What there is to know of a loss besides its name.

    Args:
        make: `make(splits, **settings) -> Loss`: its class, usually. Keys of `train.loss_settings` are keyword
            arguments too.
        reads: key of the train settings by keyword argument of `make`.
        encodes_catalogue: whether each step encodes all items of the catalogue, so that `train.full_limit` applies.
    """

    make: Callable[..., Loss]
    reads: Mapping[str, str] = field(default_factory=dict)
    encodes_catalogue: bool = False


LOSSES = {
    "in-batch": LossKind(InBatch),
    "full": LossKind(Full, encodes_catalogue=True),
    "sampled": LossKind(Sampled, reads={"count": "sampled_items", "by": "sampled_by"}),
}


def loss_kind(name: str) -> LossKind:
    """The declaration of a loss.

    Raises:
        UserError: if `LOSSES` has none of that name.
    """
    return _known(name, LOSSES, key="train.loss")


def objective_kind(name: str) -> ObjectiveKind:
    """The declaration of an objective.

    Raises:
        UserError: if `OBJECTIVES` has none of that name.
    """
    return _known(name, OBJECTIVES, key="train.objective")


def _known(name: str, kinds: Mapping[str, Kind], *, key: str) -> Kind:
    if name not in kinds:
        raise UserError(
            f"{key}: Expected one of {', '.join(map(repr, kinds))}, got {name!r}{did_you_mean(name, kinds)}"
        )
    return kinds[name]
