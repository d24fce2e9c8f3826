"""What a loss and an objective declare of themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from models.losses.loss import Loss
from models.losses.objectives import Examples
from toolkit.console.command_help import did_you_mean
from toolkit.errors import UserError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class LossKind:
    """A training loss.

    Args:
        make: `make(splits, **settings) -> Loss`: usually its class. Keys of `train.loss_settings` are keyword arguments
            of it.
        reads: the key of the train settings by the keyword argument of `make` that takes its value.
        encodes_catalogue: whether each step encodes all items of the catalogue, so that `train.full_limit` applies.
    """

    make: Callable[..., Loss]
    reads: Mapping[str, str] = field(default_factory=dict)
    encodes_catalogue: bool = False


@dataclass(frozen=True)
class ObjectiveKind:
    """An objective (`models.losses.objectives`).

    Args:
        examples: the function, `(sequences, seed, **settings) -> Examples`.
        reads: the key of the train settings by the keyword argument of `examples` that takes its value.
        masks: whether inputs hold `MASK`; the sequence encoder must then declare `takes_mask = True`.
    """

    examples: Callable[..., Examples]
    reads: Mapping[str, str] = field(default_factory=dict)
    masks: bool = False


def known_kind(kinds: Mapping[str, Kind], name: str, *, key: str) -> Kind:
    """A declaration by name.

    Args:
        kinds: all of them.
        name: of the declaration.
        key: of the settings, which holds the name.

    Raises:
        UserError: if there is none of that name.
    """
    if name not in kinds:
        raise UserError(
            f"{key}: Expected one of {', '.join(map(repr, kinds))}, got {name!r}{did_you_mean(name, kinds)}"
        )
    return kinds[name]
