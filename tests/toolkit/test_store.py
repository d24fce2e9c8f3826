"""Shards are complete or absent, tables are memory-mapped, and other libraries can open them."""

import gc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from toolkit import UserError
from toolkit.atomic import write_atomically
from toolkit.json_files import read_json, write_json
from toolkit.mapped import map_bytes
from toolkit.store import Table, map_file, read_file, write_table


def numbers(*values, metadata=None):
    schema = pa.schema([("number", pa.int64())], metadata=metadata)
    return pa.table({"number": list(values)}, schema=schema)


def test_shards_are_read_in_order(tmp_path):
    table = Table(tmp_path / "t")
    assert [table.append(numbers(i, i + 1)) for i in (5, 3, 9)] == [0, 1, 2]
    assert table.read().column("number").to_pylist() == [5, 6, 3, 4, 9, 10]
    assert [shard.path.name for shard in table.shards()] == [
        "part-00000.arrow",
        "part-00001.arrow",
        "part-00002.arrow",
    ]


def test_the_next_index_follows_the_last_shard_not_their_count(tmp_path):
    table = Table(tmp_path / "t")
    for value in (1, 2, 3):
        table.append(numbers(value))
    table.shards()[0].path.unlink()
    assert table.append(numbers(4)) == 3
    assert table.read().column("number").to_pylist() == [2, 3, 4]


def test_replacing_leaves_the_others(tmp_path):
    table = Table(tmp_path / "t")
    table.append(numbers(1))
    table.append(numbers(2))
    table.replace(0, numbers(7, 8))
    assert table.read().column("number").to_pylist() == [7, 8, 2]


def test_an_old_map_outlives_its_replacement(tmp_path):
    table = Table(tmp_path / "t", compression=None)
    table.append(numbers(1, 2))
    mapped = table.read()
    table.replace(0, numbers(3))
    assert mapped.column("number").to_pylist() == [1, 2]


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "sub" / "file"

    def fail(file):
        file.write(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(path, fail)
    assert list(path.parent.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda file: 1 / 0)
    assert path.read_bytes() == b"before"


def test_nothing_is_at_its_place_before_it_is_whole(tmp_path):
    path = tmp_path / "file"

    def write(file):
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")

    write_atomically(path, write)
    assert path.read_bytes() == b"half and half"


def test_temporary_files_are_no_shards(tmp_path):
    table = Table(tmp_path / "t")
    table.append(numbers(1))
    (tmp_path / "t" / ".part-00001.arrow.77.tmp").write_bytes(b"half")
    assert len(table.shards()) == 1
    assert pyarrow.dataset.dataset(tmp_path / "t", format="arrow").to_table().num_rows == 1


@pytest.mark.parametrize("compression", ["zstd", None])
def test_tables_open_unaided(tmp_path, compression):
    table = Table(tmp_path / "t", compression=compression)
    table.append(numbers(1, 2))
    table.append(numbers(3))
    by_dataset = pyarrow.dataset.dataset(tmp_path / "t", format="arrow").to_table()
    assert by_dataset.column("number").to_pylist() == [1, 2, 3]
    assert pd.read_feather(tmp_path / "t" / "part-00000.arrow")["number"].tolist() == [1, 2]


def test_compression_saves_space_and_none_saves_copies(tmp_path):
    zeros = numbers(*np.zeros(10_000, dtype=np.int64))
    for name, compression in {"small": "zstd", "mapped": None}.items():
        write_table(tmp_path / name, zeros, compression=compression)
    assert (tmp_path / "small").stat().st_size < 10_000 < (tmp_path / "mapped").stat().st_size
    gc.collect()  # of other tests
    before = pa.total_allocated_bytes()
    mapped = read_file(tmp_path / "mapped")
    assert pa.total_allocated_bytes() <= before
    assert mapped.num_rows == 10_000


def test_metadata_are_kept(tmp_path):
    table = Table(tmp_path / "t")
    table.append(numbers(1, metadata={"encoder": "x"}))
    table.append(numbers(2, metadata={"encoder": "x"}))
    assert table.read().schema.metadata == {b"encoder": b"x"}


@pytest.mark.parametrize(
    "other", [numbers(2, metadata={"encoder": "y"}), pa.table({"number": ["two"]})]
)
def test_shards_that_disagree_are_refused(tmp_path, other):
    table = Table(tmp_path / "t")
    table.append(numbers(1, metadata={"encoder": "x"}))
    table.append(other)
    with pytest.raises(UserError, match=r"part-00001\.arrow: its schema or metadata differ from"):
        table.read()


def test_a_table_that_is_not_there(tmp_path):
    table = Table(tmp_path / "t")
    assert not table.exists()
    with pytest.raises(UserError, match="t: no such table; run the prep step"):
        table.read()


@pytest.mark.parametrize("read", [read_file, map_file])
@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"PAR1" * 9])
def test_a_file_that_is_no_table(tmp_path, content, read):
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.arrow: not a readable Arrow file .*run prep again"):
        read(tmp_path / "x.arrow")


@pytest.mark.parametrize("read", [read_file, map_file])
def test_a_file_that_is_not_there(tmp_path, read):
    with pytest.raises(UserError, match=r"x\.arrow: not a readable Arrow file"):
        read(tmp_path / "x.arrow")


def test_a_mapped_file_outlives_its_name_and_is_never_written_to(tmp_path):
    table = Table(tmp_path / "t", compression=None)
    table.append(numbers(1, 2, metadata={"encoder": "x"}))
    before = table.shards()[0].path.read_bytes()
    mapped = table.read(map_file)
    assert mapped.equals(table.read()) and mapped.schema.metadata == {b"encoder": b"x"}
    mapped_bytes = map_bytes(table.shards()[0].path)
    mapped_bytes[:] = 7
    assert table.shards()[0].path.read_bytes() == before
    table.shards()[0].path.unlink()
    assert mapped.column("number").to_pylist() == [1, 2]
    assert len(mapped_bytes) == len(before) and bool((mapped_bytes == 7).all())


def test_json_goes_and_comes(tmp_path):
    value = {"title": "Gu long # 龙", "counts": {"items": 3}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "龙" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_json_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="does not exist; check the folder"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"bad\.json: not valid JSON"):
        read_json(tmp_path / "bad.json")


def test_the_repr_shows_the_shape(tmp_path):
    table = Table(tmp_path / "t")
    table.append(numbers(1))
    assert repr(table) == f"Table({str(tmp_path / 't')!r}, shards=1)"
