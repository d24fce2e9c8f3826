"""Compares runs: methods are averaged over folds and seeds, and tested against the first over the same subjects.

S subjects, M methods, R bootstrap rounds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.facial.config import read_face_config
from models.facial.metrics import Counts, Interval, count, f1, f1_of_subjects
from models.facial.stored import read_test
from models.runs.folder import METRICS
from models.training.log import flat
from toolkit.arguments import paths, refuse_twice
from toolkit.errors import UserError
from toolkit.json_files import read_json_object
from toolkit.significance import Paired, paired_tests_against_first

_OF_A_RUN = {"output", "resume", "fold", "train.seed"}  # what runs of one method may differ in
_ROUNDS = 2_000


@dataclass(frozen=True)
class TestedRun:
    """A run with its test.

    Args:
        path: run folder.
        settings: its flat settings; `data` is the name of the dataset that it was trained on with the digests of its faces and crops.
        faces: the same of the dataset that it was tested on.
        subjects: (S,) names, sorted.
        counts: of its predictions at a logit of 0.
        aus: numbers of the AUs.
    """

    path: Path
    settings: dict[str, Any]
    faces: str
    subjects: list[str]
    counts: Counts
    aus: tuple[int, ...]


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but fold and seed, trained on one dataset.

    Args:
        name: settings in which it differs from the first method; the name of its first run for the first.
        runs: number of runs.
        folds: folds that they test.
        seeds: their seeds.
        f1: mean over AUs, folds and seeds, with the interval of a bootstrap over the subjects of each test.
        test: paired test against the first method over subjects; None for the first.
        p_value: corrected over the methods (Holm); None for the first.
        subjects: number of subjects of the paired test.
    """

    name: str
    runs: int
    folds: list[int]
    seeds: list[int]
    f1: Interval
    test: Paired | None
    p_value: float | None
    subjects: int


@dataclass(frozen=True)
class Comparison:
    """The methods, the baseline first."""

    methods: list[Method]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "methods": [
                {
                    **{key: value for key, value in vars(one).items() if key not in ("f1", "test")},
                    "F1": one.f1._asdict(),
                    "test": one.test and one.test._asdict(),
                }
                for one in self.methods
            ]
        }

    def show(self) -> str:
        """As text: a line per method."""
        lines = []
        for one in self.methods:
            value, low, high = one.f1
            line = f"F1 {value:.3f} [{low:.3f}, {high:.3f}]  {one.runs} runs (folds {_listed(one.folds)}, seeds {_listed(one.seeds)})"
            if one.test is not None:
                line += (
                    f"  per subject {one.test.difference:+.3f} [{one.test.low:+.3f}, {one.test.high:+.3f}], "
                    f"p {one.p_value:.4f} over {one.subjects} subjects"
                )
            lines.append(f"{one.name}\n  {line}")
        return "\n".join(lines)


def compare(runs: Sequence[str | Path], *, name: str = "test") -> Comparison:
    """Compares the tests of some runs.

    F1 is that of published results: per AU over the faces of a fold, then the mean over AUs, folds and seeds. The paired test
    compares the mean F1 of each subject over its AUs, averaged over seeds, because subjects, not faces, are independent.

    Args:
        runs: run folders, the baseline first.
        name: of the test: `test` or `cross-NAME`.

    Raises:
        UserError: if no run or a run twice is given, a run has no such test, or methods have other faces, AUs, folds or
            subjects.
    """
    folders = paths(runs, name="runs")
    if not folders:
        raise UserError("no run given; give at least one run folder")
    refuse_twice(folders, noun="run")
    read = [_read(folder, name) for folder in folders]
    methods: dict[str, list[TestedRun]] = defaultdict(list)
    for run in read:
        own = {key: value for key, value in run.settings.items() if key not in _OF_A_RUN}
        methods[repr(sorted(own.items(), key=lambda pair: pair[0]))].append(run)
    groups = list(methods.values())
    for group in groups:
        _refuse_unlike(groups[0], group)
    values = [_of_subjects(group) for group in groups]
    common = sorted(set.intersection(*(set(one) for one in values)))
    columns = [np.array([one[subject] for subject in common]) for one in values]
    tests = paired_tests_against_first(columns) if len(groups) > 1 else []
    first = groups[0][0]
    return Comparison(
        [
            Method(
                name=_name(group[0], first),
                runs=len(group),
                folds=sorted({run.settings["fold"] for run in group}),
                seeds=sorted({run.settings["train.seed"] for run in group}),
                f1=_interval(group),
                test=test,
                p_value=p_value,
                subjects=len(common),
            )
            for group, (test, p_value) in zip(groups, [(None, None), *tests], strict=True)
        ]
    )


