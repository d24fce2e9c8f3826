"""The Parquet files of the MicroLens challenge: items, the longest sequence of each user, and what is refused.

Columns as public solutions of the challenge read them: item_id int64, item_tags arrays of 5 int64 padded with 0 on the left,
levels int64, item_seq lists of int64 padded with 0, several rows per user.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

import prep
import toolkit
from prep import FeaturesConfig, MediaConfig, PrepConfig
from prep.readers import choose
from prep.readers.challenge import Sequences, longest, read, read_items, read_sequences
from prep.readers.raw import INTERACTIONS
from toolkit import UserError

FEATURES = {
    "item_id": pa.array([1, 2, 3], pa.int64()),
    "item_title": ["一", "two", None],
    "item_tags": pa.array([[0, 0, 0, 0, 7], [0, 0, 0, 4, 9], [0] * 5], pa.list_(pa.int64(), 5)),
    "likes_level": pa.array([7, 5, 0], pa.int64()),
    "views_level": pa.array([2, 9, 1], pa.int64()),
    "txt_emb_BERT": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
}
INFO = {
    "item_id": pa.array([0, 1, 2], pa.int64()),
    "item_tags": [[0, 0], [0, 7], [4, 9]],
    "item_emb_d128": [[0.0], [1.0], [2.0]],
}
SEQUENCES = {
    "user_id": pa.array([8, 5, 8, 5, 8], pa.int64()),
    "item_seq": [[0, 0, 1, 2], [0, 3, 1, 2], [0, 1, 2, 3], [0, 0, 3, 1], [1, 2, 3, 1]],
}


def put(folder, **tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        pa.parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def dump(tmp_path):
    return put(tmp_path / "dump", item_feature=FEATURES, item_seq=SEQUENCES)


def interactions_of(raw):
    table = pa.Table.from_batches(list(raw.interactions), INTERACTIONS)
    names = ("user_id", "item_id", "line")
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def test_items_with_titles_tags_and_levels(dump):
    assert read_items(dump / "item_feature.parquet").to_pydict() == {
        "item_id": ["1", "2", "3"],
        "title": ["一", "two", None],
        "line": [1, 2, 3],
        "likes_level": [7, 5, 0],
        "views_level": [2, 9, 1],
        "tags": [["7"], ["4", "9"], []],
    }


def test_item_zero_is_padding(tmp_path):
    path = put(tmp_path, item_info=INFO) / "item_info.parquet"
    items = read_items(path)
    assert items.column("item_id").to_pylist() == ["1", "2"]
    assert items.column("line").to_pylist() == [2, 3]
    assert items.column("tags").to_pylist() == [["7"], ["4", "9"]]
    assert items.column("title").null_count == 2


def test_the_longest_sequence_of_each_user_is_kept(dump):
    raw = read(choose("auto", dump)[1])
    user_8 = [("8", item, 5) for item in "1231"]
    user_5 = [("5", item, 2) for item in "312"]
    assert interactions_of(raw) == user_8 + user_5  # as they first come
    assert raw.problems == ()  # every other row is a beginning of those


@pytest.mark.parametrize("kind", [pa.list_(pa.int32(), 4), pa.large_list(pa.int64())])
def test_sequences_may_be_lists_of_any_kind(tmp_path, kind):
    rows = pa.array([[0, 0, 1, 2], [0, 3, 1, 2], None], kind)
    path = put(tmp_path, item_seq={"user_id": [8, 5, 5], "item_seq": rows}) / "item_seq.parquet"
    users, starts, items = read_sequences(path)
    assert (users.tolist(), starts.tolist(), items.tolist()) == (
        [8, 5, 5],
        [0, 2, 5, 5],
        [1, 2, 3, 1, 2],
    )


def test_rows_without_an_id_are_refused(dump):
    put(dump, item_seq={"user_id": [1, None], "item_seq": [[1], [2]]})
    with pytest.raises(UserError, match=r"item_seq\.parquet: column user_id has rows without"):
        read(choose("auto", dump)[1])


def test_what_is_no_beginning_of_it_is_told_in_sum(tmp_path):
    rows = [[1, 2, 3], [2, 3], [3, 2, 1], [0, 0, 0], [1, 2]]
    sequences = {"user_id": pa.array([1, 1, 1, 2, 1]), "item_seq": rows}
    dump = put(tmp_path, item_info=INFO, item_seq=sequences)
    raw = read(choose("auto", dump)[1])
    kept = [("1", item, 3) for item in "321"]  # the last of equal length
    assert interactions_of(raw) == [*kept, ("2", None, 4)]  # user 2 has none
    assert [(p.item_id, p.error_class, p.message) for p in raw.problems] == [
        (
            None,
            "other_sequence",
            "item_seq.parquet: 3 rows are not a prefix of their user's longest sequence; only the "
            "longest is kept (e.g. row 1 of user 1)",
        ),
    ]


def test_against_a_slow_reference(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    users = rng.integers(1, 40, size=300)
    rows = [rng.integers(1, 4, size=rng.integers(0, 4)).tolist() for _ in users]
    columns = {"user_id": pa.array(users), "item_seq": pa.array(rows, pa.list_(pa.int64()))}
    dump = put(tmp_path, item_info=INFO, item_seq=columns)
    monkeypatch.setattr("prep.readers.challenge._ROWS_AT_ONCE", 7)
    kept: dict[int, tuple[int, list[int]]] = {}
    for row, (user, items) in enumerate(zip(users, rows, strict=True)):
        kept.setdefault(user, (row, items))
        if len(items) >= len(kept[user][1]):
            kept[user] = (row, items)
    expected = [
        (str(user), None if item is None else str(item), row + 1)
        for user, (row, items) in kept.items()
        for item in items or [None]
    ]
    others = [
        row
        for row, (user, items) in enumerate(zip(users, rows, strict=True))
        if items != kept[user][1][: len(items)]
    ]
    raw = read(choose("auto", dump)[1])
    assert interactions_of(raw) == expected
    assert f"{len(others)} rows are not a prefix" in raw.problems[-1].message
    assert f"row {others[0] + 1} of" in raw.problems[-1].message


def test_no_sequences_at_all(tmp_path):
    columns = {"user_id": pa.array([], pa.int64()), "item_seq": pa.array([], pa.list_(pa.int64()))}
    path = put(tmp_path, item_seq=columns) / "item_seq.parquet"
    assert len(longest(read_sequences(path))) == 0
    one = Sequences(np.array([3]), np.array([0, 2]), np.array([1, 1]))
    assert longest(one).tolist() == [0]


# --- the layout


def test_files_lie_where_the_challenge_puts_them(tmp_path):
    put(tmp_path / "MicroLens_1M_x1", item_info=INFO, train={"user_id": [1]})
    put(tmp_path, item_seq=SEQUENCES)
    layout, files = choose("auto", tmp_path)
    assert layout == "challenge"
    assert files["items"] == tmp_path / "MicroLens_1M_x1" / "item_info.parquet"


@pytest.mark.parametrize("name", ["item_feature", "item_info", "item_seq"])
def test_half_of_it_is_a_question(tmp_path, name):
    with pytest.raises(UserError, match=rf"found {name}\.parquet, expected both item_seq\.parquet"):
        choose("auto", put(tmp_path, **{name: SEQUENCES}))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"item_seq": {"user": [1], "item_seq": [[1]]}},
            r"item_seq\.parquet: expected the integer columns user_id, item_seq .*found user: int64, item_seq",
        ),
        ({"item_seq": {"user_id": ["a"], "item_seq": [[1]]}}, r"found user_id: string"),
        ({"item_seq": {"user_id": [1], "item_seq": ["1 2"]}}, r"found .*item_seq: string"),
        (
            {"item_feature": {"id": [1]}},
            r"item_feature\.parquet: expected the integer columns item_id .*id: int",
        ),
    ],
)
def test_other_columns_are_named(dump, tables, message):
    put(dump, **tables)
    with pytest.raises(UserError, match=message):
        read(choose("auto", dump)[1])


def test_a_file_that_is_no_parquet(dump):
    (dump / "item_seq.parquet").write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=r"item_seq\.parquet: not a Parquet file"):
        read(choose("auto", dump)[1])


def test_from_dump_to_dataset(dump, tmp_path, capsys):
    (dump / "item_images" / "item_images").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(dump / "item_images" / "item_images" / "1.jpg")
    tower = FeaturesConfig(str(dump / "item_feature.parquet"), column="txt_emb_BERT")
    config = PrepConfig(media=MediaConfig(workers=1), features={"bert": tower})
    prep.build(dump, tmp_path / "out", config)
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.items.column("likes_level").to_pylist() == [7, 5, 0]
    assert data.items.column("title").to_pylist() == ["一", "two", ""]
    assert data.interactions.num_rows == 7
    assert data.interactions.column("timestamp_ms").null_count == 7
    assert data.covers["status"].to_pylist() == ["ok", "missing", "missing"]
    assert data.states("bert")[:, 0].tolist() == [[0, 0], [1, 2], [3, 4], [5, 6]]
    assert prep.check(data.path) == []
    assert "features:" not in capsys.readouterr().out
