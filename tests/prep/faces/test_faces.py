"""`prep faces` on synthetic dumps: what is stored is what was drawn, and a killed run resumes."""

import hashlib
import json

import cv2
import numpy as np
import pytest

import prep
from prep.faces import store as store_module
from prep.faces.folds import PUBLISHED, assigned_folds
from toolkit import open_dataset
from toolkit.errors import UserError
from toolkit.faces import open_faces
from toolkit.facs import dataset_units
from toolkit.images import decode_jpeg
from toolkit.store import Table


def truth_of(dump):
    return json.loads((dump / "truth.json").read_text())


@pytest.mark.parametrize("like", ["bp4d", "disfa"])
def test_what_is_stored_is_what_was_drawn(like, request, store, tmp_path):
    dump = request.getfixturevalue(f"{like}_dump")
    faces, truth = open_faces(store(dump, tmp_path / "data")), truth_of(dump)
    assert faces.units == dataset_units()[like] == tuple(truth["units"])
    rows = faces.table.to_pylist()
    assert {row["item_id"] for row in rows} == truth["intensities"].keys()
    for row in rows:
        drawn = np.array(truth["intensities"][row["item_id"]])
        known = np.array(row["labels"]) != 9
        assert np.array_equal(np.array(row["labels"])[known], (drawn >= 2)[known])
        assert row["fold"] == truth["folds"][row["subject"]]
        assert (row["width_px"], row["height_px"], row["crop"]) == (64, 64, [0, 0, 64, 64])
        if like == "disfa":
            assert row["intensities"] == [int(value) for value in drawn]
        else:
            assert row["intensities"] is None
    missing = (faces.labels == 9).mean()
    assert missing == 0 if like == "disfa" else 0.05 < missing < 0.15
    assert prep.check(tmp_path / "data") == []


def test_rows_are_in_the_order_of_sequences(bp4d_dump, store, tmp_path):
    table = open_faces(store(bp4d_dump, tmp_path / "data")).table
    first = table.slice(0, 4).to_pylist()
    assert [row["item_id"] for row in first] == [
        "F001/T1/1.jpg",
        "F001/T1/2.jpg",
        "F001/T2/1.jpg",
        "F001/T2/2.jpg",
    ]
    assert [(row["subject"], row["sequence"], row["frame"]) for row in first[1:3]] == [
        ("F001", "T1", 2),
        ("F001", "T2", 1),
    ]


def test_folds_share_no_subject_and_are_the_lists(bp4d_dump, store, tmp_path):
    faces = open_faces(store(bp4d_dump, tmp_path / "data"))
    ids, subjects = (np.array(faces.table[name].to_pylist()) for name in ("item_id", "subject"))
    for fold in (1, 2, 3):
        test, train = faces.rows(fold, "test"), faces.rows(fold, "train")
        lists = bp4d_dump / "data/BP4D-synth/list"
        for split, rows in {"test": test, "train": train}.items():
            listed = (lists / f"BP4D-synth_{split}_img_path_fold{fold}.txt").read_text().split()
            assert sorted(ids[rows]) == sorted(listed)
        assert not {*subjects[test]} & {*subjects[train]}
    with pytest.raises(UserError, match=r"has no fold 4; its folds are \[1, 2, 3\]"):
        faces.rows(4, "test")


