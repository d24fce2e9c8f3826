"""What an evaluation wrote into a run, read back, and what may be compared with what."""

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
    """What an evaluation left behind of one run.

    Args:
        run: its folder.
        report: protocol, split, users, catalogue and metrics.
        dataset: what the run was trained on, by its hashes.
        ranks: every user's target and its rank (`toolkit.schema.RANKS`).
    """

    run: Path
    report: dict[str, Any]
    dataset: dict[str, Any]
    ranks: pa.Table


def read_evaluation(run: Path, split: Split, protocol: Protocol | None) -> Evaluated:
    """Reads an evaluation.

    Raises:
        UserError: if the run has not been evaluated so; the message has the command.
    """
    run = a_path(run, name="run")
    name: str = one_of(split, Split, name="split")
    if protocol is not None:
        one_of(protocol, Protocol, name="protocol")
    own = run / "metrics" / f"{split}.json"
    if protocol is not None and not (own.exists() and read_report(own)["protocol"] == protocol):
        name = f"{split}.{protocol}"  # the run's own protocol has no place in the name
    report, ranks = run / "metrics" / f"{name}.json", run / "ranks" / f"{name}.arrow"
    if not report.exists() or not ranks.exists():
        asked = f" --protocol {protocol}" if protocol else ""
        raise UserError(
            f"{run}: not evaluated on {split}{f' under {protocol}' if protocol else ''} yet; "
            f"run: python -m models evaluate {run} --split {split}{asked}"
        )
    found = Evaluated(run, read_report(report), read_environment(run)["dataset"], read_ranks(ranks))
    if found.report["users"] != found.ranks.num_rows:
        raise UserError(
            f"{ranks}: ranks of {found.ranks.num_rows} users, and {report.name} is of {found.report['users']}; "
            "evaluate the run again"
        )
    return found


def refuse_incomparable(first: Evaluated, other: Evaluated) -> None:
    """Refuses runs of other data, another split or protocol, or other users.

    Raises:
        UserError: saying in what they differ.
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
        one_protocol = first.report["protocol"] == other.report["protocol"]
        cure = "" if one_protocol else "; evaluate both under one, and name it with --protocol"
        raise UserError(
            f"{first.run} and {other.run} are not comparable: they differ in {', '.join(differing)}{cure}"
        )


def _other_users(first: pa.Table, other: pa.Table) -> list[str]:
    told = {"user_id": "users", "item_id": "targets of the users"}
    differing = [
        f"the {words}"
        for column, words in told.items()
        if not first.column(column).equals(other.column(column))
    ]
    return differing[:1]  # other users have other targets


def run_names(paths: list[Path]) -> list[str]:
    """The folders' own names, or whole paths where those are not distinct; characters that a terminal obeys are shown."""
    names = [path.resolve().name for path in paths]
    names = names if len(set(names)) == len(names) else [str(path) for path in paths]
    return [printable(name) for name in names]
