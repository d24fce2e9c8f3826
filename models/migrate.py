"""Records of older Versas brought up to this one: a run's config.yaml and a model folder's config.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import UserError

Kind = Literal["run", "model"]
Record = dict[str, Any]


def _as_it_is(record: Record) -> Record:
    return record


def _model_1(record: Record) -> Record:
    """Models did not record the digest of their weights, and before that not what their towers were made with."""
    return {"made_with": {}, "weights_sha256": None, **record}


# What leads from each format to the next; a record without a number is of format 0.
_STEPS: dict[Kind, tuple[Callable[[Record], Record], ...]] = {
    "run": (_as_it_is,),
    "model": (_as_it_is, _model_1),
}
FORMATS: dict[Kind, int] = {kind: len(steps) for kind, steps in _STEPS.items()}


def migrate(record: Record, kind: Kind, *, where: Path) -> Record:
    """A record as this Versa writes it, without its format number.

    Args:
        record: as it was read.
        kind: what it is of.
        where: its file, for messages.

    Raises:
        UserError: if its format is newer than this Versa, or no format.
    """
    record = dict(record)
    found, newest = record.pop("format", 0), FORMATS[kind]
    if type(found) is not int or not 0 <= found <= newest:
        raise UserError(
            f"{where}: format {found}, and this Versa reads up to format {newest}; a newer Versa wrote it: "
            "upgrade versa-toolkit"
        )
    for step in _STEPS[kind][found:]:
        record = step(record)
    return record
