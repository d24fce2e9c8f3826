"""What runs reach, with intervals, and whether each differs from the first by more than chance."""

import numpy as np

from models.reporting import plots
from models.reporting.plots import Values
from models.reporting.sections.parts import (
    MAIN,
    Facts,
    interval,
    note,
    plot,
    run_name,
    runs_of,
    side_by_side,
)
from models.results.comparison import LEVEL
from toolkit.measures import number
from toolkit.metrics import METRICS
from toolkit.page.markup import Cell, Html, details, table, text

SHOWN = (*MAIN, "MRR@10")


def metrics(facts: Facts, group: Facts) -> Html:
    """Plots, a table, and the tests of a group of comparable runs."""
    runs = runs_of(facts, group)
    about = runs[0][1]
    drawn = [_drawn(name, runs, about["catalogue"]) for name in MAIN]
    words = (
        f"{number(about['users'], 'user')}, {number(about['catalogue'], 'item')}, split {text(about['split'])}, "
        f"protocol {text(about['protocol'])}; in percent with 95 % intervals over users."
    )
    every = list(about["metrics"])
    parts = [
        side_by_side(drawn),
        _table(runs, SHOWN),
        note(words),
        *(note(text(told)) for told in group["notes"]),
        _tests(runs, group),
        details("All metrics", _table(runs, every)),
    ]
    return Html("\n".join(part for part in parts if part))


def chance(metric: str, catalogue: int) -> float:
    """What a random order of the catalogue reaches.

    >>> chance("HR@10", 40)
    0.25
    """
    name, _, cutoff = metric.partition("@")
    ranks = np.arange(1, catalogue + 1)
    return float(METRICS[name](ranks, int(cutoff)).mean())


def _drawn(name: str, runs: list[tuple[int, Facts]], catalogue: int) -> str:
    rows = [Values(place, run["name"], [run["metrics"][name]]) for place, run in runs]
    drawing = plots.intervals(rows, metric=name, chance=chance(name, catalogue))
    return plot(f"{name} with 95 % intervals; the dashed line is chance", drawing)


def _table(runs: list[tuple[int, Facts]], names: tuple[str, ...] | list[str]) -> Html:
    rows: list[list[Cell]] = [
        [run_name(place, run), *(interval(run["metrics"][name]) for name in names)]
        for place, run in runs
    ]
    return table(["run", *names], rows, row_heads=True)


def _tests(runs: list[tuple[int, Facts]], group: Facts) -> Html:
    if len(runs) == 1:
        return Html("")
    rows: list[list[Cell]] = []
    for (place, run), test in zip(runs[1:], group["tests"][1:], strict=True):
        cells = [cell for name in MAIN for cell in (_difference(test[name]), _p(test[name]))]
        rows.append([run_name(place, run), *cells])
    heads = ["run", *(head for name in MAIN for head in (f"{name}, points", "p"))]
    words = (
        "Differences in points of percent with 95 % bootstrap intervals; p of a paired sign-flip test, corrected for "
        f'the number of runs (Holm); <span class="sure">●</span> marks p below {LEVEL}.'
    )
    heading = f"<h3>Against {text(runs[0][1]['name'])}, user by user</h3>"
    return Html(f"{heading}\n{table(heads, rows, row_heads=True)}\n{note(words)}")


def _difference(test: Facts) -> Html:
    change, low, high = (_signed(test[key]) for key in ("difference", "low", "high"))
    return Html(f'{change} <span class="soft">[{low}, {high}]</span>')


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _p(test: Facts) -> Html:
    value = test["corrected_p_value"]
    shown = "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
    return Html(f'{shown} <span class="sure">●</span>' if value < LEVEL else shown)
