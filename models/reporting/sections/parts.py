"""Types and cells shared by several sections of the page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from models.reporting.plots import COLOURS
from toolkit.page.markup import Interval

Facts = dict[str, Any]
View = dict[str, Any]  # variables of a section's template
MAIN = ("HR@10", "NDCG@10")


class RunName(NamedTuple):
    """A run's name with its colour.

    Args:
        position: index of the run among all runs, which selects the colour.
        name: name of the run.
    """

    position: int
    name: str

    def __html__(self) -> Markup:
        chip = Markup('<span class="chip s{}">{}</span>')
        return chip.format(self.position % COLOURS, self.name)


class Plot(NamedTuple):
    """A drawing of a section.

    Args:
        caption: text above the drawing.
        drawing: SVG.
        towers: names of the towers whose colours the drawing uses.
    """

    caption: str
    drawing: Markup
    towers: Sequence[str] = ()


def runs_of(facts: Facts, group: Facts) -> list[tuple[int, Facts]]:
    """The runs of a group, each with its position among all runs, which selects its colour."""
    return [(position, facts["runs"][position]) for position in group["runs"]]


def run_name(position: int, run: Facts) -> RunName:
    """A run's name as a cell."""
    return RunName(position, run["name"])


def interval(metric: dict[str, float]) -> Interval:
    """A metric as a cell."""
    return Interval(metric["value"], metric["low"], metric["high"])
