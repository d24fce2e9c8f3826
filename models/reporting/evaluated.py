"""What `evaluate` left in a run: its metrics, and every user's target and rank.

S users.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.compare import Comparison, compare, evaluation_name
from models.evaluate import Split
from toolkit.errors import UserError
from toolkit.splits import Protocol
from toolkit.store import read_file, read_json


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a run.

    Args:
        run: its folder.
        report: protocol, split, users, catalogue and metrics.
        user_ids: (S,) strings.
        targets: (S,) item ids, strings.
        ranks: (S,) of the targets.
    """

    run: Path
    report: dict[str, Any]
    user_ids: pa.ChunkedArray
    targets: pa.ChunkedArray
    ranks: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Runs that can be compared, the first of them being what the others are tested against.

    Args:
        runs: their places among all runs.
        comparison: of them.
        reason: why they stand apart from the first group; None of the first.
    """

    runs: list[int]
    comparison: Comparison
    reason: str | None


def read_evaluation(run: Path, split: Split, protocol: Protocol | None) -> Evaluated:
    """Reads an evaluation.

    Raises:
        UserError: if the run has not been evaluated so; the message has the command.
    """
    compare([run], split=split, protocol=protocol)  # says so
    name = evaluation_name(run, split, protocol)
    table = read_file(run / "ranks" / f"{name}.arrow")
    columns = (table.column("user_id"), table.column("item_id"))
    ranks = table.column("rank").to_numpy()
    return Evaluated(run, read_json(run / "metrics" / f"{name}.json"), *columns, ranks)


def group_runs(runs: list[Path], split: Split, protocol: Protocol | None) -> list[Group]:
    """Puts every run into the first group that it can be compared with.

    Args:
        runs: that have been evaluated.
        split: that was ranked.
        protocol: what was masked; each run's own by default.
    """
    places: list[list[int]] = []
    reasons: list[str | None] = []
    for place, run in enumerate(runs):
        refusals = [_refusal(runs[group[0]], run, split, protocol) for group in places]
        if None in refusals:
            places[refusals.index(None)].append(place)
        else:
            places.append([place])
            reasons.append(refusals[0] if refusals else None)
    return [
        Group(group, compare([runs[p] for p in group], split=split, protocol=protocol), reason)
        for group, reason in zip(places, reasons, strict=True)
    ]


def _refusal(first: Path, run: Path, split: Split, protocol: Protocol | None) -> str | None:
    """Why two runs cannot be compared; None where they can."""
    try:
        compare([first, run], split=split, protocol=protocol)
    except UserError as error:
        return str(error)
    return None
