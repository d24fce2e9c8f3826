"""Plots as SVG or PNG files, with matplotlib, an optional dependency."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolkit.atomic import write_atomically
from toolkit.errors import UserError


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


def _write(figure: Any, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix.lstrip("."))
    write_atomically(path, lambda file: file.write(image.getvalue()))
