"""Compares runs: metrics with intervals, and paired tests against the first run over the same users."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluate import Split
from models.results.budgets import read_budget
from models.results.comparison import Comparison, Row
from models.results.evaluations import Evaluated, read_evaluation, refuse_incomparable, run_names
from models.runs.identity import INTERACTIONS
from toolkit.arguments import paths, refuse_twice
from toolkit.errors import UserError
from toolkit.ids import as_ids
from toolkit.metrics import metric_at, summarise, values_of_users
from toolkit.own_protocols import ProtocolLike
from toolkit.significance import paired_tests_against_first

COMPARED = ("HR@10", "NDCG@10")
BEYOND = ("beyond", "diversity_content")  # parts of a report that are shown without a test


def compare(
    runs: Sequence[str | Path],
    *,
    split: Split = "test",
    protocol: ProtocolLike | None = None,
    metrics: Sequence[str] = COMPARED,
) -> Comparison:
    """Compares runs with the first of them.

    Args:
        runs: run folders.
        split: `valid` or `test`.
        protocol: protocol of the evaluations; each run's own by default, which must be the same.
        metrics: HR, NDCG or MRR, at any cutoff, such as `MRR@10`.

    Raises:
        UserError: if a metric is unknown, a run is given twice or has no such evaluation, or the runs are not comparable
            because they differ in dataset, protocol, catalogue, users or targets.
    """
    names, folders = _distinct(metrics), paths(runs, name="runs")
    refuse_twice(folders, noun="run")  # it would count in Holm's correction
    evaluations = [read_evaluation(run, split, protocol) for run in folders]
    return compare_evaluated(evaluations, metrics=names)


def compare_evaluated(
    evaluations: Sequence[Evaluated], *, metrics: Sequence[str] = COMPARED
) -> Comparison:
    """Compares evaluations (`models.results.evaluations.read_evaluation`) with the first of them.

    Args:
        evaluations: evaluations on one split.
        metrics: HR, NDCG or MRR, at any cutoff, such as `MRR@10`.

    Raises:
        UserError: see `compare`.
    """
    names = _distinct(metrics)
    if not evaluations or not names:
        raise UserError("compare: no run or no metric given; give at least one run and one metric")
    for other in evaluations[1:]:
        refuse_incomparable(evaluations[0], other)
    ranks = [np.asarray(evaluation.ranks.column("rank")) for evaluation in evaluations]
    users = evaluations[0].users  # those of all runs
    gains = [
        {name: values_of_users(name, run_ranks, users) for name in names} for run_ranks in ranks
    ]
    tests = {name: paired_tests_against_first([of_run[name] for of_run in gains]) for name in names}
    values = [_values(run_ranks, names, users) for run_ranks in ranks]
    runs = run_names([evaluation.run for evaluation in evaluations])
    beside = [
        (
            {key: evaluation.report[key] for key in BEYOND if key in evaluation.report},
            read_budget(evaluation.run),
        )
        for evaluation in evaluations
    ]
    rows = [Row(runs[0], values[0], {}, {}, *beside[0])]
    for index, run in enumerate(runs[1:]):
        test = {name: tests[name][index][0] for name in names}
        p_values = {name: tests[name][index][1] for name in names}
        rows.append(Row(run, values[index + 1], test, p_values, *beside[index + 1]))
    report = evaluations[0].report
    return Comparison(
        report["split"],
        report["protocol"],
        report["protocol_settings"],
        report["users"],
        report["catalogue"],
        names,
        rows,
        _notes(evaluations),
    )


def _distinct(metrics: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_metric, as_ids(metrics, what="metrics", one="metric"))))


def _metric(name: str) -> str:
    kind, cutoff = metric_at(name)
    return f"{kind}@{cutoff}"


def _notes(evaluations: Sequence[Evaluated]) -> list[str]:
    without_hash = [
        str(evaluation.run) for evaluation in evaluations if INTERACTIONS not in evaluation.dataset
    ]
    if len(evaluations) == 1 or not without_hash:
        return []
    return [
        "Not verified: whether all runs were trained on the same interactions. An older Versa trained "
        f"{', '.join(without_hash)} and recorded no hash of them. Users and targets are the same."
    ]


def _values(
    ranks: NDArray[np.float64], names: list[str], users: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Each metric with its interval, computed from the ranks at any cutoff."""
    cutoffs = sorted({metric_at(name)[1] for name in names})
    summary = summarise(ranks, cutoffs, users=users)
    return {name: summary[name] for name in names}
