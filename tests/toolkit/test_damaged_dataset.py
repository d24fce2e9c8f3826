"""A damaged or hostile dataset is refused in one line that names the file; no reader crashes."""

import errno
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

import prep
import toolkit
from benchmarks.flips import flips
from tests.tiny_dataset import walks, write_dataset
from toolkit import UserError
from toolkit.json_files import write_json
from toolkit.store import Table, map_file, read_file, read_schema

ITEMS = 12
READERS = {
    "items": lambda data: data.items.to_pydict(),
    "interactions": lambda data: (data.interactions.to_pydict(), data.splits()),
    "states/title": lambda data: data.states("title"),
    "errors": lambda data: data.errors.to_pydict(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    states = np.random.default_rng(0).normal(size=(ITEMS, 2, 3))
    folder = tmp_path_factory.mktemp("damaged") / "data"
    write_dataset(folder, walks(users=20, items=ITEMS), items=ITEMS, towers={"title": states})
    errors = toolkit.open_dataset(folder).errors
    Table(folder / "errors").append(errors)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


def change(folder, name, change):
    table = Table(folder / name, compression=None)
    (shard,) = table.shards()
    table.replace(0, change(read_file(shard.path)))


@pytest.mark.parametrize("name", READERS)
def test_no_flipped_bit_ends_a_reader_otherwise_than_in_one_line(folder, name):
    """The table is read to its last value. A reader that followed an offset out of the file would end this process."""
    (path,) = (folder / name).glob("part-*.arrow")
    whole = path.read_bytes()
    refused = 0
    for _, place, mask in flips([path], 150, seed=0):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
        try:
            READERS[name](toolkit.open_dataset(folder))
        except UserError as error:
            assert str(folder) in str(error) or "interactions" in str(error)
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1, -20])
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_was_cut_off(folder, name, length):
    (path,) = (folder / name).glob("part-*.arrow")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"part-00000\.arrow: not a readable Arrow file"):
        READERS[name](toolkit.open_dataset(folder))
    assert len(prep.check(folder)) >= 1


MANIFESTS = {
    "[]": "expected a JSON object, found list",
    "null": "expected a JSON object, found NoneType",
    "[" * 200_000: "not valid JSON",
    "9" * 6000: "not valid JSON",
    "\udcff\udcfe{": "not valid JSON",
    "": "not valid JSON",
    '{"schema_version": []}': "schema version",
    '{"schema_version": 1, "steps": []}': r"expected dict under 'steps', found list",
    '{"schema_version": 1, "steps": {"ingest": 3}}': r"expected dict under 'steps\.ingest', found int '3'",
    '{"schema_version": 1, "config": "x"}': "expected dict under 'config', found str 'x'",
    '{"schema_version": 1, "counts": null}': "expected dict under 'counts', found NoneType",
    '{"schema_version": 1, "shards": 7}': "expected dict under 'shards', found int '7'",
}


@pytest.mark.parametrize("text", MANIFESTS, ids=lambda text: text[:40])
def test_a_broken_manifest(folder, text):
    (folder / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"dataset\.json: .*{MANIFESTS[text]}"):
        toolkit.open_dataset(folder)
    (reason,) = prep.check(folder)
    assert "dataset.json" in reason


@pytest.mark.parametrize("item", [10**6, -5, 0])
def test_items_that_are_none_of_the_dataset_s(folder, item):
    def put(table):
        values = table["item"].to_pylist()
        values[3] = item
        return table.set_column(2, table.schema.field("item"), pa.array(values, pa.int32()))

    change(folder, "interactions", put)
    data = toolkit.open_dataset(folder)
    for ask in (data.splits, data.histories):
        with pytest.raises(
            UserError, match=rf"a row has item {item}, but items are numbered 1\.\.12"
        ):
            ask()
    assert any("items outside of 1..12" in reason for reason in prep.check(folder))


@pytest.mark.parametrize(
    "about",
    [
        *({"width": "0"}, {"width": "x"}, {"width": "9" * 5000}, {"width": "99999999999"}),
        *({"layers": "-1"}, {"layers": ""}, {"layers": "1000000"}, {"widths": "1,x"}),
        *({"modality": "sound"}, {"dtype": "int8"}, {"width": "6"}, {"encoder": b"\xff"}),
    ],
    ids=lambda about: str(about)[:30],
)
def test_metadata_of_states_that_cannot_be(folder, about):
    about = {key.encode(): value for key, value in about.items()}
    metadata = {**Table(folder / "states/title").schema().metadata, **about}
    change(folder, "states/title", lambda table: table.replace_schema_metadata(metadata))
    data = toolkit.open_dataset(folder)
    for ask in (data.tower, data.states):
        with pytest.raises(UserError, match=r"states/title"):
            ask("title")
    assert any("states/title" in reason for reason in prep.check(folder))


@pytest.mark.parametrize("name", ["items", "interactions", "states/title", "errors"])
def test_a_table_of_another_schema(folder, name):
    other = pa.table({"number": pa.array([1, 2], pa.int64())})
    about = Table(folder / name).schema().metadata
    change(folder, name, lambda table: other.replace_schema_metadata(about))
    with pytest.raises(UserError, match=r"column '\w+' is missing|the states do not have"):
        READERS[name](toolkit.open_dataset(folder))
    assert any(name in reason for reason in prep.check(folder))


def test_settings_in_metadata_that_are_no_json(folder):
    metadata = {**Table(folder / "states/title").schema().metadata, b"versa_config": b"{"}
    change(folder, "states/title", lambda table: table.replace_schema_metadata(metadata))
    with pytest.raises(UserError, match=r"its metadata versa_config are malformed"):
        toolkit.open_dataset(folder).states_settings("title")


@pytest.mark.parametrize("read", [read_file, map_file, read_schema])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "no read permission .*change its permissions"),
        (errno.EIO, "cannot be read now"),
    ],
)
def test_what_the_system_refuses_is_no_reason_to_delete(folder, monkeypatch, read, number, message):
    """Tests may run as root, who may read everything."""

    def refuse(path, *args):
        raise OSError(number, "the system says no", str(path))

    monkeypatch.setattr("pyarrow.memory_map", refuse)
    monkeypatch.setattr("toolkit.mapped.map_bytes", refuse)
    with pytest.raises(UserError, match=message) as refused:
        read(folder / "items/part-00000.arrow")
    assert "delete" not in str(refused.value)


def test_a_folder_in_the_place_of_a_shard(folder):
    (folder / "items/part-00001.arrow").mkdir()
    with pytest.raises(UserError, match=r"part-00001\.arrow"):
        _ = toolkit.open_dataset(folder).items


def test_shards_of_other_names_are_none(folder):
    (folder / "items/part-copy.arrow").write_bytes(b"")
    assert toolkit.open_dataset(folder).items.num_rows == ITEMS


def test_json_that_carries_its_digest_has_it_renewed(tmp_path):
    path = tmp_path / "sealed.json"
    write_json(path, {"a": 1, "content_sha256": ""})
    first = json.loads(path.read_text())
    write_json(path, {**first, "a": 2})
    assert json.loads(path.read_text())["content_sha256"] != first["content_sha256"]
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
