"""Reads the evaluations of runs, and decides which evaluations are comparable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.evaluate import Split
from models.runs.files import read_environment, read_ranks, read_report
from models.runs.identity import differing_data
from toolkit.arguments import a_path, one_of
from toolkit.console.printable import printable
from toolkit.errors import UserError
from toolkit.splits import Protocol


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a run.

    Args:
        run: run folder.
        report: protocol, split, users, catalogue and metrics.
        dataset: hashes of the training dataset.
        ranks: the target of each user and its rank (`toolkit.schema.RANKS`).
    """

    run: Path
    report: dict[str, Any]
    dataset: dict[str, Any]
    ranks: pa.Table


def read_evaluation(run: Path, split: Split, protocol: Protocol | None) -> Evaluated:
    """Reads an evaluation of a run.

    Args:
        run: run folder.
        split: `valid` or `test`.
        protocol: protocol of the evaluation; the run's own by default.

    Raises:
        UserError: if the run has no such evaluation; the message contains the command for it.
    """
    run = a_path(run, name="run")
    name: str = one_of(split, Split, name="split")
    if protocol is not None:
        one_of(protocol, Protocol, name="protocol")
    own = run / "metrics" / f"{split}.json"
    if protocol is not None and not (own.exists() and read_report(own)["protocol"] == protocol):
        name = f"{split}.{protocol}"  # files of the run's own protocol are named by split alone
    report, ranks = run / "metrics" / f"{name}.json", run / "ranks" / f"{name}.arrow"
    if not report.exists() or not ranks.exists():
        option = f" --protocol {protocol}" if protocol else ""
        raise UserError(
            f"{run}: not evaluated on {split}{f' under {protocol}' if protocol else ''} yet; "
            f"run: python -m models evaluate {run} --split {split}{option}"
        )
    evaluated = Evaluated(
        run, read_report(report), read_environment(run)["dataset"], read_ranks(ranks)
    )
    users = evaluated.report["users"]
    if users != evaluated.ranks.num_rows:
        raise UserError(
            f"{ranks}: contains ranks of {evaluated.ranks.num_rows} users, but {report.name} states {users} users; "
            "evaluate the run again"
        )
    return evaluated


def refuse_incomparable(first: Evaluated, other: Evaluated) -> None:
    """Refuses runs that differ in data, split, protocol, catalogue, users or targets.

    Raises:
        UserError: with the differences.
    """
    differing = [
        *(f"the {what} of their datasets" for what in differing_data(first.dataset, other.dataset)),
        *(
            f"{key} ({first.report[key]} and {other.report[key]})"
            for key in ("split", "protocol", "catalogue")
            if first.report[key] != other.report[key]
        ),
    ]
    differing = differing or _other_users(first.ranks, other.ranks)
    if differing:
        same_protocol = first.report["protocol"] == other.report["protocol"]
        advice = (
            ""
            if same_protocol
            else "; evaluate both under the same protocol, and pass it with --protocol"
        )
        raise UserError(
            f"{first.run} and {other.run} are not comparable: they differ in {', '.join(differing)}{advice}"
        )


def _other_users(first: pa.Table, other: pa.Table) -> list[str]:
    nouns = {"user_id": "users", "item_id": "targets of the users"}
    differing = [
        f"the {noun}"
        for column, noun in nouns.items()
        if not first.column(column).equals(other.column(column))
    ]
    return differing[:1]  # different users imply different targets


def run_names(paths: list[Path]) -> list[str]:
    """The folders' names, or full paths if the names are not distinct. Control characters are escaped."""
    names = [path.resolve().name for path in paths]
    names = names if len(set(names)) == len(names) else [str(path) for path in paths]
    return [printable(name) for name in names]
