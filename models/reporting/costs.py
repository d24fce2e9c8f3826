"""Reads the costs of runs from a file of `models efficiency --output`."""

from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.json_files import read_json

_NUMBER = (int, float)
Kinds = type | tuple[type, ...]
KEYS: dict[str, Kinds] = {
    "method": str,
    "run": str,
    "device": str,
    "batch_size": int,
    "seconds_per_epoch": _NUMBER,
    "trainable_parameters": int,
}
MAYBE_NONE: dict[str, Kinds] = {"peak_memory_bytes": int, "memory": str, "tpme": _NUMBER}


def read_costs(path: Path, runs: list[Path]) -> list[dict[str, Any]]:
    """All methods of the file, each with `place`: the index of its run among `runs`, or None for other runs.

    Args:
        path: the file.
        runs: run folders.

    Raises:
        UserError: if it is not such a file, or contains none of the runs.
    """
    report = read_json(path)
    methods = report.get("methods") if isinstance(report, dict) else None
    if not isinstance(methods, list) or not methods or not all(map(_is_method, methods)):
        raise UserError(
            f"{path}: not a file of costs; write one with python -m models efficiency RUN … --output FILE.json"
        )
    indices = {run.resolve(): index for index, run in enumerate(runs)}
    costs = [
        {
            **{key: method[key] for key in (*KEYS, *MAYBE_NONE)},
            "place": indices.get(Path(method["run"]).resolve()),
        }
        for method in methods
    ]
    if all(cost["place"] is None for cost in costs):
        others = ", ".join(cost["run"] for cost in costs)
        raise UserError(
            f"{path}: contains none of these runs, only {others}; its paths are relative to the folder where "
            "efficiency was run: run report there"
        )
    return costs


def _is_method(entry: Any) -> bool:
    """Whether an entry has the keys and types that `models.efficiency` writes."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), kind) for key, kind in KEYS.items())
        and all(
            key in entry and (entry[key] is None or isinstance(entry[key], kind))
            for key, kind in MAYBE_NONE.items()
        )
    )
