"""Executor for many machines: Ray Data on a running cluster, or on a temporary cluster of this machine.

Every worker reads the dump, the dataset and local encoders under the same paths as this process, so several machines
need a shared file system. Only this process writes.
"""

import logging
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from toolkit import ray_cluster
from toolkit.errors import UserError

# Ray would restart a worker endlessly if an item kills it.
_NO_RESTART = {"max_restarts": 0, "max_task_retries": 0}


def in_cluster(
    work: Callable[[pa.RecordBatch], pa.Table],
    batches: Sequence[pa.RecordBatch],
    *,
    address: str | None = None,
    workers: int = 0,
    model: bool = False,
    gpus_per_worker: float = 0,
) -> Generator[pa.Table, None, None]:
    """Runs batches in the workers of a cluster; yields results in the order of the batches as they finish.

    Args:
        work: function of a batch; each worker has its own copy.
        batches: batches of items.
        address: address of a running cluster, as for `cluster`.
        workers: number of workers; 0 uses as many as fit.
        model: whether a worker holds a model; without GPUs it then uses all cores of a machine
            instead of one.
        gpus_per_worker: number of GPUs, or a fraction of one, per worker.

    Raises:
        UserError: if Ray is not installed, there is no such cluster, no worker fits, or a worker dies.
    """
    if not batches:
        return
    with cluster(address):
        import ray.util.annotations

        cpus, capacity = _capacity(model=model, gpus_per_worker=gpus_per_worker)
        size = min(workers or capacity, capacity, len(batches))
        packed = ray.data.from_arrow([_pack(batch) for batch in batches])
        with warnings.catch_warnings():
            # Up to Ray 2.63, only `ray_remote_args_fn` can limit restarts.
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
            results = packed.map_batches(
                _Worker,
                fn_constructor_args=(work,),
                compute=ray.data.ActorPoolStrategy(size=size),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=cpus,
                num_gpus=gpus_per_worker or None,
                ray_remote_args_fn=lambda: _NO_RESTART,
            )
        with _plain_errors():
            yield from results.iter_batches(batch_size=None, batch_format="pyarrow")


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Connects to a cluster for Ray Data (`toolkit.ray_cluster.cluster`) until the block ends.

    Args:
        address: HOST:PORT of a running cluster, or `auto` for the running cluster of this machine.

    Raises:
        UserError: if Ray is not installed, or there is no such cluster.
    """
    with ray_cluster.cluster(address):
        _be_quiet()
        yield


def _pack(batch: pa.RecordBatch) -> pa.Table:
    """Packs a batch into one row, because Ray Data may split and join batches but not rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.table({"batch": [sink.getvalue().to_pybytes()]})


class _Worker:
    """A Ray actor with its own copy of the work."""

    def __init__(self, work: Callable[[pa.RecordBatch], pa.Table]) -> None:
        self.work = work

    def __call__(self, row: pa.Table) -> pa.Table:
        (packed,) = row.column("batch")
        batch = pa.ipc.open_stream(packed.as_buffer()).read_next_batch()
        try:
            return self.work(batch)
        except Exception as error:
            if not isinstance(error, UserError):
                error.add_note(f"in a worker of the cluster:\n{traceback.format_exc()}")
            raise _WorkFailedError.of(error) from error


class _WorkFailedError(Exception):
    """Carries the exception of the work past Ray Data, which changes an exception's message."""

    original: Exception

    @classmethod
    def of(cls, original: Exception) -> "_WorkFailedError":
        error = cls()
        error.original = original
        return error


def _be_quiet() -> None:
    """Disables Ray Data's progress bars and messages, which would mix with ours; errors are still raised."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = None  # one result stays one block
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _capacity(*, model: bool, gpus_per_worker: float) -> tuple[float, int]:
    """The number of CPU cores per worker, and the number of workers that fit into the cluster.

    Raises:
        UserError: if no machine has enough GPUs for one worker.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus_per_worker:
        gpus = [node.get("GPU", 0.0) for node in nodes]
        capacity = sum(int(count / gpus_per_worker) for count in gpus)
        if not capacity:
            raise UserError(
                f"--gpus-per-worker {gpus_per_worker:g}: no machine of the cluster has so many GPUs "
                f"(they have {', '.join(f'{count:g}' for count in gpus)}); use fewer"
            )
        return 1, capacity
    cores = [node["CPU"] for node in nodes if node.get("CPU")]
    return (min(cores), len(cores)) if model else (1, int(sum(cores)))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Re-raises the exception of the work without Ray's wrappers.

    Raises:
        UserError: if a worker died.
    """
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, _WorkFailedError):
            raise error.cause.original from None
        raise
    except ray.exceptions.RayError as error:
        raise _worker_error(str(error).strip().splitlines()) from None


def _worker_error(lines: list[str]) -> UserError:
    """The error for a worker that could not start or died, from the lines of Ray's message."""
    if "creation task" in lines[0]:
        return UserError(
            f"a worker of the cluster could not start ({lines[-1]}); every machine needs the same "
            "version of versa-toolkit and the same paths"
        )
    return UserError(
        f"a worker of the cluster died ({lines[0]} It may be out of memory, or a decoder crashed); "
        "finished shards are kept: run the command again with fewer --media.workers or another --media.backend"
    )
