"""Work for executors, in its own module so that worker processes can import it."""

import os
import time

import pyarrow as pa

from toolkit import UserError


def double(batch):
    """Each id twice."""
    return pa.table({"item_id": [2 * id_ for id_ in batch["item_id"].to_pylist()]})


def length(batch):
    """The batch as it is; the larger, the sooner."""
    time.sleep(0.05 / batch.num_rows)
    return pa.table(batch)


def interrupt(batch):
    raise KeyError("oops")


def linger(batch):
    time.sleep(600)


def exit_at_once(batch):
    os._exit(7)


def see_gpus(batch):
    """Which GPUs this process may use."""
    time.sleep(0.5)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    return pa.table({"process": [os.getpid()], "gpus": [gpus]})


class Counting:
    """Counts its own calls, and says in which process; a copy has counted none."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        time.sleep(0.01)
        columns = {"process": [os.getpid()], "calls": [self.calls]}
        return pa.table({"item_id": batch["item_id"][:1], **columns})

    def __reduce__(self):
        return Counting, ()


def import_absent():
    import absent  # noqa: F401


class Absent:
    """Work that cannot be unpickled, as on a machine where it is not installed."""

    def __reduce__(self):
        return import_absent, ()

    def __call__(self, batch):
        raise AssertionError


class Failing:
    """Works, until it meets an id that it was told."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id

    def __call__(self, batch):
        if self.item_id in batch["item_id"].to_pylist():
            raise UserError(f"{self.item_id} is too much; take it out")
        return measured(batch)


def measured(batch):
    """The length of each id; ids with a `?` fail."""
    ids = batch["item_id"].to_pylist()
    failed = ["?" in id_ for id_ in ids]
    return pa.table(
        {
            "item_id": ids,
            "length": [None if bad else len(id_) for id_, bad in zip(ids, failed, strict=True)],
            "status": ["corrupt" if bad else "ok" for bad in failed],
            "message": pa.array(
                [f"{i} asks" if bad else None for i, bad in zip(ids, failed, strict=True)],
                pa.string(),
            ),
        }
    )
