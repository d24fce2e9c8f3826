"""The loop over the steps of an epoch, which all trainers share: exact resume has one implementation."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from accelerate import Accelerator
from torch import Tensor

from models.machine.parallel import adopt_buffers, decided_by_first
from models.schedule import Schedule, rate_factor
from models.training.checkpoints import Checkpoints, Place
from models.training.divergence import Divergence
from models.training.log import RunLog
from models.training.optimizer import rates_now, set_rates
from models.training.step import TrainingBatches
from models.training.stopping import Stopped, Stopping
from toolkit.console.progress import track
from toolkit.prefetch import Waiting


class TrainingStep(Protocol):
    """What the loop requires of a step (`models.training.step.Step`)."""

    def __call__(self, batch: Any, *, is_update: bool) -> Tensor:
        """The loss of the batch, a scalar without a graph."""
        ...


class Trained(NamedTuple):
    """The training of an epoch, or of its rest after a resumption.

    Args:
        seconds: time of its steps.
        waiting: how much of this time was spent waiting for batches.
    """

    seconds: float
    waiting: Waiting[Any]

    @property
    def times(self) -> dict[str, float]:
        """The entries of these times in log.jsonl."""
        return {"train_seconds": self.seconds, "waited_seconds": self.waiting.waited_seconds}


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Trains one epoch after another, from the position of the run on. All processes call its methods.

    Args:
        accelerator: of the run.
        step: trains on a batch.
        batches: of this process.
        optimizer: prepared by the accelerator.
        place: position of the run, which the loop advances.
        checkpoints: of the run.
        log: of the run.
        watch: detects losses that are not finite.
        epochs: most epochs of the run, on which learning rates depend.
        schedule: learning rates after the warm-up (`models.schedule.rate_factor`).
        warmup_updates: updates of the warm-up.
        log_every_steps: steps between entries in the log.
        checkpoint_every_steps: steps between checkpoints within an epoch; 0 writes none there.
        after_log: called after each entry.
    """

    accelerator: Accelerator
    step: TrainingStep
    batches: TrainingBatches
    optimizer: Any
    place: Place
    checkpoints: Checkpoints
    log: RunLog
    watch: Divergence
    epochs: int
    schedule: Schedule
    warmup_updates: int
    log_every_steps: int
    checkpoint_every_steps: int
    after_log: Callable[[], None] = lambda: None

    def train_epoch(self, stopping: Stopping) -> Trained:
        """Trains on the batches of the current epoch that are not done yet.

        Raises:
            Stopped: after an update and its checkpoint, if a process has caught a signal.
            UserError: if a loss is not finite.
        """
        place, batches = self.place, self.batches
        started, seconds_before = time.perf_counter(), place.seconds
        waiting = Waiting[Any]()
        bar = track(
            waiting.over(batches.epoch(place.epoch, first=place.batch)),
            f"epoch {place.epoch}",
            total=len(batches) - place.batch,
            enabled=self.accelerator.is_main_process,
        )
        for batch in bar:
            is_update = batches.ends_update(place.batch)
            set_rates(self.optimizer, self._rate_factor())
            place.batch += 1
            place.step += 1
            loss = self.step(batch, is_update=is_update)
            self.watch.note(loss)
            if place.step % self.log_every_steps == 0 or place.step == 1:
                self._log(loss)
            stopped = is_update and stopping.signal()
            if (is_update and self._checkpoint_is_due()) or stopped:
                self.watch.check()
                place.seconds = seconds_before + time.perf_counter() - started
                self.checkpoints.save(place)
            if stopped:
                self.log.print(
                    f"stopped by {signal.Signals(stopped).name} after step {place.step:,}, which is kept; go on "
                    "with the same command and --resume"
                )
                raise Stopped(stopped)
        self.watch.check()
        adopt_buffers(self.checkpoints.model)
        seconds = time.perf_counter() - started
        place.seconds = seconds_before + seconds
        place.seconds = decided_by_first(lambda: place.seconds)  # one clock for all processes
        return Trained(seconds, waiting)

    def end_epoch(self) -> None:
        """Advances to the next epoch, and writes a checkpoint."""
        self.place.epoch, self.place.batch = self.place.epoch + 1, 0
        self.checkpoints.save(self.place)

    def _rate_factor(self) -> float:
        """The factor of the learning rates in the update that the next batch belongs to."""
        updates_per_epoch = -(-len(self.batches) // self.batches.accumulation)
        done = self.place.batch // self.batches.accumulation
        return rate_factor(
            (self.place.epoch - 1) * updates_per_epoch + done,
            total=self.epochs * updates_per_epoch,
            warmup=self.warmup_updates,
            schedule=self.schedule,
        )

    def _log(self, loss: Tensor) -> None:
        self.watch.check()
        mean = float(self.accelerator.reduce(loss, reduction="mean"))
        now, rates = self.place, rates_now(self.optimizer)
        self.log.write(step=now.step, epoch=now.epoch, loss=mean, rates=rates)
        self.after_log()

    def _checkpoint_is_due(self) -> bool:
        """Whether a checkpoint follows the batch that is done; the epoch's end has its own."""
        every, place = self.checkpoint_every_steps, self.place
        return bool(every) and place.step % every == 0 and place.batch < len(self.batches)