def test_stored_pictures_are_those_of_the_dump(disfa_dump, store, tmp_path):
    table = open_faces(store(disfa_dump, tmp_path / "data")).table
    for row in table.slice(0, 3).to_pylist():
        file = disfa_dump / "data/DISFA-synth/img" / row["item_id"]
        source = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        assert np.abs(decode_jpeg(row["image"]).astype(int) - source).mean() < 6
        assert row["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_own_files_of_disfa_and_lists_store_the_same(disfa_dump, disfa_copy, store, tmp_path):
    for path in (disfa_copy / "data/DISFA-synth/list").iterdir():
        path.unlink()
    (disfa_copy / "data/DISFA-synth/list").rmdir()
    own = open_faces(store(disfa_copy, tmp_path / "own")).table
    lists = open_faces(store(disfa_dump, tmp_path / "lists")).table
    columns = ["item_id", "subject", "frame", "labels", "intensities", "image"]
    assert own.select(columns).equals(lists.select(columns))
    settings = open_dataset(tmp_path / "own").manifest["steps"]["lists"]["config"]
    assert (settings["layout"], settings["folds"]) == ("disfa", "assigned")
    assert set(own["fold"].to_pylist()) == {1, 2, 3}
    chosen = open_faces(store(disfa_copy, tmp_path / "chosen", aus="12,4"))
    assert chosen.units == (12, 4)
    expected = np.array(own["labels"].to_pylist())[:, [5, 2]]
    assert np.array_equal(chosen.labels, expected)


def test_folds_of_published_results_on_disfa():
    subjects = sorted(PUBLISHED)
    folds, how = assigned_folds(subjects)
    assert how == "published"
    assert [sum(fold == k for fold in folds.values()) for k in (1, 2, 3)] == [9, 9, 9]
    assert (folds["SN003"], folds["SN013"], folds["SN002"]) == (1, 2, 3)
    assert assigned_folds(subjects[:3]) == ({"SN001": 1, "SN002": 2, "SN003": 3}, "assigned")


def test_crops(bp4d_dump, store, tmp_path):
    paths = truth_of(bp4d_dump)["intensities"]
    crops = tmp_path / "crops.csv"
    lines = [f"{path},8,4,40,48" for path in paths]
    lines[0] = lines[0].replace(",40,", ",57,")  # one pixel too wide
    crops.write_text("path,x,y,width,height\n" + "\n".join(lines) + "\n")
    table = open_faces(store(bp4d_dump, tmp_path / "data", crops=str(crops))).table
    rows = {row["item_id"]: row for row in table.to_pylist()}
    first, second = list(paths)[:2]
    assert (rows[first]["status"], rows[first]["image"]) == ("corrupt", None)
    assert rows[second]["crop"] == [8, 4, 40, 48]
    assert decode_jpeg(rows[second]["image"]).shape == (48, 40, 3)
    crops.write_text("path,x,y,width,height\n" + "\n".join(lines[1:]) + "\n")
    with pytest.raises(UserError, match=f"has no box for 1 of 48 faces, such as {first}"):
        store(bp4d_dump, tmp_path / "other", crops=str(crops))


class Killed(BaseException):
    pass


def test_a_killed_run_resumes(bp4d_dump, store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)
    whole = Table(store(bp4d_dump, tmp_path / "whole") / "faces").read()
    monkeypatch.setattr(store_module, "run_step", killed_after(2, store_module.run_step))
    with pytest.raises(Killed):
        store(bp4d_dump, tmp_path / "killed")
    assert Table(tmp_path / "killed/faces").read().num_rows == 20
    assert prep.check(tmp_path / "killed") == [
        "step faces has not finished; run prep faces again to resume it",
        "faces: 20 rows, but dataset.json records 48; run prep faces again to resume",
    ]
    monkeypatch.undo()
    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)
    prep.faces(bp4d_dump, tmp_path / "killed", prep.FacesConfig(workers=1))
    assert Table(tmp_path / "killed/faces").read().equals(whole, check_metadata=True)
    assert prep.check(tmp_path / "killed") == []


def killed_after(shards, run_step):
    def run(dataset, step, items, *, execute, **options):
        def killing(work, batches):
            for index, result in enumerate(execute(work, batches)):
                if index == shards:
                    raise Killed
                yield result

        return run_step(dataset, step, items, execute=killing, **options)

    return run


def test_a_run_killed_before_the_manifest_starts_afresh(bp4d_dump, store, tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    monkeypatch.setattr(store_module.manifest, "create", killed)
    with pytest.raises(Killed):
        store(bp4d_dump, tmp_path / "data")
    monkeypatch.undo()
    prep.faces(bp4d_dump, tmp_path / "data", prep.FacesConfig(workers=1))
    assert prep.check(tmp_path / "data") == []


def test_other_settings_and_other_lists_are_refused(broken, store, tmp_path):
    data = store(broken, tmp_path / "data")
    with pytest.raises(UserError, match=r"was made with size_px = 256, and now size_px = 32"):
        store(broken, data, size_px=32)
    labels = broken / "data/BP4D-synth/list/BP4D-synth_test_label_fold1.txt"
    labels.write_text(labels.read_text().replace("1", "0", 1))
    with pytest.raises(UserError, match=r"list/BP4D-synth_test_label_fold1\.txt has changed"):
        store(broken, data)


def test_a_dataset_of_another_kind_is_refused(bp4d_dump, store, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.txt").write_text("")
    with pytest.raises(UserError, match=r"holds mine\.txt but no dataset\.json"):
        store(bp4d_dump, tmp_path / "data")
    with pytest.raises(UserError, match="is the dump itself"):
        store(bp4d_dump, bp4d_dump)
