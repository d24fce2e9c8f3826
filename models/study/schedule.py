"""Decides which runs of a study come next, and runs them until none is left."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from models.study.executors import Executor
from models.study.plan import Plan
from models.study.proposals import Tried, count_trials, propose
from models.study.trials import (
    FAILED,
    FINISHED,
    STARTED,
    Task,
    Trial,
    is_tested,
    read_trial,
    write_trial,
)
from toolkit.protocols import Protocol


@dataclass(frozen=True)
class Arm:
    """A method on a split of a dataset: its trials, and the runs of its selected settings.

    Args:
        plan: plan of the study.
        hash: hash of the plan.
        output: folder of the study.
        dataset: name of the dataset.
        split: name of the split.
        method: name of the method.
    """

    plan: Plan
    hash: str
    output: Path
    dataset: str
    split: str
    method: str

    @property
    def name(self) -> str:
        """Dataset, split and method in one word."""
        return f"{self.dataset}/{self.split}/{self.method}"

    @property
    def data(self) -> Path:
        """Folder of the dataset."""
        return Path(self.plan.datasets[self.dataset]).resolve()

    @property
    def folder(self) -> Path:
        """Folder of the runs."""
        return self.output.resolve() / "runs" / self.dataset / self.split / self.method

    @property
    def protocols(self) -> list[Protocol]:
        """The protocols of the split; validation is under the first."""
        return self.plan.splits()[self.split]

    @property
    def count(self) -> int:
        """The number of trials."""
        return count_trials(self.plan.space(self.method), self.plan.trials)

    def record(self, number: int, seed: int | None = None) -> Path:
        """The record of a trial, or of its settings with another seed."""
        return self.folder / f"trial-{number}{'' if seed is None else f'-seed-{seed}'}.json"

    def trials(self) -> list[Trial]:
        """The records of all trials so far, in order; those of a longer, amended search too."""
        records = sorted(self.folder.glob("trial-*.json"))
        found = [
            trial for path in records if "-seed-" not in path.name and (trial := read_trial(path))
        ]
        return sorted(found, key=lambda trial: trial.number)

    def best(self) -> Trial | None:
        """The trial with the highest validation metric, the first of equals; None if every trial failed."""
        finished = [trial for trial in self.trials() if trial.status == FINISHED]
        return max(finished, key=lambda trial: trial.value or 0.0, default=None)

    def selected(self) -> dict[int, Path]:
        """The records of the selected settings by seed; empty if every trial failed."""
        best = self.best()
        if best is None:
            return {}
        return {
            seed: self.record(best.number, None if seed == best.seed else seed)
            for seed in self.plan.seeds
        }


def arms_of(plan: Plan, output: Path) -> list[Arm]:
    """The arms of a study, in the order of its file."""
    digest = plan.digest()
    return [
        Arm(plan, digest, output, dataset, split, method)
        for dataset in plan.datasets
        for split in plan.splits()
        for method in plan.methods
    ]


def run_all(arms: list[Arm], executor: Executor, report: Callable[[str], None]) -> None:
    """Runs everything that a study still lacks.

    Args:
        arms: arms of the study.
        executor: runs the tasks.
        report: receives a line per finished run.
    """
    running: set[Path] = set()
    while True:
        tasks = chain.from_iterable(map(open_tasks, arms))
        while executor.has_room() and (task := next(tasks, None)):
            if task.record not in running:
                running.add(task.record)
                executor.start(task)
        if not running:
            return
        for task, died in executor.wait():
            running.remove(task.record)
            _note_death(task, died)
            report(_describe(task))


def open_tasks(arm: Arm) -> Iterator[Task]:
    """The tasks of an arm that can run now, those that are running included; writes the records of new ones."""
    trials: list[Trial] = []
    for number in range(1, arm.count + 1):
        trial = read_trial(arm.record(number))
        if trial is None:
            waits = arm.plan.sampler == "tpe" and any(t.status == STARTED for t in trials)
            if waits:
                return
            trial = _begin_trial(arm, number, trials)
        trials.append(trial)
        if trial.status == STARTED:
            yield Task(arm.record(number), arm.data)
    if all(trial.status != STARTED for trial in arm.trials()):
        yield from _open_tests(arm)


def _open_tests(arm: Arm) -> Iterator[Task]:
    for seed, record in arm.selected().items():
        trial = read_trial(record) or _begin_seed(arm, record, seed)
        run = record.with_suffix("")
        untested = [
            protocol
            for protocol in arm.protocols
            if protocol.name not in trial.untestable and not is_tested(run, protocol)
        ]
        if trial.status == STARTED or (trial.status == FINISHED and untested):
            yield Task(record, arm.data, tuple(arm.protocols))


def _begin_trial(arm: Arm, number: int, before: list[Trial]) -> Trial:
    plan = arm.plan
    settings = propose(
        plan.space(arm.method),
        [Tried(trial.settings, trial.value) for trial in before],
        number=number - 1,
        trials=plan.trials,
        sampler=plan.sampler,
        seed=f"{plan.search_seed}/{arm.name}",
    )
    return _begin(
        arm, arm.record(number), number, plan.seeds[0], settings, plan.words(arm.method, settings)
    )


def _begin_seed(arm: Arm, record: Path, seed: int) -> Trial:
    """The selected trial with another seed, and all else as it was."""
    best = arm.best()
    assert best is not None  # its record has a seed
    own = ("--train.seed=", "--protocol=")
    words = [word for word in best.words if not word.startswith(own)]
    return _begin(arm, record, best.number, seed, best.settings, words)


def _begin(
    arm: Arm, record: Path, number: int, seed: int, settings: Mapping[str, Any], words: list[str]
) -> Trial:
    protocol = arm.protocols[0].record
    own = [
        f"--protocol={protocol if isinstance(protocol, str) else json.dumps(protocol)}",
        f"--train.seed={seed}",
    ]
    study = {"hash": arm.hash, "dataset": arm.dataset, "split": arm.split, "method": arm.method,
             "trials": arm.count, "trial": number}  # fmt: skip
    trial = Trial(number, seed, dict(settings), [*words, *own], study)
    write_trial(record, trial)
    return trial


def _note_death(task: Task, died: str) -> None:
    """Records that the process of a run ended without a result, so that the run counts as failed."""
    trial = read_trial(task.record)
    if trial is None:
        return
    if trial.status == STARTED:
        message = died or "its process ended without a result"
        write_trial(task.record, trial, status=FAILED, message=message)
    elif died:
        names = [p.name for p in task.protocols if not is_tested(task.run, p)]
        untestable = {**trial.untestable, **dict.fromkeys(names, died)}
        write_trial(task.record, trial, untestable=untestable)


def _describe(task: Task) -> str:
    trial = read_trial(task.record)
    assert trial is not None
    name = "/".join(task.run.parts[-4:])
    if trial.status == FAILED:
        return f"{name}: failed: {trial.message}"
    done = [protocol.name for protocol in task.protocols if protocol.name not in trial.untestable]
    tested = f", tested under {', '.join(done)}" if done else ""
    tested += "".join(
        f"; under {key} the test failed: {why}" for key, why in trial.untestable.items()
    )
    epochs = "" if trial.epochs is None else f", {trial.epochs} epochs"
    return f"{name}: valid {trial.value:.4f}{epochs}, {trial.seconds:.1f} s{tested}"
