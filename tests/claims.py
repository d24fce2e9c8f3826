"""The measured figures of a page, and what its comments say about their origin.

A figure is a number that looks measured: it has a unit (`6.7 s`, `27 %`, `six minutes`, `nine times as fast`) or decimals.
In code, only comments and JSON count. HTML comments directly above a block (paragraph, list, table or code) hold for the block;
above a heading, for its section. Rendered pages do not show them:

`<!-- measured: DATE · TITLE -->` This entry of benchmarks/LOG.md has the figures, perhaps with more decimals.
    `DATE · TITLE · LEAD` is the part of the entry that begins with LEAD in bold type. One comment per entry.
`<!-- computed: 0.81 * 19220 / 3600 = 4.3; 371 / 60 = 6 -->` Each figure is the result of this arithmetic.
`<!-- not measured: REASON -->` All figures are settings, definitions, or published by others.
    `<!-- not measured: 0.3, 0.02: REASON -->` holds for these figures alone.
    `<!-- not measured: column published -->` holds for a column of a table.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import NamedTuple

NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?|\.\d+)"
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
WORDS |= {"ten": 10, "eleven": 11, "twelve": 12, "twenty": 20, "fifty": 50}
UNIT = (
    r"(?:\s?(?:%|(?:CPU[- ])?(?:s|ms|µs|ns|seconds?|minutes?|hours?)\b|[kMGT]i?B\b|G?FLOPs?\b|\w+/s\b|\w+ per second\b)"
    r"|\stimes\s(?:as|the|faster)\b)"
)
FIGURE = re.compile(
    rf"(?<![\w.@/^])(?<!\w-)(?:(?:{NUMBER}|{'|'.join(WORDS)})(?={UNIT})|\d[\d,]*\.\d+(?:e-?\d+)?(?!\.?\w)|\.\d\d+)"
)
INTERVAL = re.compile(rf"({NUMBER})[\s%*]*(?:points )?\[[-+−]?({NUMBER}), [-+−]?({NUMBER})\]")
NO_FIGURES = re.compile(  # code, addresses, numbers of arXiv, versions, the level of intervals
    r"(`+).*?\1|\]\([^)]*\)|https?://\S+|\b\d{4}\.\d{5}\b|\b(?:Python|RecBole|RecTools) \d[.\d]*\d"
    r"|95\s?%(?=\s(?:confidence\s)?intervals?)",
    flags=re.S,
)
MARK = re.compile(r"<!-- (measured|computed|not measured): (.+?) -->")
COMMENT, FENCE, HEADING = re.compile(r"<!-- .* -->"), re.compile(r"```(.*)"), re.compile(r"(#+) ")
LISTED = re.compile(rf"({NUMBER}(?:, {NUMBER})*): ")
OPERATIONS: dict[type, Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
Values = tuple[Decimal, ...]  # a number, or a number and the ends of its interval


class Figure(NamedTuple):
    """A number that looks measured, with its interval if it has one."""

    line: int
    text: str
    values: Values


class Mark(NamedTuple):
    """A comment: its kind and what it says."""

    line: int
    kind: str
    says: str


class Problem(NamedTuple):
    """A figure that nothing supports, or a comment that is wrong."""

    line: int
    what: str


@dataclass
class Block:
    """A paragraph, list, table or code block.

    Args:
        line: of its beginning, from 1.
        text: of its lines.
        marks: above it.
        inherited: marks above the heading of its section.
    """

    line: int
    text: str
    marks: list[Mark] = field(default_factory=list)
    inherited: list[Mark] = field(default_factory=list)

    def figures(self, without: set[str]) -> list[Figure]:
        """The figures in order, without those of some columns of a table."""
        text = NO_FIGURES.sub(blank, without_columns(self.text, without))
        rest = INTERVAL.sub(blank, text)
        found = [(match, with_interval(match)) for match in INTERVAL.finditer(text)]
        found += [(match, (number(match[0]),)) for match in FIGURE.finditer(rest)]
        found.sort(key=lambda each: each[0].start())
        return [
            Figure(
                self.line + text.count("\n", 0, match.start()), " ".join(match[0].split()), values
            )
            for match, values in found
        ]


class Log:
    """The numbers of each entry of LOG.md, by its name."""

    def __init__(self, text: str) -> None:
        self.entries: dict[str, set[Values]] = {}
        for section in re.split(r"^## ", text, flags=re.M)[1:]:
            heading, _, body = section.partition("\n")
            title = heading.split(" (")[0].strip()
            self.entries[title] = numbers_of(body)
            for part in re.split(r"^(?=\*\*)", body, flags=re.M)[1:]:
                self.entries[f"{title} · {part.split('**')[1]}"] = numbers_of(part)

    def has(self, names: list[str], claimed: Values) -> bool:
        """Whether one of the entries has these numbers, perhaps with more decimals."""
        return any(
            len(logged) == len(claimed) and all(map(rounds_to, logged, claimed))
            for name in names
            for logged in self.entries[name]
        )


@dataclass
class Origins:
    """What the marks of a block say about its figures.

    Args:
        entries: of LOG.md that have them.
        known: figures that are computed, or declared as not measured.
        columns: of a table that are not measured.
        no_others: whether all figures are declared as not measured.
        problems: of the marks themselves.
    """

    entries: list[str] = field(default_factory=list)
    known: dict[Decimal, Mark] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    no_others: bool = False
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, block: Block, log: Log) -> "Origins":
        """Those of a block; its own marks override the marks of its section."""
        origins = cls()
        for mark in block.marks or block.inherited:
            if mark.kind == "measured":
                origins._measured(mark, log)
            elif mark.kind == "computed":
                origins._computed(mark)
            elif mark.says.startswith("column "):
                origins.columns.add(mark.says.removeprefix("column "))
            elif listed := LISTED.match(mark.says):
                origins.known |= {number(text): mark for text in listed[1].split(", ")}
            else:
                origins.no_others = True
        return origins

    def _measured(self, mark: Mark, log: Log) -> None:
        if mark.says in log.entries:
            self.entries.append(mark.says)
        else:
            near = get_close_matches(mark.says, log.entries, n=1, cutoff=0)
            what = f"benchmarks/LOG.md has no entry {mark.says!r}; the nearest is {near}"
            self.problems.append(Problem(mark.line, what))

    def _computed(self, mark: Mark) -> None:
        for equation in mark.says.split("; "):
            terms, _, result = equation.rpartition(" = ")
            try:
                value, claimed = evaluate(terms), number(result)
            except (SyntaxError, ValueError, KeyError, ArithmeticError):
                what = f"{equation!r} is no arithmetic; expected such as `computed: 371 / 60 = 6`"
                self.problems.append(Problem(mark.line, what))
                continue
            self.known[claimed] = mark
            if not rounds_to(value, claimed):
                self.problems.append(Problem(mark.line, f"{terms} is {value:.6g}, not {result}"))


def problems(page: str, log: Log) -> Iterator[Problem]:
    """Every figure of a page that nothing supports, and every comment that is wrong."""
    for block in blocks(page):
        origins = Origins.of(block, log)
        figures = block.figures(origins.columns)
        yield from origins.problems
        yield from unsupported(figures, origins, log)
        if block.marks:
            there = {value for figure in figures for value in figure.values}
            for value in origins.known.keys() - there:
                yield Problem(origins.known[value].line, f"no figure below is {value}")
            if not figures and not origins.columns:
                yield Problem(block.marks[0].line, "no figure below: remove the comment")


def unsupported(figures: list[Figure], origins: Origins, log: Log) -> Iterator[Problem]:
    """The figures without origin, one problem per line."""
    without: dict[int, list[str]] = {}
    for line, text, values in figures:
        declared = values[0] in origins.known or (origins.no_others and not origins.entries)
        if not declared and not log.has(origins.entries, values):
            without.setdefault(line, []).append(text)
    for line, texts in without.items():
        if origins.entries:
            entries = "; ".join(origins.entries)
            what = (
                f"not in the entries of benchmarks/LOG.md that the comment above names ({entries}). Correct the figure, or name "
                "the entry that has it."
            )
        else:
            what = (
                "looks measured, but no comment names its origin. Put `<!-- measured: ENTRY -->` directly above the block, "
                "where ENTRY is a heading of benchmarks/LOG.md, or `<!-- not measured: REASON -->` for a setting, a definition "
                "or a published figure. tests/claims.py describes these comments."
            )
        yield Problem(line, f"{', '.join(texts)}: {what}")


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, with their marks."""
    lines = page.splitlines()
    marks: list[Mark] = []
    sections: list[tuple[int, list[Mark]]] = []
    at = 0
    while at < len(lines):
        text, line = lines[at].strip(), at + 1
        end = line
        if mark := MARK.fullmatch(text):
            marks.append(Mark(line, *mark.groups()))
        elif heading := HEADING.match(text):
            depth = len(heading[1])
            sections = [section for section in sections if section[0] < depth] + [(depth, marks)]
            marks = []
        elif (text or marks) and not COMMENT.fullmatch(text):
            fence = FENCE.match(text)
            end = (end_of_code if fence else end_of_text)(lines, at)
            body = code(lines[at:end]) if fence else "\n".join(lines[at:end])
            yield Block(line, body, marks, [mark for _, section in sections for mark in section])
            marks = []
        at = end


