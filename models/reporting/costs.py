"""What runs cost: from the file that `models efficiency --output` wrote."""

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
    """Every method of the file, with `place`, that of its run among `runs`; None of another run.

    Args:
        path: the file.
        runs: run folders.

    Raises:
        UserError: if it is not such a file, or tells of none of the runs.
    """
    report = read_json(path)
    methods = report.get("methods") if isinstance(report, dict) else None
    if not isinstance(methods, list) or not methods or not all(map(_is_method, methods)):
        raise UserError(
            f"{path}: not a file of costs; python -m models efficiency RUN … --output FILE.json writes one"
        )
    known = {run.resolve(): place for place, run in enumerate(runs)}
    found = [
        {
            **{key: method[key] for key in (*KEYS, *MAYBE_NONE)},
            "place": known.get(Path(method["run"]).resolve()),
        }
        for method in methods
    ]
    if all(method["place"] is None for method in found):
        told = ", ".join(method["run"] for method in found)
        raise UserError(
            f"{path}: tells of none of these runs, but of {told}; its paths start where it was made"
        )
    return found


def _is_method(found: Any) -> bool:
    """Whether an entry has what `models.efficiency` writes, of its types."""
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(key), kind) for key, kind in KEYS.items())
        and all(
            key in found and (found[key] is None or isinstance(found[key], kind))
            for key, kind in MAYBE_NONE.items()
        )
    )
