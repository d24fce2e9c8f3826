"""One training step: the loss of a batch, its gradients and, at an update, the optimizer.

`Step` runs it call by call. `GraphStep` records it once per size of batch as a CUDA graph and replays the graph,
because on a GPU the launches of a small model's kernels from Python take longer than the kernels.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models.machine.tensors import tensors_of

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


class TrainingBatch(Protocol):
    """What a step requires of a batch; the rest is between the batch and the model."""

    @property
    def share(self) -> float:
        """The weight of its loss in its update; 1 unless gradients are accumulated."""
        ...


class TrainingBatches(Protocol):
    """What a training loop requires of its data, in one process (`models.inputs.batches.Batches`)."""

    @property
    def accumulation(self) -> int:
        """Batches per update of the weights."""
        ...

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch (from 1), from the one with index `first` on: always the same for the same epoch."""
        ...

    def ends_update(self, number: int) -> bool:
        """Whether an update of the weights follows the batch with this index (from 0)."""
        ...


class Step:
    """Trains on one batch.

    Args:
        accelerator: of the run.
        model: prepared by the accelerator: `model(batch)` is the loss.
        optimizer: prepared by the accelerator.
        clip_norm: gradients of a larger norm are scaled down to this norm; 0 turns clipping off.
        after_backward: called after each backward pass, with whether an update follows: what completes the gradients of
            a model that no wrapper synchronises.
        check: called before an update with the gradients of all processes, until it returns true.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Any,
        *,
        clip_norm: float = 0.0,
        after_backward: Callable[[bool], None] | None = None,
        check: Callable[[], bool] | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.after_backward = after_backward
        self.check = check

    def __call__(self, batch: TrainingBatch, *, is_update: bool = True) -> Tensor:
        """The loss of the batch, a scalar without a graph.

        Gradients are weighed by the batch's share in its update.

        Args:
            batch: of this process.
            is_update: whether the weights are updated now; otherwise the gradients are only added up.
        """
        with nullcontext() if is_update else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():  # which Accelerate also puts around what it wraps
                loss = self.model(batch)
            self.accelerator.backward(loss if batch.share == 1 else loss * batch.share)
        if self.after_backward is not None:
            self.after_backward(is_update)
        if is_update:
            if self.check is not None and self.check():
                self.check = None
            if self.clip_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class GraphStep:
    """A `Step` that is recorded once per size of batch, and replayed from then on.

    The first batch of a size is trained on without recording, so that everything that PyTorch allocates at first use
    exists; the second is recorded and replayed. Batches must come in few sizes (`Batches.fixed_sizes`), every step is
    an update, and the optimizer must be capturable (`models.training.optimizer.make_optimizer`).

    Args:
        step: the step to record.
        record: returns a function that replays its argument, and the tensor that holds the result after a replay.
    """

    def __init__(self, step: Step, record: Record) -> None:
        self.step = step
        self.record = record
        self.graphs: dict[tuple[Any, ...], _Graph | None] = {}

    def __call__(self, batch: TrainingBatch, *, is_update: bool = True) -> Tensor:
        """The loss of the batch, a scalar without a graph.

        Raises:
            ValueError: if the step is not an update.
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
    """The recorded step of one size, with the batch that it reads."""

    def __init__(self, step: Step, batch: TrainingBatch, record: Record) -> None:
        self.batch = deepcopy(batch)
        self.replay, self.loss = record(lambda: step(self.batch))

    def __call__(self, batch: TrainingBatch) -> Tensor:
        for here, new in zip(tensors_of(self.batch), tensors_of(batch), strict=True):
            here.copy_(new, non_blocking=True)
        self.replay()
        return self.loss.clone()


def gpu_recorder() -> Record:
    """Records what a function launches on the current GPU as a CUDA graph. All graphs share one memory pool.

    Sharing is safe because no result of one graph is read after another was replayed. The thread that prefetches
    batches may go on copying while a graph is recorded.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result

    return record
