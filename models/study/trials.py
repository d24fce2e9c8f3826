"""A trial: a run of a method with proposed settings, and the record beside its folder.

The record of run folder `trial-3` is `trial-3.json`. The study writes it before the run starts, with everything that decides
the run, and the process of the run completes it. A record without a result is of a run that was interrupted, which goes on
from its checkpoint.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from models.machine.parallel import decided_by_first, rank_and_world
from toolkit.errors import UserError
from toolkit.json_files import read_json_object, write_json
from toolkit.protocols import Protocol

STARTED, FINISHED, FAILED = "started", "finished", "failed"
_LOCK_SECONDS = 60.0  # a worker of a killed study may need some seconds to end


class Task(NamedTuple):
    """Work of one process: training a run, then testing it.

    Args:
        record: file of the record.
        data: dataset folder.
        protocols: protocols of the test; empty for a trial that is not selected (yet).
    """

    record: Path
    data: Path
    protocols: tuple[Protocol, ...] = ()

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.record.with_suffix("")


@dataclass(frozen=True)
class Trial:
    """The record of a run.

    Args:
        number: number of the trial, from 1.
        seed: seed of the run.
        settings: searched settings, by dotted key.
        words: arguments of `models.train` without `--data` and `--output`, so that both folders may move.
        study: hash of the plan under which the run started, dataset, split, method and number of trials.
        status: `started`, `finished` or `failed`.
        value: validation metric of the best epoch; None without a result.
        best_epoch: the epoch that was kept; None if the model has no epochs.
        epochs: number of epochs; None if the model has no epochs.
        seconds: seconds of training.
        ended_by: `epochs`, `patience` or `max_seconds`; empty if the model has no epochs.
        message: why the run failed, or an alarm that it ended with.
        untestable: by protocol, why the test failed.
    """

    number: int
    seed: int
    settings: dict[str, Any]
    words: list[str]
    study: dict[str, Any]
    status: str = STARTED
    value: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    seconds: float = 0.0
    ended_by: str = ""
    message: str = ""
    untestable: dict[str, str] = field(default_factory=dict)


def read_trial(record: Path) -> Trial | None:
    """Reads a record; None if there is none.

    Raises:
        UserError: if the file is damaged.
    """
    if not record.exists():
        return None
    values = read_json_object(record)
    try:
        return Trial(**values)
    except TypeError as error:
        raise UserError(
            f"{record}: not the record of a trial ({error}); restore the file, or delete it and the run folder beside it"
        ) from None


def write_trial(record: Path, trial: Trial, **changes: Any) -> None:
    """Writes a record with changes."""
    write_json(record, {**vars(trial), **changes})


def work(task: Task, metric: str, threads: int) -> None:
    """Trains the run of a record and tests it, as far as that is not done; output goes to a file beside the record.

    Processes that train the run together all call this.

    Args:
        task: the record, which states the run, and the protocols of the test.
        metric: validation metric that becomes the trial's value.
        threads: threads of torch; 0 leaves them as they are.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    with _output_to(task.record.with_suffix(".log")):
        trial = decided_by_first(lambda: read_trial(task.record))
        if trial and trial.status == STARTED:
            trial = _train(task, trial, metric)
        if trial and trial.status == FINISHED:
            _test(task, trial)


def _train(task: Task, trial: Trial, metric: str) -> Trial:
    from models.config import parse_run_config
    from models.train import train

    run, message = task.run, ""
    decided_by_first(lambda: _wait_for_killed(run))
    try:
        where = [f"--data={task.data}", f"--output={run}", "--resume"]
        train(parse_run_config([*trial.words, *where]), record={"study": trial.study})
    except Exception as error:  # of this run; the study goes on
        _end_with_others(error)
        message = _message(error, task)
        if not decided_by_first(lambda: has_ended(run)):
            return _completed(task, trial, status=FAILED, message=message)
    outcome = decided_by_first(lambda: outcome_of(run, metric))
    return _completed(task, trial, status=FINISHED, message=message, **outcome)


def _wait_for_killed(run: Path) -> None:
    """Waits until the process of a killed study has left the run."""
    from toolkit.lock import LOCKS, locked

    if (run / LOCKS).is_dir():
        with locked(run, "training", wait_seconds=_LOCK_SECONDS):
            pass


def _completed(task: Task, trial: Trial, **changes: Any) -> Trial:
    """The trial with changes, as its record states it now."""
    completed = replace(trial, **changes)
    decided_by_first(lambda: write_trial(task.record, completed))
    return completed


def has_ended(run: Path) -> bool:
    """Whether a run has trained to its end, even if with an alarm."""
    from models.training.log import read_log

    return (run / "metrics" / "valid.json").exists() and any(
        "best_epoch" in entry for entry in read_log(run)
    )


def outcome_of(run: Path, metric: str) -> dict[str, Any]:
    """The part of a record that a finished run decides."""
    from models.runs.files import log_lines, read_report

    report, lines = read_report(run / "metrics" / "valid.json"), log_lines(run)
    last: dict[str, Any] = next((entry for entry in reversed(lines) if "best_epoch" in entry), {})
    evaluated = [entry for entry in lines if "valid" in entry]
    return {
        "value": report["metrics"][metric]["value"],
        "best_epoch": last.get("best_epoch"),
        "epochs": len(evaluated) if last else None,
        "seconds": last.get(
            "trained_seconds", sum(entry.get("train_seconds", 0.0) for entry in evaluated)
        ),
        "ended_by": last.get("ended_by", ""),
    }


def _test(task: Task, trial: Trial) -> None:
    """Tests a selected run under each protocol. What has been tested is not read again."""
    import torch

    from models.evaluate import measure
    from models.runs.run import load_own

    run = task.run
    missing = decided_by_first(
        lambda: [
            p for p in task.protocols if p.name not in trial.untestable and not is_tested(run, p)
        ]
    )
    if not missing:
        return
    trained = load_own(run, data=task.data, device="cuda" if torch.cuda.is_available() else "cpu")
    untestable = dict(trial.untestable)
    for protocol in missing:
        try:
            measure(trained, run, protocol=protocol, progress=False)
        except Exception as error:  # such as no cold target; other protocols go on
            _end_with_others(error)
            untestable[protocol.name] = _message(error, task)
    if untestable != trial.untestable:
        _completed(task, trial, untestable=untestable)


def is_tested(run: Path, protocol: Protocol) -> bool:
    """Whether a run has been evaluated on the test split under a protocol."""
    from models.results.evaluations import read_evaluation

    try:
        read_evaluation(run, "test", protocol)
    except UserError:
        return False
    return True


def _end_with_others(error: Exception) -> None:
    """Raises an error that perhaps one of several processes has alone: it ends, and the launcher ends those that wait."""
    if rank_and_world()[1] > 1 and not isinstance(error, UserError):
        raise error


def _message(error: Exception, task: Task) -> str:
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return str(error)
    traceback.print_exc()
    return f"{type(error).__name__}: {error} (traceback in {task.run.name}.log)"


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Appends stdout and stderr of the process, those of libraries included, to a file."""
    sys.stdout.flush(), sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    streams = sys.stdout, sys.stderr
    with os.fdopen(descriptor, "a", buffering=1) as file:
        for number, _ in saved:
            os.dup2(descriptor, number)
        sys.stdout = sys.stderr = file
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
