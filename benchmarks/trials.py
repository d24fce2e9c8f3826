"""Trials of `benchmarks.worth` and `benchmarks.texts`: a method trained on a dataset, its ranks and its cost.

A trial is a run folder. A finished run is reused and an unfinished one is resumed, so a killed experiment continues
with the same command. The design of an experiment is written before its first trial, and a folder of another design is
refused.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from models.config import parse_run_config
from models.machine.launcher import own_state, start_accelerator
from models.prepare import Training, prepare, settled
from models.runs.files import read_run_config
from models.train import train
from toolkit import metrics
from toolkit.errors import UserError
from toolkit.significance import holm, paired_test
from toolkit.store import read_file

Floats = NDArray[np.float64]
METRICS = ("NDCG@10", "HR@10")
QUIET = ("--train.trackers", "[]", "--train.keep_checkpoints", "1")


@dataclass(frozen=True)
class Cost:
    """What an epoch of a method costs.

    Args:
        seconds: wall-clock seconds of a training epoch, the median over the run's epochs. The machine may be shared.
        cpu_seconds: CPU seconds of a training epoch, extrapolated from its first steps; less affected by other work.
        flops: floating-point operations of a training epoch, forward and backward, extrapolated from its first steps:
            matrix products, convolutions and attention, as torch counts them.
        trainable: number of trainable parameters.
        steps: steps per epoch.
    """

    seconds: float
    cpu_seconds: float
    flops: float
    trainable: int
    steps: int


def fix_design(work: Path, design: Mapping[str, Any]) -> None:
    """Writes WORK/design.json before the first trial.

    Raises:
        UserError: if the folder holds an experiment of another design.
    """
    path = work / "design.json"
    text = json.dumps(design, indent=1) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(f"{path}: the folder holds an experiment of another design; use another")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def try_out(dataset: Path, run: Path, words: Sequence[str], *, seed: int) -> Path:
    """Trains a run, or resumes or reuses it. A run that ended with an alarm counts.

    Args:
        dataset: dataset folder.
        run: run folder.
        words: options of `models.train`.
        seed: of initial weights, order and dropout.

    Raises:
        UserError: if training fails.
    """
    if not (run / "metrics" / "test.json").exists():
        where = ["--data", str(dataset), "--output", str(run), "--resume"]
        try:
            train(parse_run_config([*words, *QUIET, "--train.seed", str(seed), *where]))
        except UserError:
            if not (run / "metrics" / "test.json").exists():
                raise
    return run


def rates(**chosen: float) -> list[str]:
    """Options of learning rates by group."""
    return [word for name, rate in chosen.items() for word in (f"--train.rates.{name}", str(rate))]


@dataclass(frozen=True)
class Outcome:
    """What a trial led to.

    Args:
        ranks: rank of each test user's target, (S,), ordered by user id.
    best_epoch: the epoch that was kept.
        alarms: alarms that the run raised, such as collapsed item vectors.
        cost: of an epoch.
    """

    ranks: Floats
    best_epoch: int
    alarms: list[str]
    cost: Cost

    def __str__(self) -> str:
        found = summary(self.ranks)
        told = [f"{name} {show_interval(found[name])}" for name in METRICS]
        return ", ".join([*told, f"kept epoch {self.best_epoch}", *self.alarms])


def outcome_of(run: Path, costs: Path) -> Outcome:
    """The outcome of a finished run, whose cost is measured once and kept in the folder `costs`."""
    ranks = read_file(run / "ranks" / "test.arrow").sort_by("user_id").column("rank").to_numpy()
    log = log_of(run)
    return Outcome(
        ranks,
        next(entry["best_epoch"] for entry in log if "best_epoch" in entry),
        [entry["alarm"] for entry in log if "alarm" in entry],
        kept_cost(run, costs),
    )


def log_of(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def cost_of(run: Path, *, steps: int = 5) -> Cost:
    """Measures a run's cost by training its settings afresh for a few steps; nothing is written to the run.

    Args:
        run: finished run.
        steps: number of steps for CPU seconds and again for operations, after the first, which is not measured.
    """
    config = settled(read_run_config(run))
    with own_state(), torch.random.fork_rng():
        training = prepare(config, start_accelerator())
        batches, count = training.batches, len(training.batches)
        steps = min(steps, count)
        _take(training, 1)
        started = time.process_time()
        _take(training, steps)
        cpu_seconds = (time.process_time() - started) / steps * count
        with FlopCounterMode(display=False) as counter:
            _take(training, steps)
        trainable = training.trainable_parameters
    seconds = [entry["train_seconds"] for entry in log_of(run) if "train_seconds" in entry]
    flops = counter.get_total_flops() / steps * count
    return Cost(statistics.median(seconds), cpu_seconds, flops, trainable, len(batches))


def step_seconds(dataset: Path, words: Sequence[str], *, steps: int = 3) -> tuple[float, int]:
    """Mean wall-clock seconds of a training step after the first, and the number of steps per epoch.

    Args:
        dataset: dataset folder.
        words: options of `models.train`.
        steps: number of measured steps.
    """
    config = parse_run_config([*words, "--data", str(dataset), "--output", "unused"])
    with own_state(), torch.random.fork_rng():
        training = prepare(settled(config), start_accelerator())
        _take(training, 1)
        started = time.perf_counter()
        _take(training, steps)
        return (time.perf_counter() - started) / steps, len(training.batches)


def _take(training: Training, steps: int) -> None:
    """Trains on the first batches of an epoch."""
    for batch in islice(training.batches.epoch(1), steps):
        training.step(batch)


def kept_cost(run: Path, costs: Path) -> Cost:
    """The cost of a run, measured once and kept in the folder `costs`."""
    path = costs / f"{run.name}.json"
    if not path.exists():
        costs.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(cost_of(run)), indent=1) + "\n")
    return Cost(**json.loads(path.read_text()))


def summary(ranks: Floats) -> dict[str, dict[str, float]]:
    """NDCG@10 and HR@10 of (S,) ranks, each with its 95% interval over users: value, low, high."""
    found = metrics.summarise(ranks, (10,))
    return {name: found[name] for name in METRICS}


def comparisons(ranks: Mapping[str, Floats], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Paired tests of NDCG@10, b against a for pairs (a, b), with Holm's correction over the pairs.

    Args:
        ranks: by method, the rank of each test user's target, (S,), users in the same order.
        pairs: of methods.
    """
    gains = {name: metrics.ndcg(of, 10) for name, of in ranks.items()}
    tests = {f"{b} - {a}": paired_test(gains[a], gains[b])._asdict() for a, b in pairs}
    corrected = holm([test["p_value"] for test in tests.values()])
    return {
        name: {**test, "corrected": p_value}
        for (name, test), p_value in zip(tests.items(), corrected, strict=True)
    }


def show_interval(found: Mapping[str, float]) -> str:
    """A value with its interval, in percent."""
    return f"{100 * found['value']:.2f} [{100 * found['low']:.2f}, {100 * found['high']:.2f}]"


def show_paired(found: Mapping[str, float]) -> str:
    """A difference with its interval, in percent, and its p-value after Holm's correction."""
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{100 * found['difference']:+.2f} [{low:.2f}, {high:.2f}], p {found['corrected']:.4f}"


def show_cost(cost: Cost) -> list[str]:
    """The cells of a cost: seconds and CPU seconds of an epoch, GFLOPs of an epoch, trainable parameters."""
    return [
        f"{cost.seconds:.1f}",
        f"{cost.cpu_seconds:.1f}",
        f"{cost.flops / 1e9:,.1f}",
        f"{cost.trainable:,}",
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
