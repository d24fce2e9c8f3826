"""Two plots as SVG that stands in the page: no script, no picture file, colours from the page's style."""

from collections.abc import Sequence
from math import ceil, log10

from markupsafe import Markup

from toolkit.measures import number
from toolkit.page.drawing import (
    FRAME,
    decades,
    figure,
    linear_ticks,
    scale,
    short,
    x_axis,
    y_axis,
)

LEFT, RIGHT, TOP, BOTTOM = FRAME.left, FRAME.right, FRAME.top, FRAME.bottom


def histogram(bars: Sequence[dict[str, int]], *, quiet_below: int) -> Markup:
    """Users by sequence length, a bar for each range of lengths.

    Args:
        bars: `first`, `last` and `users` of each range.
        quiet_below: ranges that end below this length are drawn pale.
    """
    most = max(bar["users"] for bar in bars)
    step = (RIGHT - LEFT) / len(bars)
    y_ticks = linear_ticks(most)
    y = scale(0, y_ticks[-1], BOTTOM, TOP)
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
    return figure(
        "Sequence lengths",
        f"Histogram of users by number of interactions, from {bars[0]['first']} to {bars[-1]['last']}; "
        f"the highest bar holds {number(most, 'user')}.",
        [
            *y_axis({y(tick): short(tick) for tick in y_ticks}, "users"),
            *drawn,
            *x_axis(labels, "interactions of a user"),
        ],
    )


def popularity(curve: Sequence[Sequence[int]]) -> Markup:
    """Interactions of the items, the most popular first, both axes logarithmic.

    Args:
        curve: [rank, interactions], ranks ascending from 1, nothing below 1.
    """
    x_ticks, y_ticks = decades(curve[-1][0]), decades(curve[0][1])
    x = scale(0, log10(x_ticks[-1]), LEFT, RIGHT)
    y = scale(0, log10(y_ticks[-1]), BOTTOM, TOP)
    points = [(x(log10(rank)), y(log10(count))) for rank, count in curve]
    line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    area = f"{LEFT},{BOTTOM} {line} {points[-1][0]:.1f},{BOTTOM}"
    return figure(
        "Popularity of items",
        f"Interactions of an item against its rank, logarithmic: from {curve[0][1]:,} of the most "
        f"popular item to {curve[-1][1]:,} of that of rank {curve[-1][0]:,}.",
        [
            *y_axis({y(log10(tick)): short(tick) for tick in y_ticks}, "interactions"),
            f'<polygon class="area" points="{area}"/>',
            f'<polyline class="line" points="{line}"/>',
            *x_axis({x(log10(tick)): short(tick) for tick in x_ticks}, "rank of the item"),
        ],
    )


def _range(bar: dict[str, int]) -> str:
    return str(bar["first"]) if bar["first"] == bar["last"] else f"{bar['first']} to {bar['last']}"


def _last_label(bars: Sequence[dict[str, int]]) -> str:
    last = bars[-1]
    return str(last["first"]) if last["first"] == last["last"] else f"≥ {last['first']}"
