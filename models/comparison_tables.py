"""How a comparison looks: for the terminal, in Markdown and in LaTeX."""

import textwrap
from typing import TYPE_CHECKING

from models.markdown import plain, table

if TYPE_CHECKING:
    from models.compare import Comparison, Row

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


def text(found: "Comparison") -> str:
    """A block of lines for each metric, so that the table stays narrow however many there are."""
    blocks = [_wrapped(_about(found))]
    for name in found.metrics:
        head = [name, "", "95 %", "against first", "95 %", "p"]
        cells = [head, *([row.name, *_terminal(row, name)] for row in found.rows)]
        if len(found.rows) == 1:
            cells = [row[:3] for row in cells]
        blocks.append(_aligned(cells))
    return "\n\n".join([*blocks, *map(_wrapped, [*_told(found), *found.notes])])


def markdown(found: "Comparison") -> str:
    """A row for each run; the best of each metric is bold."""
    places = {name: _places(found, name) for name in found.metrics}
    several = len(found.rows) > 1
    rows = []
    for number, row in enumerate(found.rows):
        cells = [plain(row.name)]
        for name in found.metrics:
            value = f"{100 * row.values[name]['value']:.2f}"
            best = several and places[name][number] == 1
            cells.append(f"{f'**{value}**' if best else value} {_interval(row.values[name])}")
        cells += [_difference(row, name) for name in found.metrics if several]
        rows.append(cells)
    head = ["run", *found.metrics, *(f"{name} against first" for name in found.metrics if several)]
    notes = [plain(note) for note in found.notes]
    return "\n\n".join([table(head, rows), _about(found), *_told(found), *notes])


def latex(found: "Comparison") -> str:
    """A row for each run, to be compiled with booktabs; of each metric, the best is bold, the second underlined."""
    places = {name: _places(found, name) for name in found.metrics}
    several = len(found.rows) > 1
    lines = []
    for number, row in enumerate(found.rows):
        cells = [_escaped(row.name)]
        for name in found.metrics:
            style = (
                {1: r"\textbf{", 2: r"\underline{"}.get(places[name][number]) if several else None
            )
            value = f"{100 * row.values[name]['value']:.2f}"
            cells.append(f"{f'{style}{value}}}' if style else value} {_interval(row.values[name])}")
        cells += [_latex_difference(row, name) for name in found.metrics if several]
        lines.append(" & ".join(cells) + r" \\")
    head = ["run", *found.metrics, *(f"{name} against first" for name in found.metrics if several)]
    told = [" ".join(line.split()) for line in (_about(found), *_told(found), *found.notes)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *(f"% {line}" for line in told),
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(map(_escaped, head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _about(found: "Comparison") -> str:
    return (
        f"{found.split} split, protocol {found.protocol}: {found.users:,} users, {found.catalogue:,} items; "
        "in percent, with 95 % intervals."
    )


def _told(found: "Comparison") -> list[str]:
    others = len(found.rows) - 1
    if not others:
        return []
    corrected = f", corrected for {others} runs against the first (Holm)" * (others > 1)
    return [
        "Differences are paired over the same users, their intervals bootstrapped. p: paired sign-flip test of each "
        f"metric by itself{corrected}, * below {LEVEL}."
    ]


def _terminal(row: "Row", name: str) -> list[str]:
    cells = [f"{100 * row.values[name]['value']:.2f}", _interval(row.values[name])]
    test = row.against_first.get(name)
    if test is None:
        return [*cells, "", "", ""]
    change = {"low": test.low, "high": test.high}
    star = " *" if row.corrected[name] < LEVEL else ""
    return [*cells, f"{100 * test.difference:+.2f}", _interval(change, "+"), f"{row.corrected[name]:.4f}{star}"]  # fmt: skip


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


def _difference(row: "Row", name: str) -> str:
    test = row.against_first.get(name)
    if test is None:
        return ""
    star = " \\*" if row.corrected[name] < LEVEL else ""
    change = _interval({"low": test.low, "high": test.high}, "+")
    return f"{100 * test.difference:+.2f} {change} p {row.corrected[name]:.4f}{star}"


def _latex_difference(row: "Row", name: str) -> str:
    test = row.against_first.get(name)
    if test is None:
        return ""
    star = "^{*}" if row.corrected[name] < LEVEL else ""
    change = _interval({"low": test.low, "high": test.high}, "+")
    return f"${100 * test.difference:+.2f}{star}$ ${change}$ $p={row.corrected[name]:.4f}$"


def _places(found: "Comparison", name: str) -> list[int]:
    """1 for the best runs, 2 for the next value, and so on; those that are shown alike are alike."""
    shown = [round(100 * row.values[name]["value"], 2) for row in found.rows]
    order = sorted(set(shown), reverse=True)
    return [order.index(value) + 1 for value in shown]


def _interval(metric: dict[str, float], sign: str = "") -> str:
    return f"[{100 * metric['low']:{sign}.2f}, {100 * metric['high']:{sign}.2f}]"


def _escaped(words: str) -> str:
    return " ".join(words.split()).translate(_LATEX)
