"""Inputs of encoders: fields of items by name, and joined texts."""

import numpy as np
import pyarrow as pa
import pytest
from tiny_dataset import write_captions

import toolkit
from toolkit import UserError, schema, sources
from toolkit.json_files import write_json
from toolkit.sources import captions_behind
from toolkit.store import Table

CLIPS = {"c": [b"1", b"2"], "b": [b"3"]}  # of a, none


@pytest.fixture
def folder(tmp_path):
    """Items c, a, b; a has a blank title and no frames, b has no caption."""
    items = {"item_id": ["c", "a", "b"], "item": [1, 2, 3], "title": ["x", " ", "z"]}
    Table(tmp_path / "items").append(pa.table(items, schema=schema.ITEMS))
    rows = [
        {"item_id": id_, "frames": CLIPS.get(id_), "status": "ok" if id_ in CLIPS else "missing"}
        for id_ in "abc"
    ]
    Table(tmp_path / "frames").append(pa.Table.from_pylist(rows, schema=schema.FRAMES))
    write_json(tmp_path / "dataset.json", {"schema_version": schema.SCHEMA_VERSION, "steps": {}})
    write_captions(tmp_path, "told", {"a": "of a", "b": None, "c": "of c"})
    return tmp_path


def test_frames_are_lists_of_pictures_in_the_items_order(folder):
    data = toolkit.open_dataset(folder)
    assert data.source("frames").to_pylist() == [[b"1", b"2"], None, [b"3"]]
    assert data.source("frames", ["b"]).to_pylist() == [[b"3"]]


def test_captions_that_are_not_ok_are_null(folder):
    assert toolkit.open_dataset(folder).source("told").to_pylist() == ["of c", "of a", None]
    rows = [
        {"item_id": id_, "text": "a a a a", "status": status, "model": "m", "revision": "0"}
        for id_, status in (("a", "corrupt"), ("b", "ok"), ("c", "empty"))
    ]
    table = pa.Table.from_pylist([{**row, "prompt_hash": "0"} for row in rows], schema.CAPTIONS)
    Table(folder / "captions" / "flawed").append(table)
    found = toolkit.open_dataset(folder).source("flawed").to_pylist()
    assert found == [None, None, "a a a a"]  # a flawed text is stored, and not read


def test_joined_texts_are_what_there_is_in_the_order_named(folder):
    write_captions(folder, "more", {"a": None, "b": None, "c": "again"})
    data = toolkit.open_dataset(folder)
    assert data.source("concat:title+told").to_pylist() == ["x\nof c", "of a", "z"]
    assert data.source("concat:told+title").to_pylist() == ["of c\nx", "of a", "z"]
    assert data.source("concat:more+told+title", ["c"]).to_pylist() == ["again\nof c\nx"]
    assert data.source("concat:told+more", ["b"]).to_pylist() == [None]
    assert data.source("concat:title+told").type == pa.string()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "sound",
            r"source 'sound' is unknown; known: title, cover, frames, told; .*--caption\.s",
        ),
        ("concat:title+sound", "source 'sound' is unknown"),
        ("../frames", r"source '\.\./frames' is unknown"),
        (
            "concat:title",
            r"'concat:title' must join two or more texts; write it like concat:title\+ima",
        ),
        ("concat:", "must join two or more texts"),
        ("concat:title+", "must join two or more texts"),
        ("concat:title++told", "must join two or more texts"),
        (
            "concat:title+cover",
            "joins texts, but 'cover' is not text; configure a separate tower for it",
        ),
        ("concat:frames+title", "joins texts, but 'frames' is not text"),
        ("cover", "covers: no such table; run the prep step that writes it"),
    ],
)
def test_sources_that_cannot_be_read(folder, source, message):
    with pytest.raises(UserError, match=message):
        toolkit.open_dataset(folder).source(source)


def test_captions_are_known_by_what_made_them(folder):
    data = toolkit.open_dataset(folder)
    assert captions_behind(data, "title") == captions_behind(data, "frames") == ""
    before = captions_behind(data, "concat:title+told")
    assert before == "told " + data.manifest["steps"]["caption:told"]["config_hash"]
    write_captions(folder, "told", {}, model="another")
    assert captions_behind(toolkit.open_dataset(folder), "told") != before
    Table(folder / "captions" / "half").append(schema.CAPTIONS.empty_table())
    with pytest.raises(UserError, match="captions 'half' are not finished; run prep caption first"):
        captions_behind(toolkit.open_dataset(folder), "half")


def test_a_reader_reads_by_item_number(folder):
    data = toolkit.open_dataset(folder)
    write_captions(folder, "more", {"b": "of b"})
    for source in ("title", "frames", "told", "more", "concat:more+title"):
        reader = data.source_reader(source)
        whole = [None, *data.source(source).to_pylist()]
        for numbers in ([3, 1, 3, 0, 2], [], np.array([2, 0], np.int32)):
            assert reader.read(numbers).to_pylist() == [whole[number] for number in numbers]
        assert reader.read([]).type == reader.read([1]).type
    for number in (-1, 4):
        with pytest.raises(ValueError, match=rf"item number {number} is outside 0\.\.3"):
            data.source_reader("title").read([1, number])


def test_rows_of_items_are_those_of_a_search_one_by_one():
    rng = np.random.default_rng(0)
    ids = [f"i{number}" for number in range(50)]
    held = list(
        rng.permutation([*ids[:40], *ids[:5], "of no item"])
    )  # ten items absent, five twice
    items, table = (pa.table({"item_id": pa.chunked_array([some])}) for some in (ids, held))
    expected = [held.index(id_) if id_ in held else -1 for id_ in ids]
    assert sources.rows_by_item(items, table).tolist() == [-1, *expected]


def test_items_are_looked_up_once_however_many_batches_are_read(folder, monkeypatch):
    searches = []
    rows_by_item = sources.rows_by_item
    monkeypatch.setattr(
        sources, "rows_by_item", lambda *tables: searches.append(1) or rows_by_item(*tables)
    )
    data = toolkit.open_dataset(folder)
    for numbers in ([1], [2, 3], [3, 1]) * 10:
        data.source("title", ["a", "b"])  # row r is item r + 1: nothing to look up
        data.source_reader("frames").read(numbers)
        data.source("frames", ["c"])
        data.source_reader("concat:title+told").read(numbers)
    assert len(searches) == 2  # of frames, and of the captions
