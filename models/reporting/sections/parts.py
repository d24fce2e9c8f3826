"""Types and cells shared by several sections of the page."""

from typing import Any

from toolkit.page.markup import Interval
from toolkit.page.plots import SeriesName

Facts = dict[str, Any]
View = dict[str, Any]  # variables of a section's template
MAIN = ("HR@10", "NDCG@10")


def runs_of(facts: Facts, group: Facts) -> list[tuple[int, Facts]]:
    """The runs of a group, each with its position among all runs, which selects its colour."""
    return [(position, facts["runs"][position]) for position in group["runs"]]


def run_name(position: int, run: Facts) -> SeriesName:
    """A run's name as a cell."""
    return SeriesName(position, run["name"])


def interval(metric: dict[str, float]) -> Interval:
    """A metric as a cell."""
    return Interval(metric["value"], metric["low"], metric["high"])
