"""Detects a loss that is not finite, in any process, without waiting for the GPU at each step."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from models.training.checkpoints import Checkpoints, Place
from toolkit.errors import UserError

NEVER = 2**62
SHOWN = 10

SamplesOf = Callable[[int, int, int], list[str]]


class Divergence:
    """Remembers the first step whose loss was not finite; `check` stops all processes if there was one.

    Args:
        accelerator: of the run.
        checkpoints: of the run; the error names the last one.
        place: the current position of the run; read at each step.
        samples_of: names the samples that a process trains on in a step: from the epoch (from 1), the batch's index in
            it (from 0) and the process's rank. It is called in every process, and only for the error.
        noun: what these samples are, in the plural.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        place: Place,
        samples_of: SamplesOf,
        *,
        noun: str = "samples",
    ) -> None:
        self.accelerator = accelerator
        self.checkpoints = checkpoints
        self.place = place
        self.samples_of = samples_of
        self.noun = noun
        self.first = torch.full((1,), NEVER, device=accelerator.device)

    def note(self, loss: Tensor) -> None:
        """Records whether the loss of the current step is finite, on the loss's own device."""
        step = torch.where(torch.isfinite(loss.detach()), NEVER, self.place.step)
        self.first = torch.minimum(self.first, step)

    def check(self) -> None:
        """Waits for the recorded losses; all processes call it.

        Raises:
            UserError: in all processes, naming the step, the process, the samples of its batch and the last checkpoint.
        """
        firsts = self.accelerator.gather(self.first).tolist()
        step = min(firsts)
        if step == NEVER:
            return
        rank = firsts.index(step)
        batch = self.place.batch - 1 - (self.place.step - step)
        samples = self.samples_of(self.place.epoch, batch, rank)
        more = f", ... ({len(samples)} in all)" if len(samples) > SHOWN else ""
        raise UserError(
            f"step {step}, epoch {self.place.epoch}: the loss of process {rank} is not finite; its batch has the "
            f"{self.noun} {', '.join(samples[:SHOWN])}{more}; {self.checkpoints.last()}. Lower the learning rates "
            "(--train.rates....) or set --train.clip_norm, in another folder"
        )
