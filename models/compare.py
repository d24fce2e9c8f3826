"""Runs side by side: metrics with intervals, and whether each differs from the first, over the same users."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.evaluate import Split
from models.run import ENVIRONMENT
from toolkit import metrics
from toolkit.errors import UserError
from toolkit.significance import Paired, paired_test
from toolkit.splits import Protocol
from toolkit.store import read_file, read_json

COMPARED = ("HR@10", "NDCG@10")
LEVEL = 0.05
Format = Literal["text", "markdown", "latex", "json"]
FORMATS = get_args(Format)


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
        rows: of the runs, in the order asked for.
    """

    split: str
    protocol: str
    users: int
    rows: list[Row]

    def __str__(self) -> str:
        return self.show("text")

    def show(self, how: Format) -> str:
        """The comparison as text, Markdown, LaTeX or JSON; metrics and differences in percent."""
        if how == "json":
            return json.dumps(self.as_dict(), indent=2)
        table = [self._head(), *(self._cells(row) for row in self.rows)]
        return {"text": _text, "markdown": _markdown, "latex": _latex}[how](table, self._about())

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
        about = {"split": self.split, "protocol": self.protocol, "users": self.users}
        return {**about, "correction": "holm", "runs": rows}

    def _head(self) -> list[str]:
        differences = [f"{name} against first" for name in COMPARED] if len(self.rows) > 1 else []
        return ["run", *COMPARED, *differences]

    def _cells(self, row: Row) -> list[str]:
        cells = [row.name, *(_shown(row.values[name]) for name in COMPARED)]
        if len(self.rows) == 1:
            return cells
        for name in COMPARED:
            test = row.against_first.get(name)
            if test is None:
                cells.append("")
                continue
            star = " *" if row.corrected[name] < LEVEL else ""
            change = _interval(test.difference, test.low, test.high, sign="+")
            cells.append(f"{change} p {row.corrected[name]:.4f}{star}")
        return cells

    def _about(self) -> str:
        words = f"{self.split}, protocol {self.protocol}, {self.users:,} users, in percent with 95 % intervals"
        if len(self.rows) > 1:
            words += (
                "; p: paired sign-flip test over users, corrected for the number of runs (Holm), "
                f"* below {LEVEL}"
            )
        return words


def compare(
    runs: Sequence[str | Path], *, split: Split = "test", protocol: Protocol | None = None
) -> Comparison:
    """Compares runs with the first of them.

    Args:
        runs: run folders.
        split: `valid` or `test`.
        protocol: what was masked; each run's own by default, which must be the same.

    Raises:
        UserError: if a run has not been evaluated so, or they are not comparable: another dataset, protocol,
            catalogue, or other users or targets.
    """
    paths = [Path(run) for run in runs]
    reports = [_report(path, split, protocol) for path in paths]
    tables = [
        read_file(path / "ranks" / f"{evaluation_name(path, split, protocol)}.arrow")
        for path in paths
    ]
    for path, report, table in zip(paths[1:], reports[1:], tables[1:], strict=True):
        _refuse_incomparable((paths[0], reports[0], tables[0]), (path, report, table))
    gains = [
        {name: _gains(name, np.asarray(table.column("rank"))) for name in COMPARED}
        for table in tables
    ]
    tests = [
        {name: paired_test(gains[0][name], other[name]) for name in COMPARED} for other in gains[1:]
    ]
    corrected = {name: holm([test[name].p_value for test in tests]) for name in COMPARED}
    names = run_names(paths)
    rows = [Row(names[0], reports[0]["metrics"], {}, {})]
    for place, test in enumerate(tests):
        values = {name: corrected[name][place] for name in COMPARED}
        rows.append(Row(names[place + 1], reports[place + 1]["metrics"], test, values))
    return Comparison(split, reports[0]["protocol"], reports[0]["users"], rows)


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


def evaluation_name(run: Path, split: Split, protocol: Protocol | None) -> str:
    """What the files of an evaluation are called: without the protocol where that is the run's own."""
    own = run / "metrics" / f"{split}.json"
    if protocol is None or (own.exists() and read_json(own)["protocol"] == protocol):
        return split
    return f"{split}.{protocol}"


def _report(run: Path, split: Split, protocol: Protocol | None) -> dict[str, Any]:
    path = run / "metrics" / f"{evaluation_name(run, split, protocol)}.json"
    if not path.exists():
        asked = f" --protocol {protocol}" if protocol else ""
        raise UserError(
            f"{run}: not evaluated on {split}{f' under {protocol}' if protocol else ''} yet; "
            f"run: python -m models evaluate {run} --split {split}{asked}"
        )
    report: dict[str, Any] = read_json(path)
    dataset = read_json(run / ENVIRONMENT)["dataset"]
    return {**report, "dataset": dataset.get("items_sha256")}


def _refuse_incomparable(first: tuple[Path, Any, Any], other: tuple[Path, Any, Any]) -> None:
    told = {
        "dataset": "the items of their datasets",
        "protocol": "protocol",
        "catalogue": "catalogue",
    }
    for key, words in told.items():
        here, there = first[1][key], other[1][key]
        if here != there:
            raise UserError(
                f"{first[0]} and {other[0]} are not comparable: {words} differ ({here} and {there})"
            )
    for column in ("user_id", "item_id"):
        if not first[2].column(column).equals(other[2].column(column)):
            what = "users" if column == "user_id" else "targets of the users"
            raise UserError(f"{first[0]} and {other[0]} are not comparable: the {what} differ")


def _gains(name: str, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    metric, _, cutoff = name.partition("@")
    return metrics.METRICS[metric](ranks, int(cutoff))


def run_names(paths: list[Path]) -> list[str]:
    """The folders' own names, or whole paths where those are not distinct."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _shown(metric: dict[str, float]) -> str:
    return _interval(metric["value"], metric["low"], metric["high"])


def _interval(value: float, low: float, high: float, *, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def _text(table: list[list[str]], about: str) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    return "\n".join([*lines, about])


def _markdown(table: list[list[str]], about: str) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    return "\n".join([*lines, "", about])


def _latex(table: list[list[str]], about: str) -> str:
    rows = [" & ".join(map(_escaped, row)) + r" \\" for row in table]
    body = [r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
    columns = "l" + "r" * (len(table[0]) - 1)
    return "\n".join([f"% {about}", rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])


def _escaped(cell: str) -> str:
    for character in "&%$#_{}":
        cell = cell.replace(character, "\\" + character)
    return cell
