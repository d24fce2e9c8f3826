"""What several sections are made of."""

from collections.abc import Sequence
from typing import Any

from models.reporting.plots import COLOURS
from toolkit.page.markup import Html, Interval, text

Facts = dict[str, Any]
MAIN = ("HR@10", "NDCG@10")


def runs_of(facts: Facts, group: Facts) -> list[tuple[int, Facts]]:
    """The runs of a group, each with its place among all, which gives its colour."""
    return [(place, facts["runs"][place]) for place in group["runs"]]


def run_name(place: int, run: Facts) -> Html:
    """A run's name with its colour."""
    return Html(f'<span class="chip s{place % COLOURS}">{text(run["name"])}</span>')


def interval(metric: dict[str, float]) -> Interval:
    """A metric as a cell."""
    return Interval(metric["value"], metric["low"], metric["high"])


def note(words: str) -> Html:
    """A soft paragraph; markup in `words` stays."""
    return Html(f'<p class="soft">{words}</p>')


def plot(caption: str, drawing: str, legend: str = "") -> str:
    """A drawing with its caption above."""
    return f"<figure>\n<figcaption>{text(caption)}</figcaption>\n{legend}{drawing}\n</figure>"


def side_by_side(drawn: Sequence[str], kind: str = "") -> Html:
    """Plots, as many beside one another as there is room for."""
    return Html(f'<div class="plots {kind}">\n' + "\n".join(drawn) + "\n</div>")
