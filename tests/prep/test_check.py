"""`check` finds every kind of damage, and reports nothing for an intact dataset."""

import re
import shutil

import numpy as np
import pyarrow as pa
import pytest

import prep
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.check import count, describe
from prep.steps import manifest
from toolkit import schema
from toolkit.json_files import read_json, write_json
from toolkit.store import Table, read_file, write_table


@pytest.fixture(scope="module")
def whole(synth_dump, tiny_bert, tmp_path_factory):
    """A dataset of which two items have no cover."""
    folder = tmp_path_factory.mktemp("check")
    dump = shutil.copytree(synth_dump, folder / "dump")
    for cover in sorted((dump / "covers").iterdir())[:2]:
        cover.unlink()
    media = MediaConfig(workers=1, frame_count=1)
    prep.build(
        dump,
        folder / "out",
        PrepConfig(media=media, encode={"title": EncodeConfig(str(tiny_bert))}),
    )
    return folder / "out"


@pytest.fixture
def dataset(whole, tmp_path):
    """A copy of it, to break."""
    return shutil.copytree(whole, tmp_path / "out")


def rewrite(dataset, name, change):
    """Replaces the only shard of a table by `change` of it."""
    table = Table(dataset / name, compression=None)
    (shard,) = table.shards()
    table.replace(shard.index, change(read_file(shard.path)))


def with_column(table, name, values):
    field = table.schema.field(name)
    return table.set_column(table.schema.names.index(name), field, pa.array(values, field.type))


def changed(name, row, value):
    """A change of one cell."""

    def change(table):
        values = table[name].to_pylist()
        values[row] = value
        return with_column(table, name, values)

    return change


def test_a_whole_dataset_is_whole(dataset):
    assert prep.check(dataset) == []


def test_its_counts_are_a_table(dataset):
    lines = [line.split(maxsplit=2) for line in describe(count(dataset)).splitlines()]
    assert [line[:2] for line in lines] == [
        ["items", "24"],
        ["interactions", "405"],
        ["covers", "24"],
        ["frames", "24"],
        ["states/title", "24"],
    ]
    assert lines[2][2] == "22 ok, 2 missing"
    assert lines[4][2] == "24 ok"


BREAKS = {
    r"covers: column 'image' is missing": lambda d: rewrite(
        d, "covers", lambda t: t.drop_columns("image")
    ),
    r"covers: 1 items have no row; run prep again": lambda d: rewrite(
        d, "covers", lambda t: t.slice(0, 23)
    ),
    r"frames: 1 rows repeat an item that has another row": lambda d: rewrite(
        d, "frames", lambda t: pa.concat_tables([t, t.slice(0, 1)])
    ),
    r"frames: 1 rows belong to unknown items": lambda d: rewrite(
        d, "frames", changed("item_id", 0, "stranger")
    ),
    r"unknown status 'fine'": lambda d: rewrite(d, "covers", changed("status", 5, "fine")),
    r"covers: item '\w+' has status corrupt, but errors/ has \['missing'\]": lambda d: rewrite(
        d, "covers", changed("status", 0, "corrupt")
    ),
    r"covers: item '\w+' has status missing, but errors/ has \[\]": lambda d: (
        d / "errors" / "covers-00000.arrow"
    ).unlink(),
    r"covers: item '\w+' has status missing, but errors/ has \['missing', 'missing'\]": lambda d: (
        shutil.copy(d / "errors" / "covers-00000.arrow", d / "errors" / "covers-00001.arrow")
    ),
    r"interactions: 1 rows with positions that do not count": lambda d: rewrite(
        d, "interactions", changed("position", 3, 9)
    ),
    r"interactions: 1 rows with items outside of 1..24": lambda d: rewrite(
        d, "interactions", changed("item", 3, 99)
    ),
    r"interactions: 1 rows with users not numbered 1..U": lambda d: rewrite(
        d, "interactions", lambda t: with_column(t, "user", np.asarray(t["user"]) + 1)
    ),
    r"dataset.json records .*'interactions': 405.*the tables hold .*'interactions': 404": lambda d: (
        rewrite(d, "interactions", lambda t: t.slice(0, 404))
    ),
    r"items are not numbered 1..N": lambda d: rewrite(
        d, "items", lambda t: t.take(list(range(23, -1, -1)))
    ),
    r"states/title: part-00000.arrow has other item numbers than items/": lambda d: rewrite(
        d, "states/title", changed("item", 3, 5)
    ),
    r"states/title: part-00000.arrow holds states that are not finite": lambda d: rewrite(
        d, "states/title", changed("states", 3, [float("nan")] + [0.0] * 63)
    ),
    r"states/title: metadata lack \['encoder'": lambda d: rewrite(
        d, "states/title", lambda t: t.replace_schema_metadata({})
    ),
    r"states/title: no such table": lambda d: shutil.rmtree(d / "states"),
    r"frames/part-00000.arrow: not a readable Arrow file": lambda d: (
        d / "frames" / "part-00000.arrow"
    ).write_bytes(b"ARROW1\0\0cut off"),
    r"not a finished dataset, because it has no dataset.json": lambda d: (
        d / "dataset.json"
    ).unlink(),
}


