"""Runs side by side: metrics with intervals, and whether each differs from the first, over the same users."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluate import Split
from models.results.comparison import Comparison, Row
from models.results.evaluations import Evaluated, read_evaluation, refuse_incomparable, run_names
from models.runs.identity import INTERACTIONS
from toolkit.arguments import paths
from toolkit.errors import UserError
from toolkit.ids import as_ids
from toolkit.metrics import METRICS, summarise
from toolkit.significance import paired_test
from toolkit.splits import Protocol

COMPARED = ("HR@10", "NDCG@10")


def compare(
    runs: Sequence[str | Path],
    *,
    split: Split = "test",
    protocol: Protocol | None = None,
    metrics: Sequence[str] = COMPARED,
) -> Comparison:
    """Compares runs with the first of them.

    Args:
        runs: run folders.
        split: `valid` or `test`.
        protocol: what was masked; each run's own by default, which must be the same.
        metrics: HR, NDCG or MRR, at any cutoff, such as `MRR@10`.

    Raises:
        UserError: if a metric is unknown, a run has not been evaluated so, or they are not comparable: another
            dataset, protocol, catalogue, or other users or targets.
    """
    wanted = _distinct(metrics)
    found = [read_evaluation(run, split, protocol) for run in paths(runs, name="runs")]
    return compare_evaluated(found, metrics=wanted)


def compare_evaluated(
    found: Sequence[Evaluated], *, metrics: Sequence[str] = COMPARED
) -> Comparison:
    """Compares evaluations that have been read (`models.results.evaluations.read_evaluation`) with the first of them.

    Args:
        found: evaluations on one split.
        metrics: HR, NDCG or MRR, at any cutoff, such as `MRR@10`.

    Raises:
        UserError: as `compare` does.
    """
    wanted = _distinct(metrics)
    if not found or not wanted:
        raise UserError("compare: no run or no metric is named; give one or more of each")
    for other in found[1:]:
        refuse_incomparable(found[0], other)
    ranks = [np.asarray(one.ranks.column("rank")) for one in found]
    gains = [{name: _gains(name, each) for name in wanted} for each in ranks]
    tests = [
        {name: paired_test(gains[0][name], other[name]) for name in wanted} for other in gains[1:]
    ]
    corrected = {name: holm([test[name].p_value for test in tests]) for name in wanted}
    values = [_values(each, wanted) for each in ranks]
    words = run_names([one.run for one in found])
    rows = [Row(words[0], values[0], {}, {})]
    for place, test in enumerate(tests):
        p_values = {name: corrected[name][place] for name in wanted}
        rows.append(Row(words[place + 1], values[place + 1], test, p_values))
    about = found[0].report
    return Comparison(
        about["split"],
        about["protocol"],
        about["users"],
        about["catalogue"],
        wanted,
        rows,
        _notes(found),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the k-th smallest of m times m - k + 1, never falling, at most 1.

    Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _distinct(metrics: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_metric, as_ids(metrics, what="metrics", one="metric"))))


def _metric(name: str) -> str:
    kind, at, cutoff = name.upper().partition("@")
    if kind not in METRICS or not at or not cutoff.isdecimal() or int(cutoff) < 1:
        known = ", ".join(f"{one}@K" for one in METRICS)
        raise UserError(f"metric {name!r} is unknown; there are {known}, with K from 1 on")
    return f"{kind}@{int(cutoff)}"


def _notes(found: Sequence[Evaluated]) -> list[str]:
    silent = [str(one.run) for one in found if INTERACTIONS not in one.dataset]
    if len(found) == 1 or not silent:
        return []
    return [
        f"Not known: whether all were trained on the same interactions, for {', '.join(silent)} came from a Versa "
        "that kept no hash of them. Users and targets are the same."
    ]


def _gains(name: str, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    metric, _, cutoff = name.partition("@")
    return METRICS[metric](ranks, int(cutoff))


def _values(ranks: NDArray[np.float64], names: list[str]) -> dict[str, dict[str, float]]:
    """Each metric with its interval, from the ranks: so any cutoff will do."""
    cutoffs = sorted({int(name.partition("@")[2]) for name in names})
    summary = summarise(ranks, cutoffs)
    return {name: summary[name] for name in names}
