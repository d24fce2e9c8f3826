"""Plots of several series as SVG: intervals, curves, bars and points, with one colour per series, such as a run.

The marks of a series are in a group of class `series sN`, where N selects the colour, or `series sN rM` from the ninth
series on, where M selects the kind of mark: rings and dashes, then squares of half the colour (`report.css`). A page's
script can highlight a series. Fractions are drawn in percent.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from toolkit.graphemes import cut, cut_start
from toolkit.page.drawing import FRAME, Frame, figure, round_ticks, scale, x_axis, y_axis

COLOURS = 8  # of series; further series reuse them with other marks
MARKS = 3  # kinds of marks
NAME_LETTERS = 18  # of a name within a plot
LONG_NAME_LETTERS = 34  # of a name on the left of a plot
LETTER = 6.9  # width of a letter, on average
LINE = 14.0  # height of a line of text
ROW = 30.0  # height of a row of `intervals`
CURVES = Frame(width=340, height=260, left=48, right=322, top=12, bottom=212)  # three per row
SMALL = Frame(width=250, height=168, left=40, right=242, top=10, bottom=118)  # four per row
SQUARE = Frame(width=250, height=250, left=44, right=240, top=10, bottom=206)  # four per row
_WORD, _GAP = re.compile(r"[^_/ ]+"), re.compile(r"[_/ …]*…[_/ …]*")
Metric = dict[str, float]


class SeriesName(NamedTuple):
    """The name of a series as a cell, with its colour.

    Args:
        position: index of the series among all series of the page, which selects the colour.
        name: name of the series.
    """

    position: int
    name: str

    def __html__(self) -> Markup:
        return Markup('<span class="chip {}">{}</span>').format(look(self.position), self.name)


class Plot(NamedTuple):
    """A drawing with its caption.

    Args:
        caption: text above the drawing.
        drawing: SVG.
        towers: names of the towers whose colours the drawing uses.
    """

    caption: str
    drawing: Markup
    towers: Sequence[str] = ()


class Series(NamedTuple):
    """A run's curve.

    Args:
        position: index of the run among all runs of the page, which selects its colour.
        name: name of the run.
        points: [x, y] pairs.
        mark: x of a marked point; None for no mark.
    """

    position: int
    name: str
    points: Sequence[Sequence[float]] = ()
    mark: float | None = None


class Values(NamedTuple):
    """A run's value in each column of a plot, with or without an interval.

    Args:
        position: index of the run among all runs of the page; None for the text colour.
        name: name of the run.
        columns: `value`, with `low` and `high` for an interval; None for no value.
    """

    position: int | None
    name: str
    columns: Sequence[Metric | None]


class Point(NamedTuple):
    """A run in a scatter plot.

    Args:
        position: index of the run among all runs of the page.
        name: name of the run.
        x: horizontal coordinate.
        y: vertical coordinate with its interval.
    """

    position: int
    name: str
    x: float
    y: Metric


def intervals(rows: Sequence[Values], *, metric: str, chance: float) -> Markup:
    """One metric with its interval, a row per run, and a line at chance level.

    Args:
        rows: values of one column.
        metric: name of the metric.
        chance: value at chance level.
    """
    bottom = 12 + ROW * len(rows)
    names = labels([row.name for row in rows], LONG_NAME_LETTERS)
    left = max(132.0, 12 + LETTER * max(map(len, names)))
    frame = Frame(height=bottom + 50, left=left, right=396, top=8, bottom=bottom)
    cells = [(row, row.columns[0]) for row in rows]
    ticks = round_ticks(0, max([chance, *(cell["high"] for _, cell in cells if cell)]))
    x = scale(ticks[0], ticks[-1], frame.left, frame.right)
    drawn = [f'<path class="grid" d="M{x(t):.1f} {frame.top}V{frame.bottom}"/>' for t in ticks]
    drawn.append(f'<path class="chance" d="M{x(chance):.1f} {frame.top}V{frame.bottom}"/>')
    for index, (row, cell) in enumerate(cells):
        if cell is None:
            continue
        y = frame.top + ROW * (index + 0.5)
        drawn += [
            _begin(row.position),
            f"<title>{escape(row.name)}: {_text(cell)}</title>",
            f'<text class="end name" x="{frame.left - 10}" y="{y + 4:.1f}">{escape(names[index])}</text>',
            f'<path class="whisker" d="M{x(cell["low"]):.1f} {y:.1f}H{x(cell["high"]):.1f}"/>',
            f'<circle class="dot" cx="{x(cell["value"]):.1f}" cy="{y:.1f}" r="5"/>',
            f'<text class="start" x="{x(cell["high"]) + 8:.1f}" y="{y + 4:.1f}">{100 * cell["value"]:.1f}</text>',
            "</g>",
        ]
    axis = x_axis({x(t): _percent(t, ticks) for t in ticks}, f"{metric} in %", frame)
    values = "; ".join(f"{row.name} {_text(cell)}" for row, cell in cells if cell)
    description = (
        f"{metric} of each run with its 95 % interval: {values}. Chance: {100 * chance:.1f} %."
    )
    return figure(metric, description, [*drawn, *axis], frame)


def curves(
    series: Sequence[Series], *, title: str, x_unit: str, y_unit: str, percent: bool = False
) -> Markup:
    """Lines of several runs over steps or epochs, with a ring around each marked point."""
    points = [point for run in series for point in run.points]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_ticks = round_ticks(0, max(xs))
    y_ticks = round_ticks(0 if percent else min(ys), max(ys))
    x = scale(x_ticks[0], x_ticks[-1], CURVES.left, CURVES.right)
    y = scale(y_ticks[0], y_ticks[-1], CURVES.bottom, CURVES.top)
    drawn = [part for run in series for part in _curve(run, x, y)]
    labels = {y(t): _percent(t, y_ticks) if percent else f"{t:g}" for t in y_ticks}
    ends = "; ".join(f"{s.name} ends at {_number(s.points[-1][1], percent)}" for s in series)
    return figure(
        title,
        f"{title} by {x_unit}: {ends}.",
        [
            *y_axis(labels, y_unit, CURVES),
            *drawn,
            *x_axis({x(t): f"{t:g}" for t in x_ticks}, x_unit, CURVES),
        ],
        CURVES,
    )


def _curve(series: Series, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    line = " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in series.points)
    parts = [
        _begin(series.position),
        f"<title>{escape(series.name)}</title>",
        f'<polyline class="line" points="{line}"/>',
    ]
    for across, up in series.points:
        if across == series.mark or len(series.points) == 1:
            parts.append(f'<circle class="ring" cx="{x(across):.1f}" cy="{y(up):.1f}" r="4.5"/>')
    return [*parts, "</g>"]


def shares(
    series: Sequence[Series],
    *,
    title: str,
    x_unit: str,
    y_unit: str,
    reference: Sequence[Sequence[float]],
) -> Markup:
    """Lines in the unit square, such as ROC curves, with a dashed reference line.

    Args:
        series: points with both coordinates in [0, 1].
        title: title of the drawing.
        x_unit: name of the horizontal share.
        y_unit: name of the vertical share.
        reference: [x, y] pairs of the dashed line.
    """
    x = scale(0, 1, SQUARE.left, SQUARE.right)
    y = scale(0, 1, SQUARE.bottom, SQUARE.top)
    dashed = "L".join(f"{x(across):.1f} {y(up):.1f}" for across, up in reference)
    lines = [part for one in series for part in _curve(one, x, y)]
    ticks = (0.0, 0.5, 1.0)
    points = "; ".join(
        f"{one.name}: {', '.join(f'{100 * a:.0f} {100 * b:.0f}' for a, b in one.points[:: max(len(one.points) // 10, 1)])}"
        for one in series
    )
    return figure(
        title,
        f"{title}: {y_unit} by {x_unit}, both in percent. {points}.",
        [
            *y_axis({y(tick): _percent(tick, ticks) for tick in ticks}, f"{y_unit}, %", SQUARE),
            f'<path class="chance" d="M{dashed}"/>',
            *lines,
            *x_axis({x(tick): _percent(tick, ticks) for tick in ticks}, f"{x_unit}, %", SQUARE),
        ],
        SQUARE,
    )


def dots(columns: Sequence[str], runs: Sequence[Values], *, title: str, x_unit: str) -> Markup:
    """A value with its interval per run and column, side by side, in percent."""
    highest = max(cell["high"] for run in runs for cell in run.columns if cell)
    y = _percent_scale(highest)

    def dot(cell: Metric, left: float, right: float) -> str:
        x = (left + right) / 2
        return (
            f'<path class="whisker" d="M{x:.1f} {y(cell["low"]):.1f}V{y(cell["high"]):.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{y(cell["value"]):.1f}" r="3.5"/>'
        )

    return _grouped(columns, runs, dot, highest, title=title, x_unit=x_unit)


def bars(columns: Sequence[str], runs: Sequence[Values], *, title: str, x_unit: str) -> Markup:
    """A bar per run and column, side by side, in percent."""
    highest = max(cell["value"] for run in runs for cell in run.columns if cell)
    y = _percent_scale(highest)

    def bar(cell: Metric, left: float, right: float) -> str:
        top, width = y(cell["value"]), right - left
        return (
            f'<rect class="bar" x="{left + 0.06 * width:.1f}" y="{top:.1f}" '
            f'width="{0.88 * width:.1f}" height="{FRAME.bottom - top:.1f}"/>'
        )

    return _grouped(columns, runs, bar, highest, title=title, x_unit=x_unit)


def _percent_scale(highest: float) -> Callable[[float], float]:
    return scale(0, round_ticks(0, highest)[-1], FRAME.bottom, FRAME.top)


def _grouped(
    columns: Sequence[str],
    runs: Sequence[Values],
    mark: Callable[[Metric, float, float], str],
    highest: float,
    *,
    title: str,
    x_unit: str,
) -> Markup:
    """A mark per run and column. `mark` draws a value between the left and right edge of the run's slot."""
    step = (FRAME.right - FRAME.left) / len(columns)
    slot = 0.84 * step / len(runs)
    drawn = []
    for index, run in enumerate(runs):
        drawn.append(_begin(run.position))
        for column, cell in enumerate(run.columns):
            if cell is not None:
                left = FRAME.left + step * (column + 0.08) + slot * index
                label = f"{escape(run.name)}, {escape(columns[column])}: {_text(cell)}"
                drawn.append(f"<g><title>{label}</title>{mark(cell, left, left + slot)}</g>")
        drawn.append("</g>")
    ticks, y = round_ticks(0, highest), _percent_scale(highest)
    up = y_axis({y(tick): _percent(tick, ticks) for tick in ticks}, "%")
    names = {FRAME.left + step * (column + 0.5): name for column, name in enumerate(columns)}
    description = _describe_columns(title, columns, runs)
    return figure(title, description, [*up, *drawn, *x_axis(names, x_unit)])


