"""Many machines: Ray Data on a cluster that runs, or on one that is started here for the while.

The dump, the dataset and local encoders are read by every worker under the same path as here: on a
cluster of several machines they lie on a file system that all of them share. This process alone
writes.
"""

import logging
import os
import secrets
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from toolkit.errors import UserError

# Read by Ray when it is first imported. Only this machine's own cluster is started with them.
_LOCAL_CLUSTER = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no port beyond the loopback address
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_KNOCK_SECONDS = 10.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
# Ray would start a worker that died again without end, and an item that kills its worker with it.
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
    """Batches in the cluster's workers; results keep the batches' order and come as they are done.

    Args:
        work: what to do; each worker has a copy of its own.
        batches: of items.
        address: of a running cluster, as for `cluster`.
        workers: how many; 0 takes as many as there is room for.
        model: whether a worker holds a model: without GPUs it then takes all cores of a machine
            instead of one.
        gpus_per_worker: GPUs, or a share of one, that each worker has to itself.

    Raises:
        UserError: if there is no Ray, no such cluster or no room, or a worker dies again and again.
    """
    if not batches:
        return
    with cluster(address):
        import ray.util.annotations

        cpus, room = _room(model=model, gpus_per_worker=gpus_per_worker)
        given = ray.data.from_arrow([_pack(batch) for batch in batches])
        with warnings.catch_warnings():
            # `ray_remote_args_fn`: up to Ray 2.63 the one way to limit restarts.
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
            results = given.map_batches(
                _Worker,
                fn_constructor_args=(work,),
                compute=ray.data.ActorPoolStrategy(size=min(workers or room, room, len(batches))),
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
    """Connects to a cluster, or starts one on this machine, until the block ends.

    Within another such block, or where the caller has initialised Ray, that cluster is used and
    left as it is. One that is started here listens on the loopback address alone, asks for a token
    made for it, and has no dashboard; so it is as long as Ray has not been imported before.

    Args:
        address: HOST:PORT of a running cluster, or `auto` for the one of this machine.

    Raises:
        UserError: if Ray is not installed, or there is no such cluster.
    """
    ray = _import_ray(local=address is None)
    _be_quiet()
    if ray.is_initialized():
        yield
        return
    if address is None:
        _start()
    else:
        _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def _pack(batch: pa.RecordBatch) -> pa.Table:
    """One row for a whole batch: Ray Data splits and joins rows as it likes, but no row."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.table({"batch": [sink.getvalue().to_pybytes()]})


class _Worker:
    """What an actor holds: its own copy of the work."""

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
    """Carries what the work raised past Ray Data, which writes into an exception's message."""

    original: Exception

    @classmethod
    def of(cls, original: Exception) -> "_WorkFailedError":
        error = cls()
        error.original = original
        return error


def _import_ray(*, local: bool) -> Any:
    """The module, told before its first import how to behave if the cluster is to be our own."""
    if local and "ray" not in sys.modules:
        for name, value in {**_LOCAL_CLUSTER, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f'--executor ray needs Ray, which is not installed ({error}); pip install "versa-toolkit[ray]"'
        ) from None
    return ray


def _start(**limits: int) -> None:
    """Starts a cluster on this machine, whose workers find the modules that this process finds."""
    import ray

    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    try:
        ray.init(address="local", include_dashboard=False, **_QUIET, **limits)
    finally:
        del os.environ["PYTHONPATH"]
        if known is not None:
            os.environ["PYTHONPATH"] = known


def _connect(address: str) -> None:
    import ray

    try:
        _knock(address)
        ray.init(address=address, **_QUIET)
    except (OSError, ValueError, OverflowError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one with `ray start "
            "--head`, or leave --address out to use this machine alone"
        ) from None


def _knock(address: str) -> None:
    """Raises an OSError at once where nothing listens, which Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _be_quiet() -> None:
    """Keeps Ray Data's bars and notes away from our own progress line; errors are raised anyway."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = None  # one result stays one block
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _room(*, model: bool, gpus_per_worker: float) -> tuple[float, int]:
    """CPU cores that a worker takes, and how many workers fit into the cluster.

    Raises:
        UserError: if there are not enough GPUs for one.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus_per_worker:
        gpus = [node.get("GPU", 0.0) for node in nodes]
        room = sum(int(count / gpus_per_worker) for count in gpus)
        if not room:
            raise UserError(
                f"--gpus-per-worker {gpus_per_worker:g}: no machine of the cluster has so many GPUs "
                f"(they have {', '.join(f'{count:g}' for count in gpus)}); ask for fewer"
            )
        return 1, room
    cores = [node["CPU"] for node in nodes if node.get("CPU")]
    return (min(cores), len(cores)) if model else (1, int(sum(cores)))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raises what the work raised, without the layers of Ray around it.

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
        raise _of_worker(str(error).strip().splitlines()) from None


def _of_worker(told: list[str]) -> UserError:
    """The error for a worker that is gone, by what Ray tells of it, line by line."""
    if "creation task" in told[0]:
        return UserError(
            f"a worker of the cluster could not start ({told[-1]}); each of its machines needs this "
            "version of versa-toolkit, and the same paths"
        )
    return UserError(
        f"a worker of the cluster died ({told[0]} Out of memory, perhaps, or a crash in a decoder); "
        "finished shards are kept: run again, with fewer --media.workers or another --media.backend"
    )
