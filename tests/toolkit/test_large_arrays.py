"""Arrays in mapped files equal those in memory, and a log in them has the same splits."""

import errno
import mmap
import os
import tracemalloc
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pytest
from tiny_dataset import write_dataset

from toolkit import UserError, large_arrays
from toolkit.dataset import open_dataset
from toolkit.histories import user_histories
from toolkit.large_arrays import Collected, zeros
from toolkit.quantiles import kth_smallest
from toolkit.splits import Splits, make_splits, split_histories
from toolkit.user_ids import UserIds


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "IN_MEMORY_BYTES", 64)


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    base = array.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


def log_of(users: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, size=users)
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), lengths)
    items = rng.integers(1, 50, size=len(user), dtype=np.int32)
    return pa.table({"user_id": pa.array(user).cast(pa.string()), "user": user, "item": items})


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("shape", [(0,), (16,), (17,), (5, 7)])
def test_zeros_are_zeros_and_can_be_written(shape: tuple[int, ...]) -> None:
    array = zeros(shape, np.int32)
    assert array.shape == shape and array.dtype == np.int32 and not array.any()
    assert is_mapped(array) == (array.nbytes > 64)
    array[...] = 3
    assert array.sum() == 3 * array.size


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("sizes", [[], [0, 3], [5, 0, 4], [40, 1], [9] * 9])
def test_collected_values_are_their_concatenation(sizes: list[int]) -> None:
    parts = [np.arange(size, dtype=np.int64) + 10 * size for size in sizes]
    collected = Collected(np.int64)
    for part in parts:
        collected.add(part)
        part[:] = -1  # the values were copied
    joined = collected.joined()
    assert joined.tolist() == [10 * size + n for size in sizes for n in range(size)]
    assert is_mapped(joined) == (len(joined) > 8)


@pytest.mark.usefixtures("mapped")
def test_a_full_disk_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"too little space .* of 0 MiB .*set TMPDIR"):
        zeros((100,), np.int32)


def same(ours: Splits, plain: Splits) -> None:
    names = ("train", "catalogue", "known", "train_counts", "train_times")
    parts = (
        "inputs",
        "targets",
        "history",
        "starts",
        "stops",
        "users",
        "rows",
        "catalogue",
        "times",
        "input_times",
    )
    pairs = [(getattr(ours, name), getattr(plain, name)) for name in names]
    for split in ("valid", "test"):
        one, other = getattr(ours, split), getattr(plain, split)
        pairs += [(getattr(one, name), getattr(other, name)) for name in parts]
        assert one.user_ids == other.user_ids
    for left, right in pairs:
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
    assert ours.user_ids == plain.user_ids and ours.interactions == plain.interactions


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("protocol", ["paper", "clean", "cold", "time", "time-successive"])
def test_mapped_histories_and_splits_are_the_plain_ones(
    protocol: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = log_of(200, seed)
    times = np.sort(np.random.default_rng(seed).integers(0, 90, size=len(table)))

    def splits() -> Splits:
        histories = user_histories(iter(table.to_batches(max_chunksize=37)))
        # Times ascend within users, and repeat.
        return split_histories(histories._replace(times=times), items=50, protocol=protocol)

    plain = splits()
    monkeypatch.setattr(large_arrays, "IN_MEMORY_BYTES", 64)
    ours = splits()
    assert is_mapped(ours.train) and is_mapped(ours.test.history) and not is_mapped(plain.train)
    same(ours, plain)


def test_splits_hold_no_python_object_per_user() -> None:
    """A list of the users' ids alone holds 60 bytes of Python objects per user."""
    users = 200_000
    table = log_of(users)
    tracemalloc.start()
    try:
        made = make_splits(table, items=50)
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, 0)])
    finally:
        tracemalloc.stop()
    assert isinstance(made.user_ids, UserIds) and isinstance(made.test.user_ids, UserIds)
    assert sum(trace.size for trace in own.traces) / users < 1


def test_selected_targets_are_those_of_the_evaluation() -> None:
    test = make_splits(log_of(100), items=50).test
    rows = np.array([7, 3, 40])
    some = test.select(rows)
    assert some.user_ids == [test.user_ids[row] for row in sorted(rows)]
    assert np.array_equal(some.inputs, test.inputs[np.sort(rows)])
    assert [some.masked(np.array([row])).tolist() for row in range(3)] == [
        test.masked(np.array([row])).tolist() for row in sorted(rows)
    ]


@pytest.mark.parametrize("spread", [1, 50, 10**6, 10**13])
def test_the_kth_smallest_is_that_of_the_sorted_numbers(spread: int) -> None:
    numbers = np.random.default_rng(spread).integers(-spread, spread, size=500)
    parts = [numbers[:100], numbers[100:100], numbers[100:]]
    ordered = np.sort(numbers)
    for index in (0, 1, 249, 498, 499):
        value = int(ordered[index])
        expected = (value, int((numbers < value).sum()))
        assert kth_smallest(lambda: parts, index) == [expected]


def test_opened_histories_are_mapped_and_read_only(
    mapped: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mapped") / "dataset"
    rng = np.random.default_rng(0)
    data = open_dataset(write_dataset(path, rng.integers(1, 30, size=(40, 9)).tolist(), items=30))
    histories = data.histories()
    assert is_mapped(histories.items) and not histories.items.flags.writeable
    assert histories.items.tolist() == data.interactions.column("item").to_pylist()
