"""The declarations of a loss and of an objective."""

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
        make: `make(splits, **settings) -> Loss`, usually the class of the loss. `train.loss_settings` are its keyword
            arguments.
        reads: further keyword arguments of `make`, each with the key of the train settings that sets it.
        encodes_catalogue: whether each step encodes the whole catalogue, so that `train.full_limit` applies.
    """

    make: Callable[..., Loss]
    reads: Mapping[str, str] = field(default_factory=dict)
    encodes_catalogue: bool = False


@dataclass(frozen=True)
class ObjectiveKind:
    """An objective (`models.losses.objectives`).

    Args:
        examples: the function, `(sequences, seed, **settings) -> Examples`.
        reads: keyword arguments of `examples`, each with the key of the train settings that sets it.
        masks: whether inputs contain `MASK`; the sequence encoder must then declare `takes_mask = True`.
    """

    examples: Callable[..., Examples]
    reads: Mapping[str, str] = field(default_factory=dict)
    masks: bool = False


def known_kind(kinds: Mapping[str, Kind], name: str, *, key: str) -> Kind:
    """The declaration with a name.

    Args:
        kinds: all declarations by name.
        name: name of the declaration.
        key: key of the setting that contains the name, for messages.

    Raises:
        UserError: if the name is not registered.
    """
    if name not in kinds:
        raise UserError(
            f"{key}: Expected one of {', '.join(map(repr, kinds))}, got {name!r}{did_you_mean(name, kinds)}"
        )
    return kinds[name]
