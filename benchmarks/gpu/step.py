"""Seconds of a training epoch at the paper's size: plain, compiled, with CUDA graphs, and in each precision."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from benchmarks.gpu.made import TOWERS, Size
from models.config import RunConfig, parse_run_config
from models.efficiency import synchronize, time_epoch
from models.prepare import Training, prepare
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.training.step import GraphStep, Step

COMPARED_STEPS = 30
GOAL_SECONDS, GOAL_MIB = 0.5, 1000  # of an epoch at the paper's size, in the fastest way


def measure(
    work: Path, size: Size, *, precision: str, compiled: bool, graphs: bool
) -> dict[str, Any]:
    """Seconds per epoch, milliseconds per step, peak memory, the first losses without dropout, and seconds of an evaluation."""
    plan = {"precision": precision, "compiled": compiled, "graphs": graphs}
    losses = _first_losses(work, size, **plan)
    _forget()
    started = time.perf_counter()
    training, accelerator = prepared(settings(work, size, **plan), graphs=graphs)
    time_epoch(training.step, training.batches, 1, device=accelerator.device)
    ready = time.perf_counter() - started
    seconds = [
        time_epoch(training.step, training.batches, 2 + n, device=accelerator.device)
        for n in range(size.epochs)
    ]
    middle = sorted(seconds)[len(seconds) // 2]
    return {
        "epoch_seconds": seconds,
        "goal": {"epoch_seconds": GOAL_SECONDS, "peak_memory_mib": GOAL_MIB},
        "step_ms": 1e3 * middle / len(training.batches),
        "steps": len(training.batches),
        "first_epoch_with_start_seconds": ready,
        "peak_memory_mib": _peak_mib(),
        "sizes": len(training.step.graphs) if isinstance(training.step, GraphStep) else None,
        "evaluation_seconds": _evaluation(training, accelerator),
        "losses": losses,
    }


def settings(
    work: Path, size: Size, *, precision: str, compiled: bool, graphs: bool, dropout: float = 0.1
) -> RunConfig:
    """Recipe `paper` over the random states."""
    words = ["--config=paper", f"--data={work / 'data'}", "--output=none"]
    words += [f"--towers=[{', '.join(TOWERS)}]", f"--train.batch_size={size.batch}"]
    words += [f"--train.mixed_precision={precision}", f"--sequence.dropout={dropout}"]
    words += [f"--train.compile={str(compiled).lower()}"]
    if torch.cuda.is_available():
        words += [f"--train.cuda_graphs={str(graphs).lower()}"]
    return parse_run_config(words)


def prepared(config: RunConfig, *, graphs: bool) -> tuple[Training, Accelerator]:
    """The parts of a run. Without a GPU, a CUDA graph is simulated: the step's work is recorded and replayed."""
    accelerator = Accelerator(mixed_precision=config.train.mixed_precision)
    training = prepare(config, accelerator)
    if graphs and not torch.cuda.is_available():
        training.batches.fixed_sizes = True
        assert isinstance(training.step, Step)
        training = replace(training, step=GraphStep(training.step, _rehearse))
    return training, accelerator


def _first_losses(work: Path, size: Size, **plan: Any) -> list[float]:
    """Losses of the first steps without dropout, on which the variants must agree."""
    training, _ = prepared(settings(work, size, dropout=0.0, **plan), graphs=plan["graphs"])
    losses = [training.step(batch) for batch in islice(training.batches.epoch(1), COMPARED_STEPS)]
    return [float(loss) for loss in losses]


def _evaluation(training: Training, accelerator: Accelerator) -> float:
    """Seconds of the second of two full evaluations: catalogue encoded, all users ranked."""
    training.model.eval()
    training.features.same_as()
    seconds = []
    for _ in range(2):
        synchronize(accelerator.device)
        started = time.perf_counter()
        catalogue = encode_catalogue(
            training.model, training.features, training.splits.catalogue, device=accelerator.device
        )
        rank_targets(training.model, catalogue, training.splits.test)
        seconds.append(time.perf_counter() - started)
    return seconds[-1]


def _forget() -> None:
    """Frees unused memory and resets its peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def _rehearse(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    result = torch.full((), torch.nan)

    def replay() -> None:
        result.copy_(work())

    return replay, result
