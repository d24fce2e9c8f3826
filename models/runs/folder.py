"""The files of a run folder that every trainer writes, whatever it trains."""

from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.json_files import read_json_object

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
MODEL = "model"
METRICS = "metrics"
_ENVIRONMENT_TYPES: dict[str, type] = {"dataset": dict, "versions": dict, "processes": int}
_TYPE_NAMES: dict[type, str] = {dict: "an object", int: "a whole number", str: "text"}


def read_environment(run: Path) -> dict[str, Any]:
    """Reads the environment of a run, environment.json, which always has `dataset`.

    Raises:
        UserError: if the file is missing or damaged.
    """
    environment = read_json_object(run / ENVIRONMENT)
    check_types({"dataset": None, **environment}, _ENVIRONMENT_TYPES, run / ENVIRONMENT)
    return environment


def check_types(
    values: dict[str, Any], types: dict[str, type], path: Path, *, lead: str = ""
) -> None:
    """Checks the types of some values of a JSON object; absent keys are not checked.

    Args:
        values: the object.
        types: `dict`, `int` or `str` by key.
        path: path of its file, for messages.
        lead: of a key in messages.

    Raises:
        UserError: for the first value of another type.
    """
    for key, kind in types.items():
        if key in values and (type(values[key]) is not kind):
            raise UserError(
                f"{path}: {lead}{key} is {values[key]!r}, expected {_TYPE_NAMES[kind]}; restore the file"
            )
