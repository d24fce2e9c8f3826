"""Opening a dataset folder: its contents, rows by number, and the errors of broken datasets."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import toolkit
from toolkit import TowerSpec, UserError, schema
from toolkit.json_files import write_json
from toolkit.store import Table, write_table

ABOUT = {
    "encoder": "tiny",
    "revision": "1",
    "layers": "2",
    "width": "3",
    "pooling": "cls",
    "source": "title",
    "modality": "text",
}


def write_items(folder, item=(1, 2, 3)):
    table = pa.table({"item_id": ["c", "a", "b"], "item": list(item), "title": ["x", " ", "z"]})
    Table(folder / "items").append(table.cast(schema.ITEMS))


def write_states(folder, numbers, metadata=None, tower="title"):
    """Item n has the state n + 0.0, n + 0.1, ... (2 layers of 3)."""
    columns = schema.states(2, 3).with_metadata(ABOUT if metadata is None else metadata)
    ids = ["c", "a", "b"]
    states = [[np.float16(n + i / 10) for i in range(6)] for n in numbers]
    rows = {"item_id": [ids[n - 1] for n in numbers], "item": numbers, "states": states}
    Table(folder / "states" / tower, compression=None).append(pa.table(rows, schema=columns))


@pytest.fixture
def folder(tmp_path):
    """Three items, one user, covers of two items, a tower in two shards out of order."""
    write_items(tmp_path)
    rows = {"user_id": ["u"] * 5, "user": [1] * 5, "item": [1, 2, 3, 2, 1], "position": [*range(5)]}
    rows["timestamp_ms"] = [None] * 5
    Table(tmp_path / "interactions").append(pa.table(rows, schema=schema.INTERACTIONS))
    covers = [
        {"item_id": "b", "image": b"B", "width_px": 1, "height_px": 1, "status": "ok"},
        {"item_id": "a", "image": None, "status": "missing"},
        {"item_id": "c", "image": b"C", "width_px": 1, "height_px": 1, "status": "ok"},
    ]
    for row in covers:
        Table(tmp_path / "covers").append(pa.Table.from_pylist([row], schema=schema.COVERS))
    write_states(tmp_path, [3, 1])
    write_states(tmp_path, [2])
    write_json(
        tmp_path / "dataset.json", {"schema_version": schema.SCHEMA_VERSION, "name": "three"}
    )
    return tmp_path


def test_a_dataset_knows_its_name_items_and_towers(folder):
    data = toolkit.open_dataset(folder)
    assert data.name == "three"
    assert data.item_ids.ids == ["c", "a", "b"]
    assert data.towers() == ["title"]
    assert data.tower("title") == TowerSpec("title", layers=2, width=3, modality="text")
    assert repr(data) == f"Dataset({str(folder)!r}, items=3, towers=['title'])"
    assert toolkit.open_dataset(str(folder)).interactions.num_rows == 5


def test_states_stand_in_the_row_of_their_number(folder):
    states = toolkit.open_dataset(folder).states("title")
    assert (states.shape, states.dtype) == ((4, 2, 3), torch.float16)
    assert not states[0].any()
    for number in (1, 2, 3):
        expected = torch.tensor([number + i / 10 for i in range(6)]).half().reshape(2, 3)
        assert torch.equal(states[number], expected)


def test_sources_come_in_the_items_order(folder):
    data = toolkit.open_dataset(folder)
    assert data.source("title").to_pylist() == ["x", None, "z"]
    assert data.source("cover").to_pylist() == [b"C", None, b"B"]


def test_sources_of_chosen_items(folder):
    data = toolkit.open_dataset(folder)
    assert data.source("cover", ["b", "a", "b", "unknown"]).to_pylist() == [b"B", None, b"B", None]
    assert data.source("title", []).to_pylist() == []


def test_an_unknown_source(folder):
    with pytest.raises(UserError, match="source 'sound' is unknown; known: title, cover, frames"):
        toolkit.open_dataset(folder).source("sound")


def test_errors_come_from_every_step(folder):
    assert toolkit.open_dataset(folder).errors.num_rows == 0
    for step in ("ingest", "covers"):
        row = {"item_id": "a", "step": step, "error_class": "empty", "message": "x"}
        table = pa.Table.from_pylist([row], schema=schema.ERRORS)
        write_table(folder / "errors" / f"{step}-00000.arrow", table, compression="zstd")
    assert sorted(toolkit.open_dataset(folder).errors["step"].to_pylist()) == ["covers", "ingest"]


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path):
    with pytest.raises(
        UserError,
        match=r"not a finished dataset, because it has no dataset\.json.*python -m prep build DUMP DATASET",
    ):
        toolkit.open_dataset(tmp_path)


def test_another_schema_version_is_refused(folder):
    write_json(folder / "dataset.json", {"schema_version": 99})
    with pytest.raises(UserError, match=r"schema version 99, expected 1"):
        toolkit.open_dataset(folder)


def test_items_must_be_numbered_in_order(tmp_path):
    write_items(tmp_path, item=(2, 1, 3))
    write_json(tmp_path / "dataset.json", {"schema_version": schema.SCHEMA_VERSION})
    with pytest.raises(UserError, match=r"items are not numbered 1\.\.N"):
        _ = toolkit.open_dataset(tmp_path).items


def test_an_unknown_tower_names_those_stored(folder):
    with pytest.raises(
        UserError, match=r"no hidden states for tower 'cover' \(stored: \['title'\]\)"
    ):
        toolkit.open_dataset(folder).states("cover")


def test_states_of_too_few_items_are_refused(folder):
    write_states(folder, [1, 3], tower="half")
    with pytest.raises(
        UserError, match=r"half: 1 of 3 items have no states; run: python -m prep enc"
    ):
        toolkit.open_dataset(folder).states("half")


def test_states_without_their_metadata_are_refused(folder):
    write_states(folder, [1, 2, 3], metadata={"layers": "2"}, tower="bare")
    with pytest.raises(UserError, match=r"bare: metadata lack \['encoder', 'revision', 'width'"):
        toolkit.open_dataset(folder).tower("bare")
