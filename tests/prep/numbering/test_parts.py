"""A log in many parts becomes the same dataset as in one."""

import json

import numpy as np
import pyarrow as pa
import pytest

from prep.numbering import parts
from prep.numbering.interactions import _NUMBERED, Log
from prep.readers.raw import INTERACTIONS, Raw
from prep.steps.database import attach, create, engine, rows, run

KNOWN, UNKNOWN = 30, 3


def raw_log(*, timed: bool) -> Raw:
    """Five hundred interactions of forty users with repeats, equal times and some unknown items."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(40, size=500), rng.integers(KNOWN + UNKNOWN, size=500)
    columns = [
        pa.array([f"u{user}" for user in users]),
        pa.array([f"i{item}" for item in items]),
        pa.array(rng.integers(9, size=500) if timed else [None] * 500, pa.int64()),
        pa.array(range(1, 501), pa.int64()),
    ]
    return Raw(pa.table({}), [pa.record_batch(columns, INTERACTIONS)], "items.csv", "log.csv")


def tables(tmp_path, **settings):
    known = pa.table(
        {
            "item_id": [f"i{item}" for item in range(KNOWN)],
            "item": pa.array(range(1, KNOWN + 1), pa.int32()),
        }
    )
    timed = settings.pop("timed", True)
    with engine(tmp_path / "scratch", memory_gib=0.25) as database:
        log = Log(database, raw_log(timed=timed), known, **settings)
        problems, kept = list(log.problems()), log.kept_items().tolist()
        return problems, kept, pa.concat_tables(log.shards()).combine_chunks()


@pytest.mark.parametrize(
    "settings",
    [{}, {"k_core": 12}, {"ties": "hash"}, {"duplicates": "drop"}, {"timed": False}],
    ids=str,
)
def test_parts_do_not_change_the_dataset(tmp_path, monkeypatch, settings):
    whole = tables(tmp_path, **settings)
    monkeypatch.setattr(parts, "SLICE_ROWS", 90)  # six slices
    monkeypatch.setattr(parts, "RANGE_ROWS", 25)  # about two users each
    divided = tables(tmp_path, **settings)
    assert divided[:2] == whole[:2]
    assert divided[2].equals(whole[2])


def test_slices_hold_every_row_once_and_all_rows_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "SLICE_ROWS", 30)
    assert parts.slices(30) == ["true"]
    assert len(parts.slices(31)) == 2
    batch = pa.record_batch({"user_id": [f"u{number % 40}" for number in range(100)]})
    with engine(tmp_path / "scratch", memory_gib=0.25) as database:
        create(database, "log", "FROM raw", raw=[batch])
        counts = "SELECT user_id, count(*) FROM log WHERE {part} GROUP BY user_id"
        parts.create_in_slices(database, "counted", counts, parts.slices(100))
        found = dict(rows(database, "FROM counted"))
        assert len(found) == 40
        assert sum(found.values()) == 100


def test_ranges_cover_the_users_and_hold_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "RANGE_ROWS", 10)
    known = [4, 6, 1, 25, 10, 3, 3, 3, 3]
    batch = pa.record_batch({"user": [*range(1, 10), None], "known": [*known, 0]})
    with engine(tmp_path / "scratch", memory_gib=0.25) as database:
        create(database, "users", "FROM raw", raw=[batch])
        assert list(parts.ranges(database)) == [(1, 2), (3, 3), (4, 4), (5, 5), (6, 8), (9, 9)]


def test_a_slice_is_joined_without_holding_its_rows(tmp_path, monkeypatch):
    """DuckDB takes a condition on a hash for one that few rows fulfil. It must hold users and items, not the log."""
    monkeypatch.setattr(parts, "SLICE_ROWS", 50_000)
    held = []

    def scanned(node):
        own = [node["extra_info"].get("Table", "")]
        return sum(map(scanned, node["children"]), own)

    def plan(connection, statement):
        query = statement[statement.index("SELECT") :]
        ((_, text),) = rows(connection, f"EXPLAIN (FORMAT json) {query}")
        pending = json.loads(text)
        while pending:
            node = pending.pop()
            pending += node["children"]
            if "JOIN" in node["name"]:
                held.append("".join(scanned(node["children"][1])))

    with engine(tmp_path, memory_gib=0.25) as database:
        attach(database, "dump")
        users = "(i % 90000)::VARCHAR AS user_id, (i % 90000)::INTEGER AS user"
        log = "(i % 5000)::INTEGER AS item, i AS timestamp_ms, i AS row"
        run(database, f"CREATE TABLE dump.log AS SELECT {users}, {log} FROM range(200000) r(i)")
        run(database, "CREATE TABLE users AS SELECT DISTINCT user_id, user FROM dump.log")
        run(database, "CREATE TABLE items AS SELECT DISTINCT item, item AS number FROM dump.log")
        monkeypatch.setattr(parts, "run", plan)
        parts.create_in_slices(database, "ordered", _NUMBERED, parts.slices(200_000))
    assert len(held) == 8 and not any("dump" in names for names in held)
