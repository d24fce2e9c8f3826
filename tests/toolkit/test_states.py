"""Reading the store: rows by index, memory-mapped without copies, in each dtype."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from prep.towers.rows import state_rows
from toolkit import UserError, schema
from toolkit.states import READ_AT_ONCE, StateTable, open_states
from toolkit.store import Table, read_file

LAYERS, WIDTH = 2, 3
ABOUT = {"encoder": "tiny", "revision": "1", "layers": "2", "width": "3", "pooling": "cls"}


def expected(items):
    """(N + 1, K, D): item n has the states n, n + 1/8, n + 2/8, ...; exact in every dtype here."""
    states = torch.arange(items + 1)[:, None] + torch.arange(LAYERS * WIDTH) / 8
    states[0] = 0
    return states.view(-1, LAYERS, WIDTH)


def write(folder, *shards, dtype="float16", **about):
    """Shards of the items with these numbers."""
    table = Table(folder, compression=None)
    columns = schema.states(LAYERS, WIDTH, dtype).with_metadata({**ABOUT, "dtype": dtype, **about})
    for numbers in shards:
        batch = pa.record_batch(
            {"item_id": [f"i{n}" for n in numbers], "item": pa.array(numbers, pa.int32())}
        )
        states = expected(max(numbers))[list(numbers)].flatten(1).numpy()
        rows = state_rows(batch, states, [("ok", None)] * len(numbers), dtype)
        table.append(rows.select(columns.names).cast(columns))
    return table


@pytest.mark.parametrize("dtype", schema.STATES_TYPES)
def test_items_in_any_order_from_any_shard(tmp_path, dtype):
    table = open_states(write(tmp_path, [4, 2], [1], [5, 3], dtype=dtype), items=5)
    assert (table.shape, table.dtype) == ((6, LAYERS, WIDTH), getattr(torch, dtype))
    items = torch.tensor([3, 0, 5, 3, 1, 4, 2, 0])
    found = table.gather(items)
    assert found.dtype == table.dtype
    assert torch.equal(found.float(), expected(5)[items])
    assert torch.equal(table.load().float(), expected(5))
    assert table.nbytes == table.load().nbytes


def test_no_items_have_no_states(tmp_path):
    table = open_states(write(tmp_path, [1, 2]), items=2)
    assert table.gather(torch.tensor([], dtype=torch.long)).shape == (0, LAYERS, WIDTH)


def test_a_table_longer_than_what_is_read_at_once(tmp_path):
    count = READ_AT_ONCE + 100
    numbers = np.random.default_rng(0).permutation(count) + 1
    table = open_states(
        write(tmp_path, numbers[:700].tolist(), numbers[700:].tolist()), items=count
    )
    assert torch.equal(table.load(), expected(count).half())


def test_shards_are_mapped_and_not_copied(tmp_path):
    written = write(tmp_path, [1, 2], [3])
    before = pa.total_allocated_bytes()
    table = open_states(written, items=3)
    maps = [
        line.split()
        for line in Path("/proc/self/maps").read_text().splitlines()
        if str(tmp_path) in line
    ]
    spans = [tuple(int(end, 16) for end in span.split("-")) for span, *_ in maps]
    assert {rights for _, rights, *_ in maps} == {"rw-p"}  # private: the file stays as it is
    for part in table._parts[1:]:
        assert any(start <= part.data_ptr() < end for start, end in spans)
    assert pa.total_allocated_bytes() == before


def test_rows_that_are_on_disk_alone(tmp_path):
    """Dropped from the cache, read again: the rows asked for, then all."""
    written = write(tmp_path, [4, 2], [1], [5, 3])
    for shard in written.shards():
        with shard.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    table = open_states(written, items=5)
    assert torch.equal(table.gather(torch.tensor([2, 5])), expected(5)[[2, 5]].half())
    assert torch.equal(table.load(), expected(5).half())


def test_what_is_gathered_can_be_written_to(tmp_path):
    table = open_states(write(tmp_path, [1, 2]), items=2)
    table.gather(torch.tensor([1, 2])).zero_()
    table.load().zero_()
    assert torch.equal(table.load(), expected(2).half())


def test_a_table_in_memory_gathers_the_same():
    table = StateTable.of(expected(5).half())
    items = torch.tensor([3, 0, 5, 3])
    assert torch.equal(table.gather(items), expected(5)[items].half())
    assert repr(table) == "StateTable((6, 2, 3), torch.float16, parts=1)"


def test_items_without_a_row(tmp_path):
    with pytest.raises(UserError, match=r"2 of 4 items have no states; run: python -m prep encode"):
        open_states(write(tmp_path, [3, 1]), items=4)


def test_rows_of_other_items(tmp_path):
    with pytest.raises(UserError, match=r"item numbers above 2, the number of items"):
        open_states(write(tmp_path, [1, 2, 3]), items=2)


@pytest.mark.parametrize("key", ["encoder", "revision", "pooling", "kept"])
def test_shards_of_another_encoder(tmp_path, key):
    write(tmp_path, [1], **{key: "one"})
    with pytest.raises(UserError, match=rf"part-00001.arrow.*\({key} another, expected one\)"):
        open_states(write(tmp_path, [2], **{key: "another"}), items=2)


def test_bits_without_their_dtype(tmp_path):
    columns = schema.states(LAYERS, WIDTH, "bfloat16").with_metadata(ABOUT)
    (shard,) = write(tmp_path / "a", [1], dtype="bfloat16").shards()
    bare = Table(tmp_path / "b", compression=None)
    bare.append(read_file(shard.path).replace_schema_metadata(columns.metadata))
    with pytest.raises(
        UserError, match=r"'states' has type .*uint16 not null\[?.*expected .*halffloat"
    ):
        open_states(bare, items=1)
    bare.replace(0, read_file(shard.path).replace_schema_metadata({**ABOUT, "dtype": "int8"}))
    with pytest.raises(
        UserError, match=r"dtype 'int8', expected one of float16, bfloat16, float32"
    ):
        open_states(bare, items=1)
