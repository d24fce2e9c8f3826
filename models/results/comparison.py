"""A comparison of runs, and its formats: terminal text, Markdown, LaTeX and JSON."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.results.budgets import Budget, unequal_budgets
from models.runs.markdown import plain, table
from toolkit.significance import Paired

LEVEL = 0.05
BUDGET = ("tried settings", "epochs", "seconds")  # columns
COLUMNS = 96  # width of text around the tables in the terminal
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # a bare [ after \\ would be read as an option of the line break
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


Format = Literal["text", "markdown", "latex", "json"]


@dataclass(frozen=True)
class Row:
    """One run of a comparison.

    Args:
        name: name of the run.
        values: by metric: value, low, high, as fractions.
        against_first: by metric, the paired test against the first run; empty for the first run.
        corrected: by metric, the test's p-value after Holm's correction for the number of runs.
        beyond: `beyond` and `diversity_content` of the run's report; empty for a report of an older version.
        budget: what the run could spend and spent; None if its records do not state it.
    """

    name: str
    values: dict[str, dict[str, float]]
    against_first: dict[str, Paired]
    corrected: dict[str, float]
    beyond: dict[str, Any] = field(default_factory=dict)
    budget: Budget | None = None


@dataclass(frozen=True)
class Comparison:
    """Several runs on one split under one protocol. `str` returns a table for the terminal.

    Args:
        split: split of the evaluation.
        protocol: name of the protocol.
        protocol_settings: its value (`toolkit.protocols.Protocol.settings`).
        users: number of users.
        catalogue: number of ranked items.
        metrics: compared metrics.
        rows: one row per run, in the given order.
        notes: what could not be verified.
    """

    split: str
    protocol: str
    protocol_settings: dict[str, Any]
    users: int
    catalogue: int
    metrics: list[str]
    rows: list[Row]
    notes: list[str]

    def __str__(self) -> str:
        return self.show("text")

    @property
    def has_budgets(self) -> bool:
        """Whether the budget of a run is known."""
        return any(row.budget for row in self.rows)

    @property
    def warnings(self) -> list[str]:
        """What makes the comparison unfair: a sentence per budget that differs between the runs."""
        return unequal_budgets([row.name for row in self.rows], [row.budget for row in self.rows])

    def show(self, how: Format) -> str:
        """The comparison as text, Markdown, LaTeX or JSON; metrics and differences in percent."""
        if how == "json":
            return json.dumps(self.as_dict(), indent=2)
        return {"text": text, "markdown": markdown, "latex": latex}[how](self)

    def as_dict(self) -> dict[str, Any]:
        """The comparison, JSON-serialisable."""
        rows = [
            {
                "run": row.name,
                "metrics": row.values,
                **row.beyond,
                "against_first": {
                    name: {**test._asdict(), "corrected_p_value": row.corrected[name]}
                    for name, test in row.against_first.items()
                },
                "budget": row.budget and asdict(row.budget),
            }
            for row in self.rows
        ]
        evaluation = {
            key: getattr(self, key)
            for key in ("split", "protocol", "protocol_settings", "users", "catalogue")
        }
        correction = {"correction": "holm", "corrected_over_runs": len(self.rows) - 1}
        notes = {"notes": self.notes, "warnings": self.warnings}
        return {**evaluation, **correction, **notes, "runs": rows}


def text(comparison: Comparison) -> str:
    """A table per metric, so that the width does not depend on the number of metrics."""
    blocks = [_wrapped(_heading(comparison))]
    for name in comparison.metrics:
        head = [name, "", "95 %", "against first", "95 %", "p"]
        cells = [head, *([row.name, *_terminal(row, name)] for row in comparison.rows)]
        if len(comparison.rows) == 1:
            cells = [row[:3] for row in cells]
        blocks.append(_aligned(cells))
    if comparison.has_budgets:
        cells = [["budget", *BUDGET], *([row.name, *_budget(row)] for row in comparison.rows)]
        blocks.append(_aligned(cells))
    notes = [*_test_notes(comparison), *comparison.notes, *comparison.warnings]
    return "\n\n".join([*blocks, *map(_wrapped, notes)])


def markdown(comparison: Comparison) -> str:
    """A table with a row per run. The best value of each metric is bold."""
    head, *rows = _rows(
        comparison, plain, lambda value, rank: f"**{value}**" if rank == 1 else value, _change
    )
    notes = [plain(note) for note in (*comparison.notes, *comparison.warnings)]
    return "\n\n".join([table(head, rows), _heading(comparison), *_test_notes(comparison), *notes])


def latex(comparison: Comparison) -> str:
    """A booktabs table with a row per run. The best value of each metric is bold, the second best underlined."""
    head, *rows = _rows(comparison, escaped, _latex_value, _latex_change)
    notes = (
        _heading(comparison),
        *_test_notes(comparison),
        *comparison.notes,
        *comparison.warnings,
    )
    comments = [" ".join(note.split()) for note in notes]
    lines = [" & ".join(cells) + r" \\" for cells in (head, *rows)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *(f"% {comment}" for comment in comments),
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _rows(
    comparison: Comparison,
    format_name: Callable[[str], str],
    mark_value: Callable[[str, int], str],
    format_change: Callable[[Row, str], str],
) -> list[list[str]]:
    """The header, and a row per run.

    Args:
        comparison: the comparison.
        format_name: formats the name of a run.
        mark_value: marks a value by its rank: 1 for the best value, 2 for the next, …; 0 for a single run.
        format_change: formats the difference of a run from the first run in a metric.
    """
    several = len(comparison.rows) > 1
    metrics = comparison.metrics
    ranks = {name: _value_ranks(comparison, name) for name in metrics}
    budget = BUDGET if comparison.has_budgets else ()
    lines = [["run", *metrics, *(f"{name} against first" for name in metrics if several), *budget]]
    for number, row in enumerate(comparison.rows):
        values = [
            f"{mark_value(_percent(row, name), ranks[name][number] if several else 0)} {_interval(row.values[name])}"
            for name in metrics
        ]
        changes = [
            format_change(row, name) if name in row.against_first else ""
            for name in metrics
            if several
        ]
        spent = _budget(row) if budget else []
        lines.append([format_name(row.name), *values, *changes, *spent])
    return lines


def _budget(row: Row) -> list[str]:
    """The cells of a run's budget, in the order of `BUDGET`."""
    return ["–"] * len(BUDGET) if row.budget is None else row.budget.cells


