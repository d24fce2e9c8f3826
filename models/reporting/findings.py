"""Summary sentences of a report, shown at its top."""

from collections.abc import Iterator
from typing import Any

from models.results.comparison import LEVEL
from toolkit.measures import number

Facts = dict[str, Any]
MAIN = "NDCG@10"
FEW_USERS = 30  # fewer cold targets are not reported
POPULAR = 1.25  # minimum ratio of popularity, recommended items to targets, that is reported


def find(facts: Facts) -> list[str]:
    """Sentences about each group of comparable runs."""
    return [
        sentence
        for group in facts["groups"]
        for summarise in (_best, _cold, _spread)
        for sentence in summarise([facts["runs"][index] for index in group["runs"]], group)
    ]


def _value(run: Facts, name: str = MAIN) -> float:
    return float(run["metrics"][name]["value"])


def _best(runs: list[Facts], group: Facts) -> Iterator[str]:
    index = max(range(len(runs)), key=lambda run: _value(runs[run]))
    best, first = runs[index], runs[0]
    metrics = (
        f"{MAIN} {_interval(best['metrics'][MAIN])}, HR@10 {_interval(best['metrics']['HR@10'])}"
    )
    if len(runs) == 1:
        yield f"{best['name']} reaches {metrics}."
        return
    yield f"{best['name']} is the best of {number(len(runs), 'run')}: {metrics}."
    if index == 0:
        worse = [t[MAIN]["corrected_p_value"] < LEVEL for t in group["tests"][1:]]
        yield (
            f"{first['name']}, the first run, is ahead of all others; the difference is significant for {sum(worse)} "
            f"of {len(worse)}."
        )
        return
    test = group["tests"][index][MAIN]
    verdict = "significant" if test["corrected_p_value"] < LEVEL else "not significant"
    yield (
        f"Its {MAIN} differs by {100 * test['difference']:+.1f} points "
        f"[{100 * test['low']:+.1f}, {100 * test['high']:+.1f}] from {first['name']}, the first run: "
        f"{verdict} (p {_p(test['corrected_p_value'])})."
    )


def _cold(runs: list[Facts], group: Facts) -> Iterator[str]:
    """The hit rate on cold targets, which have no training interactions."""
    cold = [
        (run["name"], bucket) for run in runs for bucket in run["warmth"] if bucket["last"] == 0
    ]
    if not cold or cold[0][1]["users"] < FEW_USERS:
        return
    name, bucket = max(cold, key=lambda entry: float(entry[1]["metrics"]["HR@10"]["value"]))
    hit = bucket["metrics"]["HR@10"]["value"]
    run = name if len(runs) == 1 else f"{name}, the best run for them,"
    hits = (
        f"{run} ranks it in the top 10 for {100 * hit:.1f} % of them"
        if hit
        else "no run ranks it in the top 10"
    )
    yield (
        f"For {number(bucket['users'], 'user')}, the target has no training interactions; {hits}."
    )


def _spread(runs: list[Facts], group: Facts) -> Iterator[str]:
    """The runs with the highest and lowest coverage, and the run with the most popular recommendations."""
    spread = sorted(runs, key=lambda run: float(run["bias"]["recommended"]["coverage"]))
    least, most = spread[0], spread[-1]
    others = f", {least['name']} {_coverage(least)}" if len(runs) > 1 else ""
    yield f"{most['name']} recommends {_coverage(most)} of the catalogue{others}, if lists leave out the whole history."
    taken = runs[0]["bias"]["taken"]["mean_popularity"]
    popular = max(runs, key=lambda run: float(run["bias"]["recommended"]["mean_popularity"]))
    mean = popular["bias"]["recommended"]["mean_popularity"]
    if mean > POPULAR * taken:
        yield (
            f"{popular['name']} favours popular items: its recommended items have {mean:.1f} training interactions on "
            f"average, the targets {taken:.1f}."
        )


def _coverage(run: Facts) -> str:
    percent = 100 * run["bias"]["recommended"]["coverage"]
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


def _interval(metric: dict[str, float]) -> str:
    low, high = 100 * metric["low"], 100 * metric["high"]
    return f"{100 * metric['value']:.1f} % [{low:.1f}, {high:.1f}]"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
