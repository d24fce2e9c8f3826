"""What every trainer does before its loop: the accelerator, the run folder, and the position from which it trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import nn

from models.machine.launcher import own_state, start_accelerator
from models.machine.parallel import decided_by_first
from models.machine.precision import Precision
from models.runs.begin import Beginning, ReadSettings, Settings, begin, record_beginning
from models.training.checkpoints import Checkpoints, Place
from models.training.log import RunLog
from models.training.trackers import start_trackers, tracker_options


@contextmanager
def claim(
    output: Path,
    *,
    settings: Settings,
    read_settings: ReadSettings,
    free_to_change: Set[str],
    resume: bool,
    mixed_precision: Precision,
    trackers: Sequence[str],
    shards: bool = False,
) -> Iterator[tuple[Accelerator, Beginning]]:
    """Starts an accelerator and locks the run folder for the block.

    Afterwards the random state and Accelerate's state of the process are as before.

    Args:
        output: run folder.
        settings: settings of this call, nested (`dataclasses.asdict`).
        read_settings: reads the settings of an existing run from its folder, in the same shape.
        free_to_change: flat keys that a resumed run may change (`models.runs.begin.begin`).
        resume: whether to resume a run in the folder.
        mixed_precision: settled (`models.machine.launcher.settle_launch`).
        trackers: names of the run's trackers.
        shards: whether the trainer shards what the launcher asks to shard.

    Yields:
        The accelerator, and how the run begins.

    Raises:
        UserError: if the machine does not support the settings, or the run can neither start nor resume in the folder.
    """
    with own_state(), ExitStack() as held:
        accelerator = start_accelerator(
            mixed_precision=mixed_precision, shards=shards, **tracker_options(trackers, output)
        )
        beginning = decided_by_first(
            lambda: begin(
                output,
                held,
                settings=settings,
                read_settings=read_settings,
                free_to_change=free_to_change,
                resume=resume,
                processes=accelerator.num_processes,
            )
        )
        device = accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield accelerator, beginning


class Position(NamedTuple):
    """Where a run stands, and what records how it goes on.

    Args:
        place: the start, or the position of the newest checkpoint.
        checkpoints: of the run.
        log: of the run.
    """

    place: Place
    checkpoints: Checkpoints
    log: RunLog


def take_up(
    beginning: Beginning,
    output: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    *,
    title: str,
    resume: bool,
    keep_checkpoints: int,
    trackers: Sequence[str],
    settings: Mapping[str, Any],
    config_text: str,
    describe: Callable[[], dict[str, Any]],
) -> Position:
    """Restores the newest checkpoint of a resumed run, records the beginning, and opens the log and the trackers.

    Args:
        beginning: how the run begins (`claim`).
        output: run folder.
        accelerator: of the run.
        model: the unwrapped model.
        optimizer: prepared by the accelerator.
        title: first line that the run prints.
        resume: whether to resume a run in the folder.
        keep_checkpoints: number of newest checkpoints to keep.
        trackers: names of the run's trackers.
        settings: of the run, for its trackers.
        config_text: content of config.yaml.
        describe: returns the content of environment.json; called for a new run only.

    Raises:
        UserError: if no checkpoint is intact, or one does not fit the model.
    """
    log = RunLog(output, enabled=accelerator.is_main_process)
    checkpoints = Checkpoints(
        output,
        keep=keep_checkpoints,
        model=model,
        optimizer=optimizer.optimizer,
        scaler=accelerator.scaler,
    )
    place = (checkpoints.resume() if resume else None) or Place()
    record_beginning(
        beginning, output, accelerator, place, config_text=config_text, describe=describe
    )
    log.go_back_to(place.step)
    start_trackers(accelerator, trackers, output, log, settings)
    log.print(title)
    if resume:
        log.print(f"resuming at epoch {place.epoch}, step {place.step:,}")
    return Position(place, checkpoints, log)