def _heading(comparison: Comparison) -> str:
    return (
        f"{comparison.split} split, protocol {comparison.protocol}: {comparison.users:,} users, "
        f"{comparison.catalogue:,} items; in percent, with 95 % intervals."
    )


def _test_notes(comparison: Comparison) -> list[str]:
    others = len(comparison.rows) - 1
    if not others:
        return []
    corrected = f", corrected for {others} runs against the first (Holm)" * (others > 1)
    return [
        "Differences are paired over the same users, with bootstrap intervals. p: paired sign-flip test per "
        f"metric{corrected}, * below {LEVEL}."
    ]


def _terminal(row: Row, name: str) -> list[str]:
    cells = [_percent(row, name), _interval(row.values[name])]
    if name not in row.against_first:
        return [*cells, "", "", ""]
    star = " *" if row.corrected[name] < LEVEL else ""
    return [*cells, *_difference(row, name), f"{row.corrected[name]:.4f}{star}"]


def _wrapped(note: str) -> str:
    return textwrap.fill(note, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _aligned(rows: list[list[str]]) -> str:
    """Aligns columns: names and p-values left, other numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left_columns = (0, 5)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _change(row: Row, name: str) -> str:
    star = r" \*" if row.corrected[name] < LEVEL else ""
    difference, interval = _difference(row, name)
    return f"{difference} {interval} p {row.corrected[name]:.4f}{star}"


def _latex_value(value: str, rank: int) -> str:
    style = {1: "textbf", 2: "underline"}.get(rank)
    return rf"\{style}{{{value}}}" if style else value


def _latex_change(row: Row, name: str) -> str:
    star = "^{*}" if row.corrected[name] < LEVEL else ""
    difference, interval = _difference(row, name)
    return f"${difference}{star}$ ${interval}$ $p={row.corrected[name]:.4f}$"


def _difference(row: Row, name: str) -> tuple[str, str]:
    """The difference from the first run, and its interval."""
    test = row.against_first[name]
    return f"{100 * test.difference:+.2f}", _interval({"low": test.low, "high": test.high}, "+")


def _percent(row: Row, name: str) -> str:
    return f"{100 * row.values[name]['value']:.2f}"


def _value_ranks(comparison: Comparison, name: str) -> list[int]:
    """The rank of each run's value: 1 for the best, 2 for the next, …. Equal rounded values have equal ranks."""
    shown = [round(100 * row.values[name]["value"], 2) for row in comparison.rows]
    order = sorted(set(shown), reverse=True)
    return [order.index(value) + 1 for value in shown]


def _interval(metric: dict[str, float], sign: str = "") -> str:
    return f"[{100 * metric['low']:{sign}.2f}, {100 * metric['high']:{sign}.2f}]"


def escaped(name: str) -> str:
    """Text in one line for LaTeX."""
    return " ".join(name.split()).translate(_LATEX)