def scatter(points: Sequence[Point], *, x_name: str, y_name: str, log_x: bool = False) -> Markup:
    """A point with its interval per run, and its name where there is room; with `log_x`, a tick per power of ten."""
    along = math.log10 if log_x else float
    xs = [along(point.x) for point in points]
    x_ticks = (
        range(math.floor(min(xs)), math.ceil(max(xs)) + 1) if log_x else round_ticks(0, max(xs))
    )
    y_ticks = round_ticks(0, max(point.y["high"] for point in points))
    x = scale(x_ticks[0], x_ticks[-1], FRAME.left + 14, FRAME.right - 14)
    y = scale(y_ticks[0], y_ticks[-1], FRAME.bottom, FRAME.top)
    names = labels([point.name for point in points], NAME_LETTERS)
    heights = apart(
        [
            (*_beside(x(a), name), y(point.y["value"]) - 6)
            for a, name, point in zip(xs, names, points, strict=True)
        ]
    )
    drawn = [
        part
        for point, a, name, height in zip(points, xs, names, heights, strict=True)
        for part in _point(
            point,
            x(a),
            y,
            label=f"{x_name} {point.x:.3g}, {y_name}",
            name=None if height is None else (name, height),
        )
    ]
    values = "; ".join(f"{p.name} {p.x:.3g} and {_text(p.y)}" for p in points)
    return figure(
        f"{y_name} against {x_name}",
        f"{x_name} and {y_name} of each run: {values}.",
        [
            *y_axis({y(t): _percent(t, y_ticks) for t in y_ticks}, f"{y_name} in %"),
            *drawn,
            *x_axis({x(t): f"{10.0**t if log_x else t:g}" for t in x_ticks}, x_name),
        ],
    )


