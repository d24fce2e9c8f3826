"""Metrics with intervals, and paired tests against the first run."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from models.inputs.content import describe_content
from models.reporting.sections.parts import (
    MAIN,
    Facts,
    View,
    interval,
    run_name,
    runs_of,
)
from models.results.comparison import LEVEL
from models.runs.files import protocol_of
from toolkit.beyond_accuracy import describe, head, texts
from toolkit.metrics import METRICS
from toolkit.page import plots
from toolkit.page.markup import Cell, Table
from toolkit.page.plots import Plot, Values

SHOWN = (*MAIN, "MRR@10")


def metrics(facts: Facts, group: Facts) -> View:
    """Plots, tables and tests of a group of comparable runs."""
    runs = runs_of(facts, group)
    first = runs[0][1]
    return {
        "first": first,
        "plots": [_plot(name, runs, first["catalogue"]) for name in MAIN],
        "table": _table(runs, SHOWN),
        "all": _table(runs, list(first["metrics"])),
        "beyond": _beyond_accuracy(runs),
        "about": protocol_of(first).about,
        "slices": _slices(runs),
        "notes": group["notes"],
        "tests": _tests(runs, group) if len(runs) > 1 else None,
        "level": LEVEL,
    }


def _beyond_accuracy(runs: list[tuple[int, Facts]]) -> View | None:
    """Metrics of the evaluation's top-k lists, and by run the content of its diversity; None if no run has them."""
    names = list(dict.fromkeys(name for _, run in runs for name in run.get("beyond", {})))
    if not names:
        return None
    rows: list[list[Cell]] = [
        [run_name(position, run), *(_in_unit(run.get("beyond", {}), name) for name in names)]
        for position, run in runs
    ]
    contents = {
        run["name"]: describe_content(run["diversity_content"])
        for _, run in runs
        if "diversity_content" in run
    }
    return {
        "table": Table(["run", *map(head, names)], rows, row_heads=True),
        "about": describe(names),
        "contents": contents,
        "same_content": len(set(contents.values())) == 1,
    }


def _in_unit(beyond: Facts, name: str) -> Markup | None:
    if name not in beyond:
        return None
    value, ends = texts(name, beyond[name])
    return Markup('{} <span class="soft">{}</span>').format(value, ends)


def chance(metric: str, catalogue: int) -> float:
    """The expected metric of a random order of the catalogue.

    >>> chance("HR@10", 40)
    0.25
    """
    name, _, cutoff = metric.partition("@")
    ranks = np.arange(1, catalogue + 1)
    return float(METRICS[name](ranks, int(cutoff)).mean())


def _plot(name: str, runs: list[tuple[int, Facts]], catalogue: int) -> Plot:
    rows = [Values(position, run["name"], [run["metrics"][name]]) for position, run in runs]
    drawing = plots.intervals(rows, metric=name, chance=chance(name, catalogue))
    return Plot(f"{name} with 95 % intervals; the dashed line is chance", drawing)


def _table(runs: list[tuple[int, Facts]], names: Sequence[str]) -> Table:
    rows: list[list[Cell]] = [
        [run_name(position, run), *(interval(run["metrics"][name]) for name in names)]
        for position, run in runs
    ]
    return Table(["run", *names], rows, row_heads=True)


def _slices(runs: list[tuple[int, Facts]]) -> Table | None:
    """Metrics by slice of the targets; None if no evaluation has slices, as those of older versions."""
    rows: list[list[Cell]] = [
        [
            run_name(position, run),
            f"{name}: {part['about']}",
            part["users"],
            *(interval(part["metrics"][metric]) for metric in MAIN),
        ]
        for name in dict.fromkeys(name for _, run in runs for name in run["slices"])
        for position, run in runs
        if (part := run["slices"].get(name))
    ]
    return Table(["run", "targets", "users", *MAIN], rows, row_heads=True) if rows else None


def _tests(runs: list[tuple[int, Facts]], group: Facts) -> Table:
    rows: list[list[Cell]] = []
    for (position, run), test in zip(runs[1:], group["tests"][1:], strict=True):
        cells = [cell for name in MAIN for cell in (_difference(test[name]), _p(test[name]))]
        rows.append([run_name(position, run), *cells])
    heads = ["run", *(head for name in MAIN for head in (f"{name}, points", "p"))]
    return Table(heads, rows, row_heads=True)


def _difference(test: Facts) -> Markup:
    change, low, high = (_signed(test[key]) for key in ("difference", "low", "high"))
    return Markup(f'{change} <span class="soft">[{low}, {high}]</span>')


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _p(test: Facts) -> Markup:
    value = test["corrected_p_value"]
    shown = "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
    return Markup(f'{shown} <span class="sure">●</span>' if value < LEVEL else shown)
