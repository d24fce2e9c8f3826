"""Notices a loss that is not finite, in any process, without making the loop wait for the GPU at each step."""

import torch
from accelerate import Accelerator
from torch import Tensor

from models.inputs.batches import Batches
from models.training.checkpoints import Checkpoints, Place
from toolkit.errors import UserError

NEVER = 2**62
SHOWN = 10


class Divergence:
    """Remembers the first step whose loss was not finite; `check` stops all processes if there was one.

    Args:
        accelerator: of the run.
        batches: of this process.
        checkpoints: which are told of.
        place: where the run stands; read at each step.
        user_ids: of the rows of `train`, for messages.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        batches: Batches,
        checkpoints: Checkpoints,
        place: Place,
        user_ids: list[str],
    ) -> None:
        self.accelerator = accelerator
        self.user_ids = user_ids
        self.batches = batches
        self.checkpoints = checkpoints
        self.place = place
        self.first = torch.full((1,), NEVER, device=accelerator.device)

    def note(self, loss: Tensor) -> None:
        """Looks at one step's loss, where it lies."""
        step = torch.where(torch.isfinite(loss.detach()), NEVER, self.place.step)
        self.first = torch.minimum(self.first, step)

    def check(self) -> None:
        """Waits for what was noted; all processes call it.

        Raises:
            UserError: in all of them, naming step, process, users of the batch and the last checkpoint.
        """
        firsts = self.accelerator.gather(self.first).tolist()
        step = min(firsts)
        if step == NEVER:
            return
        rank = firsts.index(step)
        number = self.place.batch - 1 - (self.place.step - step)
        users = [self.user_ids[row] for row in self.batches.rows(self.place.epoch, number, rank)]
        more = f", ... ({len(users)} in all)" if len(users) > SHOWN else ""
        raise UserError(
            f"step {step}, epoch {self.place.epoch}: the loss of process {rank} is not finite; its batch has the "
            f"users {', '.join(users[:SHOWN])}{more}; {self.checkpoints.last()}. Lower the learning rates "
            "(--train.rates....) or set --train.clip_norm, in another folder"
        )