def _point(
    point: Point,
    across: float,
    y: Callable[[float], float],
    *,
    label: str,
    name: tuple[str, float] | None,
) -> list[str]:
    """A point, its interval, and its name at a height, on the side where it fits."""
    kind, shift = ("end", -9) if _is_right(across) else ("start", 9)
    cell = point.y
    text = name and (
        f'<text class="{kind} name" x="{across + shift:.1f}" y="{name[1]:.1f}">{escape(name[0])}</text>'
    )
    return [
        _begin(point.position),
        f"<title>{escape(point.name)}: {escape(label)} {_text(cell)}</title>",
        f'<path class="whisker" d="M{across:.1f} {y(cell["low"]):.1f}V{y(cell["high"]):.1f}"/>',
        f'<circle class="dot" cx="{across:.1f}" cy="{y(cell["value"]):.1f}" r="5"/>',
        text or "",
        "</g>",
    ]


def _is_right(across: float) -> bool:
    return across > (FRAME.left + FRAME.right) / 2


def _beside(across: float, name: str) -> tuple[float, float]:
    """Where a name beside a point begins and ends."""
    width = 9 + LETTER * len(name)
    return (across - width, across) if _is_right(across) else (across, across + width)


def apart(names: Sequence[tuple[float, float, float]]) -> list[float | None]:
    """Heights of names, each moved up until it overlaps no lower name; None for a name that three lines do not free.

    Args:
        names: (left, right, height) of each.

    >>> apart([(0.0, 50.0, 100.0), (20.0, 70.0, 97.0), (300.0, 350.0, 98.0)])
    [100.0, 86.0, 98.0]
    """
    moved: dict[int, float] = {}
    for index in sorted(range(len(names)), key=lambda name: -names[name][2]):
        left, right, wanted = names[index]
        height = max(wanted, LINE)
        near = (moved[o] for o in moved if names[o][0] < right and left < names[o][1])
        for below in sorted(near, reverse=True):
            if abs(below - height) < LINE:
                height = below - LINE
        if height >= max(wanted - 3 * LINE, LINE):
            moved[index] = height
    return [moved.get(index) for index in range(len(names))]


