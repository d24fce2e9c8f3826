"""Plots as SVG or PNG files, with matplotlib, an optional dependency."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.atomic import write_atomically
from toolkit.errors import UserError


class Point(NamedTuple):
    """A labelled point.

    Args:
        label: text beside the point.
        x: horizontal coordinate.
        y: vertical coordinate.
        low: lower end of y's interval.
        high: upper end of y's interval.
    """

    label: str
    x: float
    y: float
    low: float
    high: float


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def check_plot(path: Path) -> None:
    """Checks that a plot can be written, before any measurement.

    Raises:
        UserError: if the file is neither .png nor .svg, or matplotlib is not installed.
    """
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"--plot {path}: write to a .png or .svg file")
    if not can_plot():
        raise UserError(
            "--plot needs matplotlib, which is not installed: pip install 'versa-toolkit[notebooks]'"
        )


def plot_bars(path: Path, names: Sequence[str], panels: Mapping[str, Sequence[float]]) -> None:
    """Writes horizontal bars: a panel per quantity, side by side, with the first name on top."""
    check_plot(path)
    from matplotlib.figure import Figure  # pyplot would keep global state

    figure = Figure(figsize=(11, 1.2 + 0.4 * len(names)), layout="constrained")
    for axes, (title, values) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        axes.barh(names, values)
        axes.set_xlabel(title)
    figure.axes[0].invert_yaxis()
    _write(figure, path)


def plot_points(
    path: Path, points: Sequence[Point], *, x_name: str, y_name: str, log_x: bool = False
) -> None:
    """Writes a scatter plot of labelled points with their intervals."""
    check_plot(path)
    from matplotlib.figure import Figure

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
    _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix.lstrip("."))
    write_atomically(path, lambda file: file.write(image.getvalue()))