def end_of_text(lines: list[str], at: int) -> int:
    """The index behind a paragraph, list or table: of the next empty line or comment."""
    after = range(at + 1, len(lines))
    return next(
        (n for n in after if not lines[n].strip() or MARK.fullmatch(lines[n].strip())), len(lines)
    )


def end_of_code(lines: list[str], at: int) -> int:
    """The index behind the closing fence."""
    return next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```") + 1


def code(lines: list[str]) -> str:
    """The text of a code block that may hold figures: all of JSON, the comments of other languages."""
    fence, *texts = lines
    return "\n".join(
        ["", *(text if "json" in fence else text.partition("# ")[2] for text in texts)]
    )


def without_columns(text: str, names: set[str]) -> str:
    """A table without the figures of some columns."""
    if not names:
        return text
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines()]
    left_out = {place for place, name in enumerate(rows[0]) if name.strip() in names}
    return "\n".join(
        "|".join("" if place in left_out else cell for place, cell in enumerate(row))
        for row in rows
    )


def numbers_of(text: str) -> set[Values]:
    """All numbers of an entry, alone and with their intervals; numbers in code are left out."""
    text = NO_FIGURES.sub(blank, text)
    intervals = {with_interval(match) for match in INTERVAL.finditer(text)}
    singles = re.findall(rf"(?<![\d.]){NUMBER}|\b(?:{'|'.join(WORDS)})\b", text)
    return intervals | {(number(match),) for match in singles}


def with_interval(match: re.Match[str]) -> Values:
    """A number and the ends of its interval. Signs do not count: `1.23 [0.14, 2.32] below` is -1.23 [-2.32, -0.14]."""
    value, *ends = map(number, match.groups())
    return value, *sorted(ends)


def number(text: str) -> Decimal:
    """The value of a number in digits or as a word."""
    return Decimal(WORDS.get(text, text.replace(",", "")))


def rounds_to(exact: Decimal, claimed: Decimal) -> bool:
    """Whether a claim is a number, or the number rounded to the decimals of the claim."""
    step = Decimal(1).scaleb(int(claimed.as_tuple().exponent))
    return exact == claimed or (
        exact.as_tuple().exponent < claimed.as_tuple().exponent and abs(exact - claimed) <= step / 2
    )


def evaluate(terms: str) -> Decimal:
    """The value of sums and products of numbers."""

    def value(node: ast.expr) -> Decimal:
        if isinstance(node, ast.Constant):
            return Decimal(str(node.value))
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"neither numbers nor + - * / in {terms!r}")

    return value(ast.parse(terms, mode="eval").body)


def blank(match: re.Match[str]) -> str:
    """Spaces in place of a match, with its line breaks."""
    return re.sub(r"[^\n]", " ", match[0])
