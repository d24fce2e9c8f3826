"""Imported features: every value in its row, and mismatches are refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import prep
import toolkit
from prep import EncodeConfig, FeaturesConfig, PrepConfig
from prep.cli import main
from prep.steps.pipeline import errors_of
from prep.towers.imported import suggest
from prep.towers.vectors import read_vectors
from toolkit import UserError

ITEMS = ["3", "1", "2"]  # in the order of the titles: item 1 of the dataset is "3"
# Row r belongs to id r + 1; quarters are exact in float16.
VALUES = np.array([[1.0, 1.25], [2.0, -2.25], [3.0, 3.25]], np.float32)


@pytest.fixture
def dataset(write_microlens, tmp_path):
    titles = "".join(f"{id_},a title\n" for id_ in ITEMS)
    dump = write_microlens(titles=titles, pairs_tsv="u\t1 2 3 1 2\n")
    prep.ingest(dump, tmp_path / "out")
    return tmp_path / "out"


def imported(dataset, file, name="clip", **options):
    config = PrepConfig(features={name: FeaturesConfig(str(file), **options)})
    prep.encode(dataset, config)
    return toolkit.open_dataset(dataset)


def npy(tmp_path, values=VALUES, name="M_image_features_CLIPRN50.npy"):
    np.save(tmp_path / name, values)
    return tmp_path / name


def as_json(tmp_path, vectors):
    (tmp_path / "features.json").write_text(json.dumps(vectors))
    return tmp_path / "features.json"


def as_parquet(tmp_path, columns):
    pa.parquet.write_table(pa.table(columns), tmp_path / "features.parquet")
    return tmp_path / "features.parquet"


def check_states(data, tower="clip"):
    states = data.states(tower)
    assert states.shape == (4, 1, 2)
    assert states[:, 0].tolist() == [[0, 0], [3.0, 3.25], [1.0, 1.25], [2.0, -2.25]]
    assert prep.check(data.path) == []


# --- the three forms


def test_rows_of_a_npy_are_items_one_to_n(dataset, tmp_path):
    data = imported(dataset, npy(tmp_path), source="cover")
    check_states(data)
    about = data.states_metadata("clip")
    assert about["encoder"] == "file:M_image_features_CLIPRN50.npy"
    assert len(about["revision"]) == 64
    assert (about["pooling"], about["source"], about["modality"]) == ("none", "cover", "image")
    assert data.tower("clip") == toolkit.TowerSpec("clip", layers=1, width=2, modality="image")
    step = data.manifest["steps"]["encode:clip"]
    assert (step["items"], step["revision"]) == ({"ok": 3}, about["revision"])


def test_ids_beside_a_npy(dataset, tmp_path):
    (tmp_path / "ids.txt").write_text("2\n3\n1\n")
    file = npy(tmp_path, VALUES[[1, 2, 0]].astype(np.float64))
    check_states(imported(dataset, file, ids=str(tmp_path / "ids.txt")))


def test_json_goes_by_id(dataset, tmp_path):
    vectors = {id_: VALUES[int(id_) - 1].tolist() for id_ in ("2", "1", "3")}
    check_states(imported(dataset, as_json(tmp_path, vectors)))


@pytest.mark.parametrize("block", [1, 7, 64])
def test_json_is_read_in_blocks(tmp_path, monkeypatch, block):
    vectors = {f"item {i}": [i / 4, -1e-3, 2.5e2] for i in range(20)}
    for indent in (None, 2):
        path = tmp_path / "features.json"
        path.write_text(json.dumps(vectors, indent=indent))
        monkeypatch.setattr("prep.towers.vectors._BLOCK_CHARACTERS", block)
        found = read_vectors(FeaturesConfig(str(path)))
        assert found.ids == list(vectors)
        np.testing.assert_allclose(found.values, list(vectors.values()), rtol=1e-6)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2)])
def test_a_column_of_a_parquet_file(dataset, tmp_path, kind):
    vectors = [VALUES[1].tolist(), [0.0, 0.0], VALUES[0].tolist(), VALUES[2].tolist()]
    columns = {"item_id": [2, 0, 1, 3], "img_emb": pa.array(vectors, kind)}
    data = imported(dataset, as_parquet(tmp_path, columns), column="img_emb", source="mixed")
    check_states(data)
    assert data.states_metadata("clip")["encoder"] == "file:features.parquet:img_emb"


# --- what is not in the file, and what of the file is not used


def test_items_without_a_vector_are_missing(dataset, tmp_path, capsys):
    data = imported(dataset, as_json(tmp_path, {"1": [1.0, 2.0], "77": [5.0, 5.0]}))
    assert data.states("clip")[:, 0].tolist() == [[0, 0], [0, 0], [1.0, 2.0], [0, 0]]
    told = errors_of(data.path, "encode:clip").to_pylist()
    assert {(row["item_id"], row["error_class"]) for row in told} == {
        ("3", "missing"),
        ("2", "missing"),
    }
    assert told[0]["message"] == "features.json has no vector of it"
    assert prep.check(data.path) == []
    assert "encode:clip: 3 of 3 items done now; errors: 2 missing" in capsys.readouterr().out


# --- what does not fit


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES[:2], r"its 2 rows say no ids.*the dataset has 3 items.*give ids"),
        (np.ones((4, 2), np.float32), r"its 4 rows say no ids"),
        (np.ones((3, 2, 2), np.float32), r"found float32 of shape \(3, 2, 2\); convert"),
        (np.ones(3, np.float32), r"found float32 of shape \(3,\)"),
        (np.ones((3, 2), np.int64), r"found int64 of shape \(3, 2\)"),
        (np.array([[1, 2], [3, np.nan], [5, 6]]), r"item '2' has a value of size nan"),
        (np.array([[1, 2], [3, 4], [5, -np.inf]]), r"item '3' has a value of size inf"),
        (np.array([[1, 2], [3, 4], [-7e4, 6]]), r"item '3' has .*size 70000; .*at most 65504"),
    ],
)
def test_arrays_that_do_not_fit(dataset, tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        imported(dataset, npy(tmp_path, values))
    assert not (dataset / "states").exists()


def test_nothing_is_unpickled(dataset, tmp_path):
    file = npy(tmp_path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="not a NumPy array of numbers"):
        imported(dataset, file)


def test_a_npy_that_is_cut_or_an_archive(dataset, tmp_path):
    file = npy(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a NumPy array of numbers"):
        imported(dataset, file)
    np.savez(tmp_path / "a.npz", VALUES)
    with pytest.raises(UserError, match="not a NumPy array of numbers"):
        imported(dataset, (tmp_path / "a.npz").rename(file))


def test_ids_that_are_not_one_a_row(dataset, tmp_path):
    (tmp_path / "ids.txt").write_text("2\n3\n")
    with pytest.raises(UserError, match=r"ids\.txt: 2 ids for the 3 rows of .*\.npy"):
        imported(dataset, npy(tmp_path), ids=str(tmp_path / "ids.txt"))
    (tmp_path / "ids.txt").write_text("2\n3\n2\n")
    with pytest.raises(UserError, match="item '2' has several vectors"):
        imported(dataset, npy(tmp_path), ids=str(tmp_path / "ids.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1": [1, 2], "2": [1]}', "item '2' has 1 values and item '1' 2"),
        ('{"1": [1, 2], "2": [1', r'expected \{"ID": \[numbers\].*after 1 items'),
        ('{"1": [[1, 2]]}', r'expected \{"ID"'),
        ('{"1": ["one"]}', r'expected \{"ID"'),
        ("[1, 2]", r'expected \{"ID"'),
        ('{"1": [1, 2]} {"2"', r'expected \{"ID"'),
        ("{}", r"shape \(0, 0\)|does not end"),
        ('{"1": [NaN, 2]}', "item '1' has a value of size nan"),
        ('{"a1": [1, 2]}', r"none of its 1 ids \(e\.g\. 'a1'\) is an item .*\(e\.g\. '3'\)"),
    ],
)
def test_json_that_does_not_fit(dataset, tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(UserError, match=message):
        imported(dataset, tmp_path / "f.json")


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"item_id": [1], "a": [[1.0]]}, "b", "columns item_id and 'b' .column., found item_id, a"),
        ({"id": [1], "a": [[1.0]]}, "a", "expected the columns item_id and 'a'"),
        ({"item_id": [1], "a": [1.0]}, "a", "expected a column of lists of floats, found double"),
        ({"item_id": [1, 2], "a": [[1.0], [1.0, 2.0]]}, "a", "not all of one length"),
        ({"item_id": [1, 2], "a": [[1.0], None]}, "a", "not all of one length"),
    ],
)
def test_parquet_that_does_not_fit(dataset, tmp_path, columns, column, message):
    with pytest.raises(UserError, match=message):
        imported(dataset, as_parquet(tmp_path, columns), column=column)


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.npy", "absent.npy: no such file"), ("f.pt", "read from .npy, .json, .parquet")],
)
def test_files_that_are_none(dataset, tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        imported(dataset, tmp_path / name)


def test_a_tower_without_a_file_or_with_two_origins(dataset, tmp_path):
    with pytest.raises(
        UserError, match=r"tower 'clip' has no file; give one with --features\.clip"
    ):
        prep.encode(dataset, PrepConfig(features={"clip": FeaturesConfig()}))
    both = PrepConfig(
        encode={"clip": EncodeConfig("x")}, features={"clip": FeaturesConfig(str(npy(tmp_path)))}
    )
    with pytest.raises(UserError, match="'clip' stands under encode and under features"):
        prep.encode(dataset, both)


# --- as a step


def test_a_rerun_goes_on_from_what_was_recorded(dataset, tmp_path, capsys):
    imported(dataset, npy(tmp_path))
    prep.encode(dataset)
    assert "encode:clip: 0 of 3 items done now" in capsys.readouterr().out


def test_another_file_is_refused(dataset, tmp_path):
    imported(dataset, npy(tmp_path))
    with pytest.raises(UserError, match=r"made with revision = .*delete .*states/clip"):
        imported(dataset, npy(tmp_path, VALUES + 1))
    with pytest.raises(UserError, match=r'made with source = "title", and now source = "cover"'):
        imported(dataset, npy(tmp_path), source="cover")


def test_check_finds_a_tower_that_was_not_imported(dataset, tmp_path):
    data = imported(dataset, npy(tmp_path))
    shutil.rmtree(data.path / "states")
    assert any("states/clip: no such table" in reason for reason in prep.check(data.path))


def test_from_the_command_line(dataset, tmp_path):
    words = ["encode", str(dataset), f"--features.clip.file={npy(tmp_path)}"]
    assert main([*words, "--features.clip.source=cover"]) == 0
    check_states(toolkit.open_dataset(dataset))


# --- released features are offered, not taken


def test_released_features_are_named_with_the_options_to_give(tmp_path, capsys):
    folder = tmp_path / "MicroLens-100k" / "extracted_modality_features"
    folder.mkdir(parents=True)
    for name in (
        "MicroLens-100k_image_features_CLIPRN50",
        "MicroLens-100k_title_en_text_features_BgeM3",
        "MicroLens-100k_video_features_VideoMAE",
    ):
        np.save(folder / f"{name}.npy", VALUES)
    vectors = {"item_id": [1], "item_title": ["one"], "img_emb_CLIPRN50": [[1.0]]}
    pa.parquet.write_table(pa.table(vectors), tmp_path / "item_feature.parquet")
    video = folder / "MicroLens-100k_video_features_VideoMAE.npy"
    suggest(tmp_path, {"video": FeaturesConfig(str(video), "frames")})
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(": --")[2].replace(f"{tmp_path}", "DUMP") for line in told] == [
        "features.cliprn50.file DUMP/MicroLens-100k/extracted_modality_features/"
        "MicroLens-100k_image_features_CLIPRN50.npy --features.cliprn50.source cover",
        "features.bgem3.file DUMP/MicroLens-100k/extracted_modality_features/"
        "MicroLens-100k_title_en_text_features_BgeM3.npy --features.bgem3.source title",
        "features.img_emb_cliprn50.file DUMP/item_feature.parquet "
        "--features.img_emb_cliprn50.source cover --features.img_emb_cliprn50.column img_emb_CLIPRN50",
    ]


def test_what_is_offered_can_be_given(write_microlens, tmp_path, capsys):
    dump = write_microlens(titles="1,a\n2,b\n3,c\n", pairs_tsv="u\t1 2 3 1 2\n")
    npy(dump)
    words = ["build", str(dump), str(tmp_path / "out")]
    assert main(words) == 0
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("features:")
    ]
    assert toolkit.open_dataset(tmp_path / "out").towers() == []
    assert main([*words, *line.partition(": ")[2].partition(": ")[2].split(" ")]) == 0
    assert toolkit.open_dataset(tmp_path / "out").towers() == ["cliprn50"]
    assert "features:" not in capsys.readouterr().out
    assert Path(dump).is_dir()
