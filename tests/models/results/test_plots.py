"""Figures that cannot be plotted are refused before anything is measured."""

from pathlib import Path

import pytest

from models.results import plots
from toolkit import UserError


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"costs\.pdf: write to a \.png or \.svg"):
        plots.check_plot(tmp_path / "costs.pdf")


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'versa-toolkit\[notebooks\]'"):
        plots.check_plot(tmp_path / "costs.png")


@pytest.mark.parametrize("name", ["costs.png", "costs.svg"])
def test_bars_are_written_in_the_format_of_the_name(tmp_path: Path, name: str) -> None:
    plots.plot_bars(tmp_path / name, ["a", "b"], {"seconds": [1.0, 2.0]})
    begin = (tmp_path / name).read_bytes()[:5]
    assert begin == (b"\x89PNG\r" if name.endswith("png") else b"<?xml")
