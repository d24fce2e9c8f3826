"""Which items runs are good at, and which ones they show."""

from collections.abc import Sequence

from models.reporting import plots
from models.reporting.plots import Point, Values
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
from toolkit.measures import number
from toolkit.page.markup import Cell, Html, Percent, details, table

Runs = list[tuple[int, Facts]]


def bucket_name(bucket: Facts) -> str:
    """A range of counts in few letters.

    >>> [bucket_name({"first": a, "last": b}) for a, b in ((0, 0), (1, 4), (100, None))]
    ['0', '1–4', '≥ 100']
    """
    first, last = bucket["first"], bucket["last"]
    if last is None:
        return f"≥ {first}"
    return f"{first}" if first == last else f"{first}–{last}"


def warmth(facts: Facts, group: Facts) -> Html:
    """Metrics by how often training saw the target."""
    runs = runs_of(facts, group)
    found = {bucket["first"]: bucket for _, run in runs for bucket in run["warmth"]}
    names = [bucket_name(found[first]) for first in sorted(found)]
    rows: list[list[Cell]] = [
        [
            run_name(place, run),
            bucket_name(bucket),
            bucket["users"],
            *(interval(bucket["metrics"][metric]) for metric in MAIN),
        ]
        for place, run in runs
        for bucket in run["warmth"]
    ]
    heads = ["run", "training interactions", "users", *MAIN]
    users = ", ".join(f"{bucket_name(b)}: {b['users']:,}" for b in runs[0][1]["warmth"])
    cold = "0 is an item that no training sequence holds." if 0 in found else "None was unseen."
    about = f"Users by how often training saw the item that they took next. {cold} Users of each range: {users}."
    drawn = side_by_side([_by_warmth(metric, names, runs) for metric in MAIN])
    return Html(f"{note(about)}\n{drawn}\n{details('As a table', table(heads, rows))}")


def _by_warmth(metric: str, names: Sequence[str], runs: Runs) -> str:
    values = []
    for place, run in runs:
        found = {bucket_name(bucket): bucket["metrics"][metric] for bucket in run["warmth"]}
        values.append(Values(place, run["name"], [found.get(name) for name in names]))
    title, unit = f"{metric} by training interactions", "training interactions of the target"
    drawing = plots.dots(names, values, title=title, x_unit=unit)
    return plot(f"{metric} in %, with 95 % intervals", drawing)


def bias(facts: Facts, group: Facts) -> Html:
    """How much of the catalogue runs show, and how popular that is, beside what users took."""
    runs = runs_of(facts, group)
    first = runs[0][1]["bias"]
    rows = [[run_name(place, run), *_spread(run["bias"]["recommended"])] for place, run in runs]
    rows.append([Html("<em>what users took</em>"), *_spread(first["taken"])])
    heads = ["run", "items", "of the catalogue", "Gini", "mean popularity", "median popularity"]
    about = (
        f"The {first['k']} items that each run recommends to each of {number(runs[0][1]['users'], 'user')}, from all that "
        "came before the item taken next, without what the user had already. Popularity is the number of training "
        "interactions. Gini: 0 where all items are shown equally often, near 1 where one is always."
    )
    shares = ", ".join(f"{bucket_name(b)}: {100 * b['catalogue']:.1f} %" for b in first["buckets"])
    return Html(
        f"{note(about)}\n{table(heads, rows, row_heads=True)}\n{side_by_side([_coverage(runs), _popularity(runs)])}\n"
        f"{note(f'Items of the catalogue by popularity: {shares}.')}"
    )


def _spread(spread: Facts) -> list[Cell]:
    return [
        spread["items"],
        Percent.of(spread["coverage"]),
        spread["gini"],
        spread["mean_popularity"],
        spread["median_popularity"],
    ]


def _coverage(runs: Runs) -> str:
    points = [
        Point(
            place,
            run["name"],
            100 * run["bias"]["recommended"]["coverage"],
            run["metrics"]["NDCG@10"],
        )
        for place, run in runs
    ]
    drawing = plots.scatter(points, x_name="catalogue recommended, %", y_name="NDCG@10")
    return plot("Accuracy and coverage: up and right is better", drawing)


def _popularity(runs: Runs) -> str:
    buckets = runs[0][1]["bias"]["buckets"]
    names = [bucket_name(bucket) for bucket in buckets]
    values = [
        Values(place, run["name"], _shares(run["bias"]["buckets"], names, "recommended"))
        for place, run in runs
    ]
    values.append(Values(None, "what users took", _shares(buckets, names, "taken")))
    drawing = plots.bars(
        names,
        values,
        title="Recommendations by popularity",
        x_unit="training interactions of the item",
    )
    return plot("Share of recommendations in %; pale: what users took", drawing)


def _shares(buckets: Sequence[Facts], names: Sequence[str], key: str) -> list[plots.Metric | None]:
    found = {bucket_name(bucket): {"value": bucket[key]} for bucket in buckets}
    return [found.get(name) for name in names]
