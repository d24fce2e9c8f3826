"""Metrics by popularity of the target, and coverage and popularity of the recommended items."""

from collections.abc import Sequence

from markupsafe import Markup

from models.reporting.sections.parts import (
    MAIN,
    Facts,
    View,
    interval,
    run_name,
    runs_of,
)
from toolkit.page import plots
from toolkit.page.markup import Cell, Percent, Table
from toolkit.page.plots import Plot, Point, Values

Runs = list[tuple[int, Facts]]


def bucket_name(bucket: Facts) -> str:
    """A range of counts as a short label.

    >>> [bucket_name({"first": a, "last": b}) for a, b in ((0, 0), (1, 4), (100, None))]
    ['0', '1–4', '≥ 100']
    """
    first, last = bucket["first"], bucket["last"]
    if last is None:
        return f"≥ {first}"
    return f"{first}" if first == last else f"{first}–{last}"


def warmth(facts: Facts, group: Facts) -> View:
    """Metrics by how often the target occurs in training."""
    runs = runs_of(facts, group)
    buckets = {bucket["first"]: bucket for _, run in runs for bucket in run["warmth"]}
    names = [bucket_name(buckets[first]) for first in sorted(buckets)]
    rows: list[list[Cell]] = [
        [
            run_name(position, run),
            bucket_name(bucket),
            bucket["users"],
            *(interval(bucket["metrics"][metric]) for metric in MAIN),
        ]
        for position, run in runs
        for bucket in run["warmth"]
    ]
    return {
        "has_cold": 0 in buckets,
        "users": {bucket_name(bucket): bucket["users"] for bucket in runs[0][1]["warmth"]},
        "plots": [_by_warmth(metric, names, runs) for metric in MAIN],
        "table": Table(["run", "training interactions", "users", *MAIN], rows),
    }


def _by_warmth(metric: str, names: Sequence[str], runs: Runs) -> Plot:
    values = []
    for position, run in runs:
        metrics = {bucket_name(bucket): bucket["metrics"][metric] for bucket in run["warmth"]}
        values.append(Values(position, run["name"], [metrics.get(name) for name in names]))
    title, unit = f"{metric} by training interactions", "training interactions of the target"
    drawing = plots.dots(names, values, title=title, x_unit=unit)
    return Plot(f"{metric} in %, with 95 % intervals", drawing)


def bias(facts: Facts, group: Facts) -> View:
    """Coverage and popularity of the recommended items, compared with the targets."""
    runs = runs_of(facts, group)
    first = runs[0][1]
    rows: list[list[Cell]] = [
        [run_name(position, run), *_spread(run["bias"]["recommended"])] for position, run in runs
    ]
    rows.append([Markup("<em>targets</em>"), *_spread(first["bias"]["taken"])])
    heads = ["run", "items", "of the catalogue", "Gini", "mean popularity", "median popularity"]
    return {
        "k": first["bias"]["k"],
        "users": first["users"],
        "table": Table(heads, rows, row_heads=True),
        "plots": [_coverage(runs), _popularity(runs)],
        "shares": {bucket_name(b): Percent.of(b["catalogue"]) for b in first["bias"]["buckets"]},
    }


def _spread(spread: Facts) -> list[Cell]:
    return [
        spread["items"],
        Percent.of(spread["coverage"]),
        spread["gini"],
        spread["mean_popularity"],
        spread["median_popularity"],
    ]


def _coverage(runs: Runs) -> Plot:
    points = [
        Point(
            position,
            run["name"],
            100 * run["bias"]["recommended"]["coverage"],
            run["metrics"]["NDCG@10"],
        )
        for position, run in runs
    ]
    drawing = plots.scatter(points, x_name="catalogue recommended, %", y_name="NDCG@10")
    return Plot("Accuracy and coverage: up and right is better", drawing)


def _popularity(runs: Runs) -> Plot:
    buckets = runs[0][1]["bias"]["buckets"]
    names = [bucket_name(bucket) for bucket in buckets]
    values = [
        Values(position, run["name"], _shares(run["bias"]["buckets"], names, "recommended"))
        for position, run in runs
    ]
    values.append(Values(None, "targets", _shares(buckets, names, "taken")))
    drawing = plots.bars(
        names,
        values,
        title="Recommendations by popularity",
        x_unit="training interactions of the item",
    )
    return Plot("Share of recommendations in %; pale: targets", drawing)


def _shares(buckets: Sequence[Facts], names: Sequence[str], key: str) -> list[plots.Metric | None]:
    shares = {bucket_name(bucket): {"value": bucket[key]} for bucket in buckets}
    return [shares.get(name) for name in names]