def _read(run: Path, name: str) -> TestedRun:
    settings = flat(asdict(read_face_config(run)))
    test = read_test(run, name)
    report = read_json_object(run / METRICS / f"{name}.json")
    settings["data"] = _dataset(report, "trained_on")
    counts = count(test.logits >= 0, test.labels, test.subjects)
    faces = _dataset(report, "dataset")
    return TestedRun(run, settings, faces, sorted(set(test.subjects)), counts, test.aus)


def _dataset(report: Mapping[str, Any], key: str) -> str:
    """A dataset by its content, as tests record it."""
    match report.get(key):
        case {"name": str(name), "faces_sha256": str(digest), "crops_sha256": str(crops)}:
            return f"{name} ({digest[:8]}, crops {crops[:8]})"
        case {"name": str(name), "faces_sha256": str(digest)}:  # of version 0.2.0
            return f"{name} ({digest[:8]})"
    return "unknown"


def _refuse_unlike(first: Sequence[TestedRun], group: Sequence[TestedRun]) -> None:
    """Refuses methods that were not tested alike: on the same faces with the same labels, AUs, folds and subjects.

    Raises:
        UserError: naming the runs and the difference.
    """
    for run in group:
        if run.faces != first[0].faces:
            raise UserError(
                f"{first[0].path} and {run.path}: were tested on other faces, {first[0].faces} and {run.faces}; compare runs of "
                "the same dataset"
            )
    for what, of in {
        "AUs": lambda runs: sorted({run.aus for run in runs}),
        "folds": lambda runs: sorted({run.settings["fold"] for run in runs}),
        "subjects": lambda runs: sorted({name for run in runs for name in run.subjects}),
    }.items():
        if of(first) != of(group):
            raise UserError(
                f"{first[0].path} and {group[0].path}: their methods were tested on other {what}; compare runs of the same "
                "dataset and folds"
            )


def _of_subjects(group: Sequence[TestedRun]) -> dict[str, float]:
    """The mean F1 of each subject over its AUs, averaged over runs; without subjects that show no AU."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in group:
        for name, value in zip(run.subjects, f1_of_subjects(run.counts).tolist(), strict=True):
            if not np.isnan(value):
                found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _interval(group: Sequence[TestedRun]) -> Interval:
    """Mean F1 over AUs and runs; each round draws subjects with replacement, the same for all runs tested on them.

    The folds of a dataset have subjects of their own. Runs of several folds that are tested on another dataset share its
    subjects, so they share the draws too.
    """
    generator = np.random.default_rng(0)
    tests: dict[tuple[str, ...], list[TestedRun]] = defaultdict(list)
    for run in group:
        tests[tuple(run.subjects)].append(run)
    samples = np.zeros(_ROUNDS)
    for subjects, runs in tests.items():
        size = len(subjects)
        times = generator.multinomial(size, np.full(size, 1 / size), _ROUNDS)
        for run in runs:
            parts = (times @ part for part in run.counts[:3])
            samples += _f1_of(*parts).mean(1) / len(group)
    value = float(np.mean([f1(run.counts).mean() for run in group]))
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _f1_of(
    true_positive: NDArray[np.int64],
    false_positive: NDArray[np.int64],
    false_negative: NDArray[np.int64],
) -> NDArray[np.float64]:
    whole = 2 * true_positive + false_positive + false_negative
    return np.divide(2 * true_positive, whole, out=np.zeros(whole.shape), where=whole > 0)


def _name(run: TestedRun, first: TestedRun) -> str:
    """The settings in which a run differs from the first."""
    keys = [key for key in run.settings if key not in _OF_A_RUN]
    changed = [
        f"{key}={run.settings[key]}" for key in keys if run.settings[key] != first.settings.get(key)
    ]
    return ", ".join(changed) or run.path.name


def _listed(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
