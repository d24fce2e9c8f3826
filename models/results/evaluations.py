"""Reads the evaluations of runs, and decides which evaluations are comparable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.evaluate import Split
from models.runs.files import protocol_of, read_environment, read_ranks, read_report
from models.runs.identity import differing_data
from models.training.log import flat
from toolkit.arguments import a_path, one_of
from toolkit.console.printable import printable
from toolkit.errors import UserError
from toolkit.own_protocols import ProtocolLike, as_protocol
from toolkit.protocols import Protocol


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a run.

    Args:
        run: run folder.
        report: protocol with its settings, split, users, targets, catalogue and metrics.
        dataset: hashes of the training dataset.
        ranks: each target with its user and its rank (`toolkit.schema.RANKS`).
    """

    run: Path
    report: dict[str, Any]
    dataset: dict[str, Any]
    ranks: pa.Table

    @property
    def protocol(self) -> Protocol:
        """The protocol as a value."""
        return protocol_of(self.report)

    @property
    def users(self) -> NDArray[np.int64]:
        """(R,) index of each target's user, in the order of the table."""
        return users_of(self.ranks)


def users_of(ranks: pa.Table) -> NDArray[np.int64]:
    """(R,) index of each row's user, in the order of a table of ranks."""
    ids = ranks.column("user_id").combine_chunks().dictionary_encode()
    return ids.indices.to_numpy().astype(np.int64)


def read_evaluation(run: Path, split: Split, protocol: ProtocolLike | None) -> Evaluated:
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
    asked = None if protocol is None else as_protocol(protocol)
    own = run / "metrics" / f"{split}.json"
    if asked is not None and not (own.exists() and _is_of(read_report(own), asked)):
        name = f"{split}.{asked}"  # files of the run's own protocol are named by split alone
    report, ranks = run / "metrics" / f"{name}.json", run / "ranks" / f"{name}.arrow"
    found = report.exists() and ranks.exists()
    if not found or (asked is not None and not _is_of(read_report(report), asked)):
        option = f" --protocol {protocol}" if protocol else ""
        raise UserError(
            f"{run}: not evaluated on {split}{f' under {asked}' if asked else ''} yet; "
            f"run: python -m models evaluate {run} --split {split}{option}"
        )
    evaluated = Evaluated(
        run, read_report(report), read_environment(run)["dataset"], read_ranks(ranks)
    )
    users, ranked = evaluated.report["users"], int(evaluated.users.max()) + 1
    if users != ranked:
        raise UserError(
            f"{ranks}: contains ranks of {ranked} users, but {report.name} states {users} users; evaluate the run again"
        )
    return evaluated


def _is_of(report: dict[str, Any], protocol: Protocol) -> bool:
    """Whether a report is of a protocol: its name and its value."""
    return (report["protocol"], report["protocol_settings"]) == (protocol.name, protocol.settings)


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
        *_other_settings(first.report, other.report),
    ]
    differing = differing or _other_users(first.ranks, other.ranks)
    if differing:
        same_protocol = first.report["protocol"] == other.report["protocol"]
        advice = (
            ""
            if same_protocol and not _other_settings(first.report, other.report)
            else "; evaluate both under the same protocol, and pass it with --protocol"
        )
        raise UserError(
            f"{first.run} and {other.run} are not comparable: they differ in {', '.join(differing)}{advice}"
        )


def _other_settings(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What protocols of one name differ in."""
    if first["protocol"] != other["protocol"]:
        return []
    then, now = (flat(report["protocol_settings"]) for report in (first, other))
    keys = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    return [f"the protocol's {key} ({then.get(key)} and {now.get(key)})" for key in keys]


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
