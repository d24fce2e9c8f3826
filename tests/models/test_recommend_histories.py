"""Histories from files: equal for every format and row order, and errors name the problem."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from tiny_dataset import write_dataset

from models.inputs.histories import dataset_histories, list_histories
from models.inputs.history_files import read_histories
from models.recommend import read_ids
from toolkit import Dataset, UserError, open_dataset
from toolkit.arguments import a_path, paths, whole_number

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
    monkeypatch.setattr("models.inputs.history_files._LINES_AT_ONCE", 2)
    rows: list[dict[str, Any]] = [{"user_id": u, "items": items} for u, items in LISTS.items()]
    rows[1] = {"user_id": 11, "items": [7]}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert found(text(tmp_path / "asked.jsonl", lines + "\n"), data) == WANTED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"ending must be one of \.csv, \.parquet, \.jsonl; convert"),
        ("a.csv", "", "a.csv: cannot be read: Empty CSV file"),
        ("a.csv", "user_id,item_id\n", "it has no rows; expected user_id and item_id"),
        ("a.csv", "user,item_id\nu,a\n", "its columns are user, item_id; expected user_id and"),
        ("a.csv", "user_id,items,timestamp_ms\nu,a,5\n", "its columns are .*timestamp_ms; expected"),
        ("a.csv", "user_id,item_id,time\nu,a,5\n", "its columns are user_id, item_id, time;"),
        ("a.csv", "user_id,item_id\nu,a\nu\n", "cannot be read: .*Row #3: Expected 2 columns"),
        ("a.csv", "user_id,item_id,timestamp_ms\nu,a,now\n", "Row #2.*int64.*'now'"),
        ("a.csv", "user_id,item_id,timestamp_ms\nu,a,\n", r"line 2 \(user 'u'\): no timestamp_ms"),
        ("a.csv", "user_id,item_id\nu,a\n,a\n", "line 3: no user_id; add it"),
        ("a.csv", "user_id,item_id\nu,a\nv,\n", "line 3: no item id; add it"),
        ("a.csv", "user_id,item_id\nu,a\nv,8\n", r"line 3 \(user 'v'\): item '8' is not one of the 5 items of .*--data"),
        ("a.csv", "user_id,items\nu,a\nv,  \n", r"line 3 \(user 'v'\): no items; .*at least one item"),
        ("a.csv", "user_id,items\nu,a\nv,7 zz 7\n", r"line 3 \(user 'v'\): item 'zz'"),
        ("a.csv", "user_id,item_id,item_id\nu,a,b\n", "'item_id' appears twice; remove"),
        ("a.csv", "user_id,item_id,timestamp\nu,a,5\n", "'timestamp' orders a user's rows, rename it to timestamp_ms"),
        ("a.csv", "u\0s", "UTF-16 .*save it as UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", '{"user_id": "u", "items": [true]}\n', r"line 1: expected"),
        ("a.jsonl", '{"user_id": "u", "items": ["a"], "times": [1]}\n', r"line 1: expected .*in time order"),
        ("a.jsonl", "", "it has no rows"),
        ("a.jsonl", '{"user_id": "u", "items": ["a"]}\nhello\n', r"cannot be read: line 2 is not JSON"),
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


def test_a_byte_order_mark_and_ends_of_lines_do_not_show(data: Dataset, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"user_id": u, "items": items}) + "\n" for u, items in LISTS.items())
    for name, content in (("a.csv", pairs_csv(PAIRS)), ("a.JSONL", lines), ("a.jsonl", lines)):
        for ending in ("\n", "\r\n"):
            (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.replace("\n", ending).encode())
            assert found(tmp_path / name, data) == WANTED
    for kind in ("user", "item"):
        for mark in ("", "\ufeff"):
            (tmp_path / "ids").write_bytes(f"{mark}a\r\n08\r\n".encode())
            assert read_ids(tmp_path / "ids", kind=kind) == ["a", "08"]  # type: ignore[arg-type]
    for name, encoding in (
        ("a.csv", "utf-16"),
        ("a.jsonl", "utf-16-le"),
        ("b.csv", "utf-16-be"),
        ("c.csv", "utf-32"),
    ):
        (tmp_path / name).write_text(pairs_csv(PAIRS), encoding=encoding)
        with pytest.raises(UserError, match=r"UTF-16 or another .* save it as UTF-8"):
            read_histories(tmp_path / name, data)
    (tmp_path / "ids").write_text("a\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"--users .*ids: UTF-16"):
        read_ids(tmp_path / "ids", kind="user")


def test_what_pandas_writes_beside_the_columns_is_left_out(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame(PAIRS, columns=["user_id", "item_id"], index=[9, 2, 4, 8, 1, 3, 7])
    frame.to_parquet(tmp_path / "a.parquet")
    assert "__index_level_0__" in pa.parquet.read_schema(tmp_path / "a.parquet").names
    assert found(tmp_path / "a.parquet", data) == WANTED
    frame.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().startswith(",user_id")
    assert found(tmp_path / "a.csv", data) == WANTED
    pd.read_csv(tmp_path / "a.csv", dtype=str).to_csv(tmp_path / "b.csv", index=False)
    assert (tmp_path / "b.csv").read_text().startswith("Unnamed: 0,")
    assert found(tmp_path / "b.csv", data) == WANTED
    frame.set_index("user_id").to_parquet(tmp_path / "c.parquet")  # an index that is wanted
    assert found(tmp_path / "c.parquet", data) == WANTED
    categories = frame.astype("category")
    categories.to_parquet(tmp_path / "d.parquet")
    assert found(tmp_path / "d.parquet", data) == WANTED
    assert capsys.readouterr().err == ""
    frame.assign(rating=5).to_csv(tmp_path / "e.csv", index=False)
    assert found(tmp_path / "e.csv", data) == WANTED
    assert (
        capsys.readouterr().err == f"--histories {tmp_path / 'e.csv'}: ignored columns: 'rating'\n"
    )


class Whole:
    """As NumPy's and torch's numbers are."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    "lists",
    [
        [["7", "08"], ["7"]],
        [["7", np.str_("08")], [7]],
        [np.array(["7", "08"]), np.array([7])],
        (iter(["7", "08"]), range(7, 8)),
        [pd.Series(["7", "08"], index=[4, 2]), pd.Index([7])],
        pd.Series([["7", "08"], [np.int64(7)]]),
        [pa.array(["7", "08"]), pa.chunked_array([[7]])],
        pa.array([["7", "08"], ["7"]]),
        [pd.Series(["7", "08"], dtype="string"), [Whole()]],
        [pd.Series(["7", "08"], dtype="category"), torch.tensor([7])],
        ([item] if item == 7 else ["7", "08"] for item in (0, 7)),
    ],
)
def test_ids_from_python_are_those_of_files(data: Dataset, lists: Any) -> None:
    histories = list_histories(lists, data)
    assert histories.items.tolist() == [1, 2, 1]
    assert histories.stops.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["7", "a"], r"history 0: expected a list of item ids, got the text '7' \(str\); put it in"),
        ("7a", "histories: expected a list of list of item ids, got the text"),
        ([7, 7], r"history 0: expected a list of item ids, got 7 \(int\)"),
        ([["7"], None], "history 1: expected a list of item ids, got None"),
        ([["7"], [["7"]]], r"history 1, position 0: \['7'\] \(list\) is not an id"),
        ([["7", float("nan")]], r"history 0, position 1: nan \(float\) is not an id; ids are text or"),
        ([["7", None]], r"history 0, position 1: None"),
        ([["7"], ["a", pd.NA]], r"history 1, position 1: <NA>"),
        ([[7.0]], r"position 0: 7\.0 \(float\) is not an id"),
        ([[Decimal(7)]], r"position 0: Decimal\('7'\) \(Decimal\) is not an id"),
        ([[b"7"]], r"position 0: b'7' \(bytes\) is not an id"),
        ([[True]], r"position 0: True \(bool\) is not an id"),
        ([[np.True_]], r"position 0: "),
        ([["7", ""]], "position 1: the id is empty"),
        ([[-7]], "item '-7' is not in this dataset"),
        ([["7"], []], "history 1 is empty"),
        ([{"7", "a"}], "history 0: expected a list of item ids in their order, got a set"),
        ({"u": ["7"]}, "histories: .*got a dict"),
        (pd.DataFrame({"a": ["7"]}), "histories: .*got a DataFrame; give one of its columns"),
        (None, "histories: .*got None"),
        (7, r"histories: .*got 7 \(int\)"),
        ([np.array("7")], "history 0: .*got the text '7'"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_named(data: Dataset, lists: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list_histories(lists, data)


def test_users_and_numbers_from_python(data: Dataset) -> None:
    assert dataset_histories(data, np.array(["u0"])).user_ids.to_pylist() == ["u0"]
    with pytest.raises(UserError, match="users: expected a list of user ids, got the text 'u0'"):
        dataset_histories(data, "u0")
    with pytest.raises(UserError, match=r"users, position 0: None"):
        dataset_histories(data, [None])  # type: ignore[list-item]
    with pytest.raises(UserError, match="user '7' is not in dataset"):
        dataset_histories(data, [7])
    assert whole_number(np.int32(3), name="k") == 3
    for value in (3.0, True, "3", None, np.float64(3), [3]):
        with pytest.raises(UserError, match="k must be a whole number, got "):
            whole_number(value, name="k")
    with pytest.raises(UserError, match="max_len must be a whole number"):
        data.splits(max_len=2.5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"item_ids, position 1: 3\.0 \(float\) is not an id"):
        data.source("title", ["a", 3.0])  # type: ignore[list-item]
    assert data.source("title", [7]).equals(data.source("title", ["7"]))  # type: ignore[list-item]
    for value in (None, 7, "", b"x", "a\0b"):
        with pytest.raises(UserError, match=r"expected a path|is not a valid path"):
            a_path(value, name="run")
    with pytest.raises(UserError, match="runs: expected a list of paths, got 'run'"):
        paths("run", name="runs")
