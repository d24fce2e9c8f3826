"""Plots of a few labelled points, as SVG or PNG; they need matplotlib, which is an extra."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import UserError
from toolkit.store import write_atomically


class Point(NamedTuple):
    """One labelled point.

    Args:
        label: beside it.
        x: horizontally.
        y: vertically.
        low: lower end of y's interval.
        high: upper end.
    """

    label: str
    x: float
    y: float
    low: float
    high: float


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot_points(
    path: Path, points: Sequence[Point], *, x_name: str, y_name: str, log_x: bool = False
) -> None:
    """Writes a plot; its format is the path's suffix.

    Raises:
        UserError: if matplotlib is not installed.
    """
    if not can_plot():
        raise UserError(f"{path}: plots need matplotlib; pip install 'versa-toolkit[notebooks]'")
    from matplotlib.figure import Figure  # no pyplot: nothing global

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    below, above = ([p.y - p.low for p in points], [p.high - p.y for p in points])
    x, y = [p.x for p in points], [p.y for p in points]
    axes.errorbar(x, y, yerr=[below, above], fmt="o", capsize=3)
    for point in points:
        axes.annotate(
            point.label, (point.x, point.y), textcoords="offset points", xytext=(7, 4), fontsize=8
        )
    if log_x:
        axes.set_xscale("log")
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.lstrip("."))
    write_atomically(path, lambda file: file.write(drawn.getvalue()))