def gates(layers: Sequence[str], columns: Sequence[Sequence[float]], *, title: str) -> Markup:
    """Stacked shares in [0, 1] per level: one tower's gate, or the weights of several towers.

    Args:
        layers: labels of the levels.
        columns: per level, the share of each tower; the rest up to 1 stays blank.
        title: title of the drawing.
    """
    ticks = (0.0, 0.5, 1.0)
    y = scale(0, 1, SMALL.bottom, SMALL.top)
    step = (SMALL.right - SMALL.left) / len(layers)
    drawn = []
    for level, shares in enumerate(columns):
        base, left = 0.0, SMALL.left + step * (level + 0.12)
        for tower, part in enumerate(shares):
            top = y(base + part)
            drawn.append(
                f'<rect class="bar t{tower % COLOURS}" x="{left:.1f}" y="{top:.1f}" width="{0.76 * step:.1f}" '
                f'height="{y(base) - top:.1f}"><title>layer {escape(layers[level])}: {part:.3f}</title></rect>'
            )
            base += part
    every = -(-len(layers) // 9)
    labels = {
        SMALL.left + step * (level + 0.5): label
        for level, label in enumerate(layers)
        if level % every == 0
    }
    values = "; ".join(
        f"{label}: {', '.join(f'{part:.2f}' for part in shares)}"
        for label, shares in zip(layers, columns, strict=True)
    )
    parts = [*y_axis({y(t): f"{t:g}" for t in ticks}, "", SMALL), *drawn]
    return figure(
        title, f"{title}, by layer: {values}.", [*parts, *x_axis(labels, "layer", SMALL)], SMALL
    )


def labels(names: Sequence[str], letters: int) -> list[str]:
    """Names that fit in or beside a plot. Long names lose the words that most of them share, so that they stay different.

    Args:
        names: of the series of a plot.
        letters: length of a label.

    >>> labels(["ease", "sweep_lr-1e-4_batch-512_gates", "sweep_lr-3e-4_batch-512_gates"], 18)
    ['ease', '…lr-1e-4…', '…lr-3e-4…']
    """
    long = [name for name in names if len(name) > letters]
    counts = Counter(word for name in long for word in set(_WORD.findall(name)))
    shared = {word for word, count in counts.items() if count > max(1, len(long) / 2)}

    def cut_down(name: str) -> str:
        kept = _WORD.sub(lambda word: "…" if word[0] in shared else word[0], name)
        return shortened(_GAP.sub("…", kept), letters)

    found = [cut_down(name) if len(name) > letters else name for name in names]
    return found if len(set(found)) == len(names) else [shortened(n, letters) for n in names]


def shortened(name: str, letters: int = NAME_LETTERS) -> str:
    """A name that fits in or beside a plot. Long names keep both ends, the start a third of the letters.

    >>> shortened("text-only_learning-rate-0.001_seed-2")
    'text-…0.001_seed-2'
    """
    if len(name) <= letters:
        return name
    start = (letters - 1) // 3
    return f"{cut(name, start)}…{cut_start(name, letters - 1 - start)}"


def look(position: int) -> str:
    """The classes of a series: its colour, and its kind of mark if it is not the first.

    >>> look(3), look(12)
    ('s3', 's4 r1')
    """
    mark = position // COLOURS % MARKS
    return f"s{position % COLOURS}" + (f" r{mark}" if mark else "")


def _begin(position: int | None) -> str:
    if position is None:
        return '<g class="series plain">'
    return f'<g class="series {look(position)}" data-run="{position}">'


def _describe_columns(title: str, columns: Sequence[str], runs: Sequence[Values]) -> str:
    descriptions = [
        f"{run.name}: "
        + ", ".join(
            f"{column} {100 * cell['value']:.1f}"
            for column, cell in zip(columns, run.columns, strict=True)
            if cell
        )
        for run in runs
    ]
    return f"{title}, in percent. {'; '.join(descriptions)}."


def _text(cell: Metric) -> str:
    value = f"{100 * cell['value']:.2f} %"
    if "low" not in cell:
        return value
    return f"{value} [{100 * cell['low']:.2f}, {100 * cell['high']:.2f}]"


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.2f} %" if percent else f"{value:.4g}"


def _percent(tick: float, ticks: Sequence[float]) -> str:
    """A tick in percent, with the number of digits that the step requires."""
    step = 100 * (ticks[1] - ticks[0])
    return f"{100 * tick:.{0 if step >= 1 else 1 if step >= 0.1 else 2}f}"
