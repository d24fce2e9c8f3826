"""What the facts of a report amount to, in sentences: the first thing that a reader sees."""

from collections.abc import Iterator
from typing import Any

from models.results.comparison import LEVEL
from toolkit.measures import number

Facts = dict[str, Any]
MAIN = "NDCG@10"
FEW_USERS = 30  # below which a share of users says little
POPULAR = 1.25  # times as popular as what users took is worth a word


def find(facts: Facts) -> list[str]:
    """Sentences about each group of comparable runs, the main one first."""
    return [
        sentence
        for group in facts["groups"]
        for look in (_best, _cold, _spread)
        for sentence in look([facts["runs"][place] for place in group["runs"]], group)
    ]


def _value(run: Facts, name: str = MAIN) -> float:
    return float(run["metrics"][name]["value"])


def _best(runs: list[Facts], group: Facts) -> Iterator[str]:
    place = max(range(len(runs)), key=lambda one: _value(runs[one]))
    best, first = runs[place], runs[0]
    about = (
        f"{MAIN} {_interval(best['metrics'][MAIN])}, HR@10 {_interval(best['metrics']['HR@10'])}"
    )
    if len(runs) == 1:
        yield f"{best['name']} reaches {about}."
        return
    yield f"{best['name']} is the best of {number(len(runs), 'run')}: {about}."
    if place == 0:
        worse = [t[MAIN]["corrected_p_value"] < LEVEL for t in group["tests"][1:]]
        yield (
            f"{first['name']}, the first run, is ahead of all others; for {sum(worse)} of {len(worse)} "
            "the difference is more than chance would make."
        )
        return
    test = group["tests"][place][MAIN]
    sure = "more than chance would make" if test["corrected_p_value"] < LEVEL else "within chance"
    yield (
        f"That is {100 * test['difference']:+.1f} points of {MAIN} "
        f"[{100 * test['low']:+.1f}, {100 * test['high']:+.1f}] against {first['name']}, the first run: "
        f"{sure} (p {_p(test['corrected_p_value'])})."
    )


def _cold(runs: list[Facts], group: Facts) -> Iterator[str]:
    """Of the targets that training never saw."""
    cold = [
        (run["name"], bucket) for run in runs for bucket in run["warmth"] if bucket["last"] == 0
    ]
    if not cold or cold[0][1]["users"] < FEW_USERS:
        return
    name, bucket = max(cold, key=lambda one: float(one[1]["metrics"]["HR@10"]["value"]))
    hit = bucket["metrics"]["HR@10"]["value"]
    which = name if len(runs) == 1 else f"{name}, the best with these,"
    has = (
        f"{which} has it among its ten for {100 * hit:.1f} %"
        if hit
        else "no run has it among its ten"
    )
    yield f"{number(bucket['users'], 'user')} took an item that training never saw; {has}."


def _spread(runs: list[Facts], group: Facts) -> Iterator[str]:
    """The runs that show most and least of the catalogue, and one that shows too popular items."""
    spread = sorted(runs, key=lambda run: float(run["bias"]["recommended"]["coverage"]))
    least, most = spread[0], spread[-1]
    others = f", {least['name']} {_coverage(least)}" if len(runs) > 1 else ""
    yield f"{most['name']} recommends {_coverage(most)} of the catalogue{others}."
    taken = runs[0]["bias"]["taken"]["mean_popularity"]
    popular = max(runs, key=lambda run: float(run["bias"]["recommended"]["mean_popularity"]))
    mean = popular["bias"]["recommended"]["mean_popularity"]
    if mean > POPULAR * taken:
        yield (
            f"{popular['name']} leans to popular items: what it recommends occurs {mean:.1f} times in training on "
            f"average, what users took {taken:.1f} times."
        )


def _coverage(run: Facts) -> str:
    percent = 100 * run["bias"]["recommended"]["coverage"]
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


def _interval(metric: dict[str, float]) -> str:
    low, high = 100 * metric["low"], 100 * metric["high"]
    return f"{100 * metric['value']:.1f} % [{low:.1f}, {high:.1f}]"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
