"""One training step: the loss of a batch, its gradients and, at an update, the optimizer.

`Step` makes it call by call; `GraphStep` records it once for each size of batch and replays the record on the GPU,
because there the launches of a small model's kernels from Python take longer than the kernels.
"""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models.inputs.batch import Batch
from models.machine.tensors import tensors_of

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


class Step:
    """Trains on one batch.

    Args:
        accelerator: of the run.
        model: prepared by it: `model(batch)` is the loss.
        optimizer: prepared by it.
        clip_norm: gradients are scaled down to this norm where theirs is larger; 0 does not.
    """

    def __init__(
        self, accelerator: Accelerator, model: nn.Module, optimizer: Any, *, clip_norm: float
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm

    def __call__(self, batch: Batch, *, is_update: bool = True) -> Tensor:
        """The batch's loss, a scalar without a graph; where it is no update, gradients are only added up.

        Its gradients count by the batch's share in the update.
        """
        with nullcontext() if is_update else self.accelerator.no_sync(self.model):
            loss = self.model(batch)
            self.accelerator.backward(loss if batch.share == 1 else loss * batch.share)
        if is_update:
            if self.clip_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class GraphStep:
    """A `Step` that is recorded once for each size of batch, and replayed from then on.

    The first batch of a size is trained on as it comes, so that all that is made at first use is there; the second is
    recorded and replayed. Batches must have `fixed_sizes`, so that sizes are few; every step is an update; and
    the optimizer is one that can be recorded (`models.training.optimizer`).

    Args:
        step: what is recorded.
        record: gives what replays a function, and the tensor that its result then lies in.
    """

    def __init__(self, step: Step, record: Record) -> None:
        self.step = step
        self.record = record
        self.graphs: dict[tuple[Any, ...], _Graph | None] = {}

    def __call__(self, batch: Batch, *, is_update: bool = True) -> Tensor:
        """The batch's loss, a scalar without a graph.

        Raises:
            ValueError: if gradients are only to be added up.
        """
        if not is_update:
            raise ValueError("a recorded step is an update; gradients cannot be accumulated")
        size = tuple((tensor.shape, tensor.dtype) for tensor in tensors_of(batch))
        if size not in self.graphs:
            self.graphs[size] = None
            return self.step(batch)
        graph = self.graphs[size] = self.graphs[size] or _Graph(self.step, batch, self.record)
        return graph(batch)


class _Graph:
    """One size's record, with the batch that it reads."""

    def __init__(self, step: Step, batch: Batch, record: Record) -> None:
        self.batch = deepcopy(batch)
        self.replay, self.loss = record(lambda: step(self.batch))

    def __call__(self, batch: Batch) -> Tensor:
        for here, new in zip(tensors_of(self.batch), tensors_of(batch), strict=True):
            here.copy_(new, non_blocking=True)
        self.replay()
        return self.loss.clone()


def gpu_recorder() -> Record:
    """Records what a function launches on the current GPU, as a CUDA graph. All its graphs share one pool of memory.

    They may, because nothing that one leaves there is read after another was replayed. The thread that makes
    batches ahead may go on copying while one is recorded.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result

    return record
