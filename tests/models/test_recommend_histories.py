"""Histories out of files: the same whatever the format and the order of rows, and what is wrong is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from tiny_dataset import write_dataset

from models.history_files import read_histories
from toolkit import Dataset, UserError, open_dataset

IDS = ["7", "08", "x y", "b", "a"]
WANTED = {"u 2": [5, 4, 5], "11": [1], "u1": [2, 1, 2]}  # users as they come first, item numbers
LISTS = {user: [IDS[item - 1] for item in items] for user, items in WANTED.items()}
PAIRS = [("u 2", "a"), ("11", "7"), ("u 2", "b"), ("u1", "08"), ("u1", "7"), ("u 2", "a"), ("u1", "08")]  # fmt: skip
TIMES = [5, 1, 70, 3, 30, 600, 200]  # digits in another order than numbers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "histories"
    return open_dataset(write_dataset(folder, [[1, 2, 3, 4, 5]], items=5, ids=IDS))


def found(path: Path, data: Dataset) -> dict[str, list[int]]:
    histories = read_histories(path, data)
    cuts = zip(histories.starts, histories.stops, strict=True)
    items = [histories.items[start:stop].tolist() for start, stop in cuts]
    return dict(zip(histories.user_ids.to_pylist(), items, strict=True))


def parquet(path: Path, **columns: Any) -> Path:
    pa.parquet.write_table(pa.table(columns), path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def pairs_csv(rows: list[tuple[str, str]]) -> str:
    return "user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows)


def test_csv(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "asked.csv"
    assert found(text(file, pairs_csv(PAIRS)), data) == WANTED
    timed = zip(PAIRS, TIMES, strict=True)
    lines = [f"{time},{item},{user}" for (user, item), time in timed]
    # By user, the latest first: users come in another order, their items in the same.
    backwards = "\n".join(["timestamp_ms,item_id,user_id", *lines[::-1]])
    assert found(text(file, backwards), data) == WANTED
    assert list(found(file, data)) == ["u1", "u 2", "11"]
    lists = "".join(f"{user}, {'  '.join(items)} \n" for user, items in LISTS.items())
    assert found(text(file, f"user_id,items\n{lists}"), data) == WANTED


def test_parquet(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "asked.parquet"
    users, items = map(list, zip(*PAIRS, strict=True))
    assert found(parquet(file, user_id=users, item_id=items), data) == WANTED
    codes = pa.array(users).dictionary_encode()  # what pandas calls categories
    times = pa.array(TIMES, pa.timestamp("ms"))
    columns = {"user_id": codes, "item_id": pa.array(items, pa.large_string())}
    assert found(parquet(file, **columns, timestamp_ms=times), data) == WANTED
    assert found(parquet(file, user_id=list(LISTS), items=list(LISTS.values())), data) == WANTED
    # Whole numbers are ids, too, and a user may have several rows.
    numbers = pa.array([[7, 7], [7]], pa.large_list(pa.int32()))
    assert found(parquet(file, user_id=[11, 11], items=numbers), data) == {"11": [1, 1, 1]}


def test_json_lines(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.history_files._LINES_AT_ONCE", 2)
    rows: list[dict[str, Any]] = [{"user_id": u, "items": items} for u, items in LISTS.items()]
    rows[1] = {"user_id": 11, "items": [7]}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert found(text(tmp_path / "asked.jsonl", lines + "\n"), data) == WANTED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"histories are read from \.csv, \.parquet, \.jsonl; convert"),
        ("a.csv", "", "a.csv: cannot be read: Empty CSV file"),
        ("a.csv", "user_id,item_id\n", "it has no rows; expected user_id and item_id"),
        ("a.csv", "user,item_id\nu,a\n", "its columns are user, item_id; expected user_id and"),
        ("a.csv", "user_id,items,timestamp_ms\nu,a,5\n", "its columns are .*timestamp_ms; expected"),
        ("a.csv", "user_id,item_id,time\nu,a,5\n", "its columns are user_id, item_id, time;"),
        ("a.csv", "user_id,item_id\nu,a\nu\n", "cannot be read: .*Row #3: Expected 2 columns"),
        ("a.csv", "user_id,item_id,timestamp_ms\nu,a,now\n", "Row #2.*int64.*'now'"),
        ("a.csv", "user_id,item_id,timestamp_ms\nu,a,\n", r"line 2 \(user 'u'\): no timestamp_ms"),
        ("a.csv", "user_id,item_id\nu,a\n,a\n", "line 3: no user_id; give one"),
        ("a.csv", "user_id,item_id\nu,a\nv,\n", "line 3: no item id; give one"),
        ("a.csv", "user_id,item_id\nu,a\nv,8\n", r"line 3 \(user 'v'\): item '8' is none of the 5 of .*--data"),
        ("a.csv", "user_id,items\nu,a\nv,  \n", r"line 3 \(user 'v'\): no items; .*at least one item"),
        ("a.csv", "user_id,items\nu,a\nv,7 zz 7\n", r"line 3 \(user 'v'\): item 'zz'"),
        ("a.jsonl", "", "it has no rows"),
        ("a.jsonl", '{"user_id": "u", "items": ["a"]}\nhello\n', r"cannot be read: line 2 is no JSON"),
        ("a.jsonl", '{"user": "u", "items": ["a"]}\n', r'line 1: expected \{"user_id": ID'),
        ("a.jsonl", '["u"]\n', r'line 1: expected \{"user_id": ID'),
        ("a.jsonl", '{"user_id": "u", "items": "a"}\n', r"line 1: expected"),
        ("a.jsonl", '{"user_id": "u", "items": ["a", 2.5]}\n', r"line 1: expected .*whole numbers"),
        ("a.jsonl", '{"user_id": "u", "items": [null]}\n', r"line 1: expected"),
        ("a.jsonl", '{"user_id": "u", "items": []}\n', r"line 1 \(user 'u'\): no items"),
        ("a.parquet", "text", "a.parquet: cannot be read: "),
    ],
)  # fmt: skip
def test_mistakes(data: Dataset, tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_histories(text(tmp_path / name, content), data)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["u"], "item_id": [1.0]}, "its item id is of type double; ids are text or whole"),
        ({"user_id": [None], "item_id": ["a"]}, "its user_id is of type null"),
        ({"user_id": ["u", None], "item_id": ["a", "a"]}, "row 2: no user_id"),
        ({"user_id": ["u"], "items": [None]}, "items are of type null; expected lists of ids"),
        ({"user_id": ["u", "v"], "items": [["a"], None]}, r"row 2 \(user 'v'\): no items"),
        ({"user_id": ["u", "v"], "items": [["a"], ["b", None]]}, "row 2: no item id"),
        ({"user_id": ["u"], "item_id": ["a"], "timestamp_ms": ["5"]}, "timestamp_ms is of type string"),
    ],
)  # fmt: skip
def test_mistakes_in_parquet(
    data: Dataset, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_histories(parquet(tmp_path / "a.parquet", **columns), data)


def test_a_file_that_is_not_there(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--histories .*absent\.csv: cannot be read: .*No such file"
    ):
        read_histories(tmp_path / "absent.csv", data)
