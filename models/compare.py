"""Runs side by side: metrics with intervals, and whether each differs from the first, over the same users."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.comparison_tables import latex, markdown, text
from models.evaluate import Split
from models.identity import INTERACTIONS, differing_data
from models.markdown import printable
from models.run_files import read_environment, read_ranks, read_report
from toolkit.arguments import a_path, one_of, paths
from toolkit.errors import UserError
from toolkit.ids import as_ids
from toolkit.metrics import METRICS, summarise
from toolkit.significance import Paired, paired_test
from toolkit.splits import Protocol

COMPARED = ("HR@10", "NDCG@10")
Format = Literal["text", "markdown", "latex", "json"]


@dataclass(frozen=True)
class Row:
    """One run.

    Args:
        name: of the run.
        values: by metric: value, low, high, as fractions.
        against_first: by metric, how it differs from the first run; empty for the first.
        corrected: by metric, that test's p-value after Holm's correction for all runs compared.
    """

    name: str
    values: dict[str, dict[str, float]]
    against_first: dict[str, Paired]
    corrected: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Several runs on one split under one protocol; as a string, a table for the terminal.

    Args:
        split: that was ranked.
        protocol: what was masked.
        users: how many.
        catalogue: how many items were ranked.
        metrics: those compared.
        rows: of the runs, in the order asked for.
        notes: what could not be made sure of.
    """

    split: str
    protocol: str
    users: int
    catalogue: int
    metrics: list[str]
    rows: list[Row]
    notes: list[str]

    def __str__(self) -> str:
        return self.show("text")

    def show(self, how: Format) -> str:
        """The comparison as text, Markdown, LaTeX or JSON; metrics and differences in percent."""
        if how == "json":
            return json.dumps(self.as_dict(), indent=2)
        return {"text": text, "markdown": markdown, "latex": latex}[how](self)

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        rows = [
            {
                "run": row.name,
                "metrics": row.values,
                "against_first": {
                    name: {**test._asdict(), "corrected_p_value": row.corrected[name]}
                    for name, test in row.against_first.items()
                },
            }
            for row in self.rows
        ]
        about = {key: getattr(self, key) for key in ("split", "protocol", "users", "catalogue")}
        corrected = {"correction": "holm", "corrected_over_runs": len(self.rows) - 1}
        return {**about, **corrected, "notes": self.notes, "runs": rows}


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


def compare(
    runs: Sequence[str | Path],
    *,
    split: Split = "test",
    protocol: Protocol | None = None,
    metrics: Sequence[str] = COMPARED,
) -> Comparison:
    """Compares runs with the first of them.

    Args:
        runs: run folders.
        split: `valid` or `test`.
        protocol: what was masked; each run's own by default, which must be the same.
        metrics: HR, NDCG or MRR, at any cutoff, such as `MRR@10`.

    Raises:
        UserError: if a metric is unknown, a run has not been evaluated so, or they are not comparable: another
            dataset, protocol, catalogue, or other users or targets.
    """
    wanted = list(dict.fromkeys(map(_metric, as_ids(metrics, what="metrics", one="metric"))))
    found = [read_evaluation(run, split, protocol) for run in paths(runs, name="runs")]
    if not found or not wanted:
        raise UserError("compare: no run or no metric is named; give one or more of each")
    for other in found[1:]:
        refuse_incomparable(found[0], other)
    ranks = [np.asarray(one.ranks.column("rank")) for one in found]
    gains = [{name: _gains(name, each) for name in wanted} for each in ranks]
    tests = [
        {name: paired_test(gains[0][name], other[name]) for name in wanted} for other in gains[1:]
    ]
    corrected = {name: holm([test[name].p_value for test in tests]) for name in wanted}
    values = [_values(each, wanted) for each in ranks]
    words = run_names([one.run for one in found])
    rows = [Row(words[0], values[0], {}, {})]
    for place, test in enumerate(tests):
        p_values = {name: corrected[name][place] for name in wanted}
        rows.append(Row(words[place + 1], values[place + 1], test, p_values))
    about = found[0].report
    return Comparison(
        split, about["protocol"], about["users"], about["catalogue"], wanted, rows, _notes(found)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the k-th smallest of m times m - k + 1, never falling, at most 1.

    Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _metric(name: str) -> str:
    kind, at, cutoff = name.upper().partition("@")
    if kind not in METRICS or not at or not cutoff.isdecimal() or int(cutoff) < 1:
        known = ", ".join(f"{one}@K" for one in METRICS)
        raise UserError(f"metric {name!r} is unknown; there are {known}, with K from 1 on")
    return f"{kind}@{int(cutoff)}"


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


def _notes(found: list[Evaluated]) -> list[str]:
    silent = [str(one.run) for one in found if INTERACTIONS not in one.dataset]
    if len(found) == 1 or not silent:
        return []
    return [
        f"Not known: whether all were trained on the same interactions, for {', '.join(silent)} came from a Versa "
        "that kept no hash of them. Users and targets are the same."
    ]


def _gains(name: str, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    metric, _, cutoff = name.partition("@")
    return METRICS[metric](ranks, int(cutoff))


def _values(ranks: NDArray[np.float64], names: list[str]) -> dict[str, dict[str, float]]:
    """Each metric with its interval, from the ranks: so any cutoff will do."""
    cutoffs = sorted({int(name.partition("@")[2]) for name in names})
    summary = summarise(ranks, cutoffs)
    return {name: summary[name] for name in names}


def run_names(paths: list[Path]) -> list[str]:
    """The folders' own names, or whole paths where those are not distinct; characters that a terminal obeys are shown."""
    names = [path.resolve().name for path in paths]
    names = names if len(set(names)) == len(names) else [str(path) for path in paths]
    return [printable(name) for name in names]
