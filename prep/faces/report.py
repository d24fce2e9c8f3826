"""The facts and findings of the integrity report of a dataset of faces."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.faces.raw import STEP
from prep.reporting.failures import describe_failures
from prep.reporting.finding import SEVERITIES, Facts, Finding, percent
from toolkit import Dataset
from toolkit.faces import FOLDER, Faces
from toolkit.facs import ACTIVE, MISSING, column, facs
from toolkit.measures import number

BY_SUBJECT = 0.5  # share of an AU's variance between subjects above which a report warns


def collect(data: Dataset) -> Facts:
    """Every fact of the report of a dataset of faces, with the findings as `verdict`.

    Args:
        data: a dataset of kind `faces`.

    Raises:
        UserError: if the table cannot be read.
    """
    faces, steps = Faces(data), data.manifest.get("steps", {})
    status = Counter(faces.table["status"].to_pylist())
    facts: Facts = {
        "name": data.name,
        "layout": steps.get(STEP, {}).get("config", {}).get("layout"),
        "counts": data.manifest.get("counts", {}),
        "finished": FOLDER in steps,
        "statuses": dict(status.most_common()),
        "folds": _folds(faces),
        "units": _units(faces),
        "same_pictures": _same_pictures(faces),
        "failures": describe_failures(data),
        "inputs": steps.get(STEP, {}).get("inputs", {}),
        "steps": {
            name: {k: v for k, v in step.items() if k != "inputs"} for name, step in steps.items()
        },
    }
    findings = [finding._asdict() for check in _CHECKS for finding in check(facts)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding["severity"]))
    return {"verdict": findings, **facts}


def _folds(faces: Faces) -> list[dict[str, Any]]:
    """Subjects and faces that each fold tests; fold None for those in no split."""
    subjects = np.array(faces.table["subject"].to_pylist())
    return [
        {
            "fold": int(fold) or None,
            "subjects": len(set(subjects[faces.folds == fold])),
            "faces": int((faces.folds == fold).sum()),
        }
        for fold in np.unique(faces.folds)
    ]


def _units(faces: Faces) -> list[dict[str, Any]]:
    """Counts and rates of each AU, and how much of it the subject decides."""
    _, subject = np.unique(np.array(faces.table["subject"].to_pylist()), return_inverse=True)
    folds = [int(fold) for fold in np.unique(faces.folds) if fold]
    described = []
    for index, unit in enumerate(faces.units):
        labels = faces.labels[:, index]
        known = labels != MISSING
        described.append(
            {
                "au": column(unit),
                "name": facs().units[unit].name,
                "active": int((labels == ACTIVE).sum()),
                "missing": int((~known).sum()),
                "rate": _rate(labels),
                "rate_by_fold": {fold: _rate(labels[faces.folds == fold]) for fold in folds},
                "by_subject": _share_between(subject[known], labels[known].astype(np.float64)),
            }
        )
    return described


def _rate(labels: NDArray[np.int8]) -> float | None:
    known = int((labels != MISSING).sum())
    return round(float((labels == ACTIVE).sum()) / known, 6) if known else None


def _share_between(groups: NDArray[np.int64], values: NDArray[np.float64]) -> float | None:
    """Correlation ratio η²: the share of the variance of values that lies between groups; None without variance."""
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    if total == 0:
        return None
    sizes = np.bincount(groups)
    means = np.bincount(groups, values) / np.maximum(sizes, 1)
    return round(float((sizes * (means - values.mean()) ** 2).sum()) / total, 6)


def _same_pictures(faces: Faces) -> list[dict[str, Any]]:
    """Files with equal content in several folds."""
    table = faces.table.select(["item_id", "fold", "source_sha256"])
    table = table.filter(pc.and_(table["source_sha256"].is_valid(), table["fold"].is_valid()))
    groups = table.group_by("source_sha256").aggregate(
        [("fold", "count_distinct"), ("item_id", "list")]
    )
    several = groups.filter(pc.greater(groups["fold_count_distinct"], 1))
    pairs = ({"pictures": sorted(ids)} for ids in several["item_id_list"].to_pylist())
    return sorted(pairs, key=lambda pair: pair["pictures"])


def _unfinished(facts: Facts) -> Iterator[Finding]:
    if not facts["finished"]:
        yield Finding(
            "error",
            "unfinished",
            "Table faces is not finished",
            "run prep faces again to resume it",
        )


def _failed(facts: Facts) -> Iterator[Finding]:
    failed = {status: count for status, count in facts["statuses"].items() if status != "ok"}
    if failed:
        total, listed = (
            sum(facts["statuses"].values()),
            ", ".join(f"{c:,} {s}" for s, c in failed.items()),
        )
        what = f"{sum(failed.values()):,} of {number(total, 'face')} have no picture ({listed})"
        severity = "warning" if facts["statuses"].get("ok") else "error"
        yield Finding(
            "error" if severity == "error" else "warning",
            "failed",
            what,
            "add or replace the files and run prep faces --retry-failed, or continue without",
        )


def _lists(facts: Facts) -> Iterator[Finding]:
    for entry in facts["failures"]:
        if entry["step"] == STEP:
            severity, noun, plural, advice, effect, fitness = _PROBLEMS[entry["error_class"]]
            what = number(entry["count"], noun, plural)
            yield Finding(severity, entry["error_class"], what, advice, effect, fitness)


# Severity, singular, plural, advice, effect and fitness by error class of step lists.
_PROBLEMS: dict[str, Any] = {
    "two_folds": (
        "error",
        "subject in two folds, whose faces are in no fold now",
        "subjects in two folds, whose faces are in no fold now",
        "correct the lists: a network that was trained on a subject must not be tested on it",
        "these faces are used neither for training nor for tests",
        "caution",
    ),
    "no_fold": (
        "note",
        "subject in no test list",
        "subjects in no test list",
        "no action is needed if they should be left out",
        "their faces are used neither for training nor for tests",
        "fit",
    ),
    "duplicate_id": (
        "note",
        "line that repeats a path of the same list",
        "lines that repeat a path of the same list",
        "no action is needed if they should count once",
        "each picture counts once",
        "fit",
    ),
    "other_labels": (
        "warning",
        "line with other labels than an earlier list has for the same picture",
        "lines with other labels than an earlier list has for the same picture",
        "write all lists again from one source",
        "the first labels are kept",
        "caution",
    ),
    "other_intensities": (
        "warning",
        "subject whose labels contradict its intensities",
        "subjects whose labels contradict their intensities",
        "check that the frames of both count alike",
        "labels are kept as listed",
        "caution",
    ),
    "no_labels": (
        "note",
        "subject without a file for some AUs",
        "subjects without a file for some AUs",
        "download them again if they should exist",
        "these labels are missing (9)",
        "fit",
    ),
    "unsafe": (
        "warning",
        "line left out, because its path would leave img/",
        "lines left out, because their paths would leave img/",
        "write paths relative to img/",
        "",
        "fit",
    ),
}


def _same(facts: Facts) -> Iterator[Finding]:
    if facts["same_pictures"]:
        what = f"{number(len(facts['same_pictures']), 'picture')} in several folds"
        advice = "check whether two subjects are one person, and correct the folds"
        yield Finding(
            "warning",
            "same_pictures",
            what,
            advice,
            "tests see pictures of the training data",
            "caution",
        )


def _constant(facts: Facts) -> Iterator[Finding]:
    for unit in facts["units"]:
        folds = [fold for fold, rate in unit["rate_by_fold"].items() if not rate]
        if folds:
            where = ", ".join(map(str, folds))
            what = f"{unit['au']} is never active in the tests of fold {where}"
            yield Finding(
                "warning",
                "never_active",
                what,
                "leave this AU out, or join folds",
                "its F1 there is 0",
                "caution",
            )


def _by_subject(facts: Facts) -> Iterator[Finding]:
    units = [u for u in facts["units"] if (u["by_subject"] or 0) > BY_SUBJECT]
    if units:
        listed = ", ".join(f"{unit['au']} {percent(unit['by_subject'])}" for unit in units)
        yield Finding(
            "warning",
            "identity_shortcut",
            f"Who the subject is decides most of some AUs (share of the variance between subjects: {listed})",
            "report an identity probe and results on held-out subjects",
            "a network can learn the subject in place of the expression",
            "caution",
        )


_CHECKS = (_unfinished, _failed, _lists, _same, _constant, _by_subject)
