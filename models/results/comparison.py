"""A comparison of runs, and how it looks: for the terminal, in Markdown and in LaTeX."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from models.runs.markdown import plain, table
from toolkit.significance import Paired

LEVEL = 0.05
COLUMNS = 96  # of the terminal, for what is no table
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # which would be an option of the line break before it
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


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


def text(found: Comparison) -> str:
    """A block of lines for each metric, so that the table stays narrow however many there are."""
    blocks = [_wrapped(_about(found))]
    for name in found.metrics:
        head = [name, "", "95 %", "against first", "95 %", "p"]
        cells = [head, *([row.name, *_terminal(row, name)] for row in found.rows)]
        if len(found.rows) == 1:
            cells = [row[:3] for row in cells]
        blocks.append(_aligned(cells))
    return "\n\n".join([*blocks, *map(_wrapped, [*_told(found), *found.notes])])


def markdown(found: Comparison) -> str:
    """A row for each run; the best of each metric is bold."""
    head, *rows = _rows(
        found, plain, lambda value, place: f"**{value}**" if place == 1 else value, _change
    )
    notes = [plain(note) for note in found.notes]
    return "\n\n".join([table(head, rows), _about(found), *_told(found), *notes])


def latex(found: Comparison) -> str:
    """A row for each run, to be compiled with booktabs; of each metric, the best is bold, the second underlined."""
    head, *rows = _rows(found, _escaped, _latex_value, _latex_change)
    told = [" ".join(line.split()) for line in (_about(found), *_told(found), *found.notes)]
    lines = [" & ".join(cells) + r" \\" for cells in (head, *rows)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *(f"% {line}" for line in told),
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
    found: Comparison,
    words: Callable[[str], str],
    marked: Callable[[str, int], str],
    changed: Callable[[Row, str], str],
) -> list[list[str]]:
    """Head, and a row for each run.

    Args:
        found: the comparison.
        words: writes the name of a run.
        marked: writes a value by its place: 1 for the best runs, 2 for the next, ...; 0 where there is one run.
        changed: writes how a run differs from the first in a metric.
    """
    several = len(found.rows) > 1
    places = {name: _places(found, name) for name in found.metrics}
    lines = [
        ["run", *found.metrics, *(f"{name} against first" for name in found.metrics if several)]
    ]
    for number, row in enumerate(found.rows):
        values = [
            f"{marked(_percent(row, name), places[name][number] if several else 0)} {_interval(row.values[name])}"
            for name in found.metrics
        ]
        changes = [
            changed(row, name) if name in row.against_first else ""
            for name in found.metrics
            if several
        ]
        lines.append([words(row.name), *values, *changes])
    return lines


def _about(found: Comparison) -> str:
    return (
        f"{found.split} split, protocol {found.protocol}: {found.users:,} users, {found.catalogue:,} items; "
        "in percent, with 95 % intervals."
    )


def _told(found: Comparison) -> list[str]:
    others = len(found.rows) - 1
    if not others:
        return []
    corrected = f", corrected for {others} runs against the first (Holm)" * (others > 1)
    return [
        "Differences are paired over the same users, their intervals bootstrapped. p: paired sign-flip test of each "
        f"metric by itself{corrected}, * below {LEVEL}."
    ]


def _terminal(row: Row, name: str) -> list[str]:
    cells = [_percent(row, name), _interval(row.values[name])]
    if name not in row.against_first:
        return [*cells, "", "", ""]
    star = " *" if row.corrected[name] < LEVEL else ""
    return [*cells, *_difference(row, name), f"{row.corrected[name]:.4f}{star}"]


def _wrapped(words: str) -> str:
    return textwrap.fill(words, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _aligned(rows: list[list[str]]) -> str:
    """Names to the left, and p-values with their stars; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = (0, 5)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _change(row: Row, name: str) -> str:
    star = r" \*" if row.corrected[name] < LEVEL else ""
    difference, interval = _difference(row, name)
    return f"{difference} {interval} p {row.corrected[name]:.4f}{star}"


def _latex_value(value: str, place: int) -> str:
    style = {1: "textbf", 2: "underline"}.get(place)
    return rf"\{style}{{{value}}}" if style else value


def _latex_change(row: Row, name: str) -> str:
    star = "^{*}" if row.corrected[name] < LEVEL else ""
    difference, interval = _difference(row, name)
    return f"${difference}{star}$ ${interval}$ $p={row.corrected[name]:.4f}$"


def _difference(row: Row, name: str) -> tuple[str, str]:
    """From the first run, with its interval."""
    test = row.against_first[name]
    return f"{100 * test.difference:+.2f}", _interval({"low": test.low, "high": test.high}, "+")


def _percent(row: Row, name: str) -> str:
    return f"{100 * row.values[name]['value']:.2f}"


def _places(found: Comparison, name: str) -> list[int]:
    """1 for the best runs, 2 for the next value, and so on; those that are shown alike are alike."""
    shown = [round(100 * row.values[name]["value"], 2) for row in found.rows]
    order = sorted(set(shown), reverse=True)
    return [order.index(value) + 1 for value in shown]


def _interval(metric: dict[str, float], sign: str = "") -> str:
    return f"[{100 * metric['low']:{sign}.2f}, {100 * metric['high']:{sign}.2f}]"


def _escaped(words: str) -> str:
    return " ".join(words.split()).translate(_LATEX)