@pytest.mark.parametrize("message", BREAKS)
def test_what_is_broken_is_said(dataset, message):
    BREAKS[message](dataset)
    reasons = prep.check(dataset)
    assert any(re.search(message, reason) for reason in reasons), reasons


@pytest.fixture
def captioned(dataset):
    """A dataset with captions of the 22 covers that are there; the two others are missing."""
    covers = Table(dataset / "covers").read().select(["item_id", "status"]).to_pylist()
    made_by = {"model": "m", "revision": "r", "prompt_hash": "p"}
    rows = [{**row, **made_by, "text": "a dog" * (row["status"] == "ok") or None} for row in covers]
    Table(dataset / "captions" / "said").append(pa.Table.from_pylist(rows, schema=schema.CAPTIONS))
    told = read_file(dataset / "errors" / "covers-00000.arrow")
    told = with_column(told, "step", ["caption:said"] * told.num_rows)
    write_table(dataset / "errors" / "caption-said-00000.arrow", told, compression=None)
    manifest.record_config(dataset, caption={"said": {}})
    manifest.record_step(dataset, "caption:said", {})
    return dataset


def test_captions_that_are_whole_are_whole(captioned):
    assert prep.check(captioned) == []
    (line,) = (line for line in describe(count(captioned)).splitlines() if "captions/said" in line)
    assert line.split(maxsplit=2)[1:] == ["24", "22 ok, 2 missing"]


BROKEN_CAPTIONS = {
    r"^captions/said: 1 items have no row; run prep again": lambda d: rewrite(
        d, "captions/said", lambda t: t.slice(0, 23)
    ),
    r"^captions/said: item '\w+' has status corrupt, but errors/ has \[\]$": lambda d: rewrite(
        d, "captions/said", changed("status", 5, "corrupt")
    ),
    r"^captions/said: unknown status 'lovely'$": lambda d: rewrite(
        d, "captions/said", changed("status", 5, "lovely")
    ),
    r"^captions/said: 1 captions have the status ok but no text$": lambda d: rewrite(
        d, "captions/said", changed("text", 5, None)
    ),
    r"^captions/said: 1 captions have the status ok but no text *$": lambda d: rewrite(
        d, "captions/said", changed("text", 5, " ")
    ),
    r"^captions 'more' are configured but not generated; run: python -m prep caption": lambda d: (
        manifest.record_config(d, caption={"said": {}, "more": {}})
    ),
}


@pytest.mark.parametrize("message", BROKEN_CAPTIONS)
def test_broken_captions_are_said(captioned, message):
    BROKEN_CAPTIONS[message](captioned)
    reasons = prep.check(captioned)
    assert any(re.search(message, reason) for reason in reasons), reasons


def test_captions_that_were_broken_off_are_said(captioned):
    found = read_json(captioned / "dataset.json")
    del found["steps"]["caption:said"]
    write_json(captioned / "dataset.json", found)
    assert prep.check(captioned) == [
        "step caption:said has not finished; run prep again to resume it",
        f"captions 'said' are configured but not generated; run: python -m prep caption {captioned}",
    ]


def test_a_step_that_has_not_finished_is_said(dataset):
    found = read_json(dataset / "dataset.json")
    del found["steps"]["frames"], found["steps"]["encode:title"]
    write_json(dataset / "dataset.json", found)
    assert prep.check(dataset) == [
        "step frames has not finished; run prep again to resume it",
        "step encode:title has not finished; run prep again to resume it",
        f"tower 'title' is configured but not encoded; run: python -m prep encode {dataset}",
    ]


def test_states_of_a_failed_item_must_be_zero(dataset):
    item_id = Table(dataset / "items").read()["item_id"][4].as_py()
    row = {
        "item_id": [item_id],
        "step": ["encode:title"],
        "error_class": ["empty"],
        "message": ["x"],
    }
    path = dataset / "errors" / "encode-title-00000.arrow"
    write_table(path, pa.table(row, schema=schema.ERRORS), compression=None)
    (reason,) = prep.check(dataset)
    assert "has states of items that errors/ lists as failed" in reason


def test_errors_of_a_step_without_a_table_are_said(dataset):
    shutil.rmtree(dataset / "covers")
    found = read_json(dataset / "dataset.json")
    found["steps"]["covers"] = {"skipped": "the dump has none"}
    write_json(dataset / "dataset.json", found)
    assert prep.check(dataset) == [
        "errors/ has rows of the steps ['covers'], but the tables of these steps are missing"
    ]


def test_states_in_bfloat16(dataset):
    """The same values in the other dtype are whole, too; an infinity among them is not."""
    tower = Table(dataset / "states" / "title", compression=None)
    found = read_file(tower.shards()[0].path)
    values = found["states"].combine_chunks().flatten().to_numpy().astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    metadata = {**found.schema.metadata, b"dtype": b"bfloat16"}
    for infinite in (False, True):
        if infinite:
            bits[70] = 0x7F80
        expected = schema.states(4, 16, "bfloat16").with_metadata(metadata)
        flat = pa.FixedSizeListArray.from_arrays(bits, type=expected.field("states").type)
        tower.replace(0, pa.table([found["item_id"], found["item"], flat], schema=expected))
        reasons = prep.check(dataset)
        assert reasons == (
            ["states/title: part-00000.arrow holds states that are not finite"] if infinite else []
        )
