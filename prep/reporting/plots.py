"""Two plots as SVG that stands in the page: no script, no picture file, colours from the page's style.

Positions are in the units of the view box, WIDTH x HEIGHT, which a page scales as it likes.
"""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10

from prep.reporting.measures import number

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 54, 420, 14, 240
Place = Callable[[float], float]


def histogram(bars: Sequence[dict[str, int]], *, quiet_below: int) -> str:
    """Users by sequence length, a bar for each range of lengths.

    Args:
        bars: `first`, `last` and `users` of each range.
        quiet_below: ranges that end below this length are drawn pale.
    """
    most = max(bar["users"] for bar in bars)
    step = (RIGHT - LEFT) / len(bars)
    y_ticks = linear_ticks(most)
    y = _scale(0, y_ticks[-1], BOTTOM, TOP)
    drawn = []
    for place, bar in enumerate(bars):
        left, top = LEFT + place * step, y(bar["users"])
        kind = "bar quiet" if bar["last"] < quiet_below else "bar"
        drawn.append(
            f'<rect class="{kind}" x="{left + step * 0.1:.1f}" y="{top:.1f}" '
            f'width="{step * 0.8:.1f}" height="{BOTTOM - top:.1f}">'
            f"<title>{_range(bar)} interactions: {number(bar['users'], 'user')}</title></rect>"
        )
    every = ceil(len(bars) / 10)
    labels = {
        LEFT + (place + 0.5) * step: f"{bar['first']}"
        for place, bar in enumerate(bars[:-1])
        if place % every == 0 and place < len(bars) - 1 - every / 2
    }
    labels[LEFT + (len(bars) - 0.5) * step] = _last_label(bars)
    return _figure(
        "Sequence lengths",
        f"Histogram of users by number of interactions, from {bars[0]['first']} to {bars[-1]['last']}; "
        f"the highest bar holds {number(most, 'user')}.",
        [
            *_y_axis({y(tick): short(tick) for tick in y_ticks}, "users"),
            *drawn,
            *_x_axis(labels, "interactions of a user"),
        ],
    )


def popularity(curve: Sequence[Sequence[int]]) -> str:
    """Interactions of the items, the most popular first, both axes logarithmic.

    Args:
        curve: [rank, interactions], ranks ascending from 1, nothing below 1.
    """
    x_ticks, y_ticks = decades(curve[-1][0]), decades(curve[0][1])
    x = _scale(0, log10(x_ticks[-1]), LEFT, RIGHT)
    y = _scale(0, log10(y_ticks[-1]), BOTTOM, TOP)
    points = [(x(log10(rank)), y(log10(count))) for rank, count in curve]
    line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    area = f"{LEFT},{BOTTOM} {line} {points[-1][0]:.1f},{BOTTOM}"
    return _figure(
        "Popularity of items",
        f"Interactions of an item against its rank, logarithmic: from {curve[0][1]:,} of the most "
        f"popular item to {curve[-1][1]:,} of that of rank {curve[-1][0]:,}.",
        [
            *_y_axis({y(log10(tick)): short(tick) for tick in y_ticks}, "interactions"),
            f'<polygon class="area" points="{area}"/>',
            f'<polyline class="line" points="{line}"/>',
            *_x_axis({x(log10(tick)): short(tick) for tick in x_ticks}, "rank of the item"),
        ],
    )


def linear_ticks(largest: int, about: int = 4) -> list[int]:
    """Round whole numbers from 0 to `largest` or just above, in steps of 1, 2 or 5 times a power of ten.

    >>> linear_ticks(37)
    [0, 10, 20, 30, 40]
    """
    rough = max(largest / about, 1)
    power = 10 ** floor(log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    return list(range(0, largest + step, step))


def decades(largest: int) -> list[int]:
    """Powers of ten from 1 to `largest` or just above, two at least.

    >>> decades(250)
    [1, 10, 100, 1000]
    """
    return [10**power for power in range(max(ceil(log10(largest)), 1) + 1)]


def short(count: int) -> str:
    """A round count in few letters.

    >>> [short(count) for count in (50, 1_500, 20_000, 3_000_000)]
    ['50', '1.5k', '20k', '3M']
    """
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)


def _range(bar: dict[str, int]) -> str:
    return str(bar["first"]) if bar["first"] == bar["last"] else f"{bar['first']} to {bar['last']}"


def _last_label(bars: Sequence[dict[str, int]]) -> str:
    last = bars[-1]
    return str(last["first"]) if last["first"] == last["last"] else f"≥ {last['first']}"


def _scale(low: float, high: float, at_low: float, at_high: float) -> Place:
    """The straight line that takes `low` to `at_low` and `high` to `at_high`."""
    return lambda value: at_low + (value - low) / (high - low) * (at_high - at_low)


def _y_axis(labels: dict[float, str], unit: str) -> list[str]:
    middle = (TOP + BOTTOM) / 2
    lines = [f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>' for y in labels]
    texts = [
        f'<text class="end" x="{LEFT - 7}" y="{y + 4:.1f}">{t}</text>' for y, t in labels.items()
    ]
    turned = f'<text class="unit" transform="translate(12 {middle:.0f}) rotate(-90)">{escape(unit)}</text>'
    return [*lines, *texts, turned]


def _x_axis(labels: dict[float, str], unit: str) -> list[str]:
    line = f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'
    texts = [f'<text x="{x:.1f}" y="{BOTTOM + 19}">{t}</text>' for x, t in labels.items()]
    middle = (LEFT + RIGHT) / 2
    return [
        line,
        *texts,
        f'<text class="unit" x="{middle:.0f}" y="{BOTTOM + 42}">{escape(unit)}</text>',
    ]


def _figure(title: str, description: str, parts: Sequence[str]) -> str:
    """A drawing with a name and a description for those who do not see it."""
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n<title>{escape(title)}</title>\n'
        f"<desc>{escape(description)}</desc>\n{body}\n</svg>"
    )
