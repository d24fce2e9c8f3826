"""What plots are drawn with, as SVG that stands in a page: axes, ticks and the drawing around them.

No script and no picture file; colours come from the page's style. Positions are in the units of the
view box, which a page scales as it likes.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from markupsafe import Markup, escape

Place = Callable[[float], float]


class Frame(NamedTuple):
    """A drawing's size, and the edges of what its axes enclose.

    Args:
        width: of the view box.
        height: of the view box.
        left: where the y axis stands.
        right: where the x axis ends.
        top: where the y axis ends.
        bottom: where the x axis stands.
    """

    width: float = 440
    height: float = 290
    left: float = 54
    right: float = 420
    top: float = 14
    bottom: float = 240


FRAME = Frame()
LARGEST = 1.25  # CSS pixels per unit of the view box, so that letters have one size in narrow and wide drawings


def linear_ticks(largest: int, about: int = 4) -> list[int]:
    """Round whole numbers from 0 to `largest` or just above, in steps of 1, 2 or 5 times a power of ten.

    >>> linear_ticks(37)
    [0, 10, 20, 30, 40]
    """
    rough = max(largest / about, 1)
    power = 10 ** floor(log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    return list(range(0, largest + step, step))


def round_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from `low` or just below to `high` or just above, in steps as `linear_ticks` takes.

    >>> round_ticks(0, 0.17), round_ticks(2.25, 2.75)
    ([0.0, 0.05, 0.1, 0.15, 0.2], [2.2, 2.4, 2.6, 2.8])
    """
    rough = (high - low) / about or 1.0
    power = 10.0 ** floor(log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(first, max(last, first + 1) + 1)]


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


def scale(low: float, high: float, at_low: float, at_high: float) -> Place:
    """The straight line that takes `low` to `at_low` and `high` to `at_high`."""
    return lambda value: at_low + (value - low) / (high - low) * (at_high - at_low)


def y_axis(labels: Mapping[float, str], unit: str, frame: Frame = FRAME) -> list[str]:
    """Lines across the frame, a label before each, and the unit along them.

    Args:
        labels: by height.
        unit: of the labels.
        frame: of the drawing.
    """
    middle = (frame.top + frame.bottom) / 2
    lines = [f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.right}"/>' for y in labels]
    texts = [
        f'<text class="end" x="{frame.left - 7}" y="{y + 4:.1f}">{escape(t)}</text>'
        for y, t in labels.items()
    ]
    turned = f'<text class="unit" transform="translate(12 {middle:.0f}) rotate(-90)">{escape(unit)}</text>'
    return [*lines, *texts, turned]


def x_axis(labels: Mapping[float, str], unit: str, frame: Frame = FRAME) -> list[str]:
    """The line at the bottom, labels under it, and their unit.

    Args:
        labels: by place.
        unit: of the labels.
        frame: of the drawing.
    """
    line = f'<path class="axis" d="M{frame.left} {frame.bottom}H{frame.right}"/>'
    texts = [
        f'<text x="{x:.1f}" y="{frame.bottom + 19}">{escape(t)}</text>' for x, t in labels.items()
    ]
    middle = (frame.left + frame.right) / 2
    turned = f'<text class="unit" x="{middle:.0f}" y="{frame.bottom + 42}">{escape(unit)}</text>'
    return [line, *texts, turned]


def figure(title: str, description: str, parts: Sequence[str], frame: Frame = FRAME) -> Markup:
    """A drawing with a name and a description for those who do not see it.

    Args:
        title: of the drawing.
        description: of what it shows.
        parts: SVG, in which every text is escaped already.
        frame: of the drawing.
    """
    body = "\n".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {frame.width} {frame.height}" style="max-width: {LARGEST * frame.width:g}px" role="img">\n<title>{escape(title)}</title>\n'
        f"<desc>{escape(description)}</desc>\n{body}\n</svg>"
    )
