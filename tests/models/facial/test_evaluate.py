"""Tests of runs, across datasets, and comparisons of runs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from models.facial import compare as comparing
from models.facial.compare import compare
from models.facial.evaluate import evaluate
from models.facial.fold import are_faces_of, describe_faces
from models.facial.measure import Labelled, held_out_sequences, measure
from models.facial.metrics import count, f1
from models.facial.pretrained import from_pretrained
from models.facial.recognise import Recognised
from toolkit import UserError
from toolkit.store import read_file, write_table


def test_f1_of_the_report_is_that_of_the_stored_predictions(trained_run):
    table = read_file(trained_run / "faces/test.arrow")
    logits, labels = (np.array(table.column(name).to_pylist()) for name in ("logits", "labels"))
    subjects = table.column("subject").to_pylist()
    report = json.loads((trained_run / "metrics/test.json").read_text())
    expected = f1(count(logits >= 0, labels, subjects))
    assert [one["F1"]["value"] for one in report["per_au"].values()] == pytest.approx(expected)
    assert set(report["texts"]) == {"au_texts", "face_texts"}


def test_metrics_of_two_faces_by_hand(trained_run):
    trained = from_pretrained(trained_run / "model")
    labels = np.full((4, 12), 9, np.int8)
    labels[:, 0] = [1, 1, 0, 0]
    labels[:, 1] = [1, 0, 0, 9]
    logits = np.full((4, 12), -3.0, np.float32)
    logits[:, 0] = [2, -2, 2, -2]  # one hit, one miss, one false alarm, one right rejection
    logits[:, 1] = [1, 1, -1, 1]  # one hit, one false alarm; the missing label does not count
    faces = Labelled(
        ["a", "b", "c", "d"], ["s", "s", "t", "t"], ["1", "2", "1", "2"], labels, range(12)
    )
    features = np.random.default_rng(0).normal(size=(4, 12, 16)).astype(np.float32)
    report = measure(trained, faces, Recognised(logits, features, np.arange(4)), rounds=10)
    first, second = (report["per_au"][name] for name in ("AU01", "AU02"))
    assert first["F1"]["value"] == 2 / (2 + 1 + 1) and second["F1"]["value"] == 2 / (2 + 1)
    assert (first["accuracy"], second["accuracy"]) == (2 / 4, 2 / 3)
    assert first["AUC"] == 0.5 and second["AUC"] == 0.75
    assert report["per_au"]["AU24"]["accuracy"] is None and report["texts"] == {}
    assert report["identity"]["subjects"] == 2


def test_the_probe_holds_out_whole_sequences_or_the_last_half():
    subjects, sequences = ["a"] * 4 + ["b"] * 4, ["T1", "T1", "T2", "T2", None, None, None, None]
    expected = [False, False, True, True, False, False, True, True]
    assert held_out_sequences(subjects, sequences).tolist() == expected


def test_another_dataset_is_tested_on_the_aus_that_both_have(trained_run, disfa, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    before = (run / "metrics/test.json").read_bytes()
    report = evaluate(run, data=disfa)
    assert report["aus"] == [1, 2, 4, 6, 12] and report["subjects"] == 6 and report["faces"] == 96
    assert report["dataset"]["name"] == "DISFA-synth" and "face_texts" not in report["texts"]
    assert json.loads((run / "metrics/cross-DISFA-synth.json").read_text()) == json.loads(
        json.dumps(report)
    )
    assert (run / "metrics/test.json").read_bytes() == before
    assert compare([run], name="cross-DISFA-synth").methods[0].f1.value == pytest.approx(
        report["F1"]["value"]
    )
    report["dataset"]["faces_sha256"] = "0" * 64
    (run / "metrics/cross-DISFA-synth.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"is a test on other faces .* the same name 'DISFA-synth'"):
        evaluate(run, data=disfa)


def test_subjects_that_were_trained_on_are_refused(trained_run, bp4d, disfa, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("fold: 1", "fold: 2"))
    with pytest.raises(UserError, match=r"was trained on 2 of the 2 subjects .* test it on fold 1"):
        evaluate(run)
    model = run / "model/config.json"
    settings = json.loads(model.read_text())
    settings["seen"] = ["SN001"]
    model.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"such as SN001; .*--other_people"):
        evaluate(run, data=disfa)
    evaluate(run, data=disfa, other_people=True)


def test_damaged_and_foreign_models_are_refused(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = run / "model/config.json"
    settings = json.loads(config.read_text())
    settings["network"]["width"] = 10**9
    config.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"more than its .* weights"):
        from_pretrained(run / "model")
    weights = run / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="changed since it was saved"):
        from_pretrained(run / "model")
    with pytest.raises(UserError, match=r"not a model folder of faces"):
        from_pretrained(tmp_path)


def test_runs_are_averaged_over_seeds_and_paired_by_subject(trained_run, tmp_path):
    """A copy under another seed changes no mean; a method with worse logits is worse for every subject."""
    twin, worse = (shutil.copytree(trained_run, tmp_path / name) for name in ("twin", "worse"))
    config = (trained_run / "config.yaml").read_text()
    (twin / "config.yaml").write_text(config.replace("seed: 1", "seed: 2"))
    (worse / "config.yaml").write_text(config.replace("refine: true", "refine: false"))
    path = worse / "faces/test.arrow"
    table = read_file(path)
    labels = np.array(table.column("labels").to_pylist())
    wrong = pa.FixedSizeListArray.from_arrays(
        pa.array((1.0 - 2.0 * (labels == 1)).ravel(), pa.float32()), 12
    )
    index = table.schema.get_field_index("logits")
    write_table(path, table.set_column(index, table.schema.field(index), wrong), compression="zstd")
    first, second = compare([trained_run, twin, worse]).methods
    assert (first.runs, first.seeds, second.name) == (2, [1, 2], "network.refine=False")
    assert second.f1.value == 0 and first.f1.value > 0
    assert second.test.difference < 0 and second.subjects == 2
    assert "p " in compare([trained_run, worse]).show()
    with pytest.raises(UserError, match="has no test 'other'"):
        compare([trained_run], name="other")


def test_runs_of_several_folds_that_are_tested_on_the_same_subjects_share_the_draws():
    """Copies of one test under other folds add no subject, so the interval is that of the one test."""
    generator = np.random.default_rng(0)
    subjects = [f"s{row % 20:02d}" for row in range(400)]
    labels = generator.random((400, 2)) < 0.4
    right = generator.random((400, 2)) < np.resize(np.linspace(0.3, 0.9, 20), 400)[:, None]
    counts = count(labels == right, labels, subjects)

    def tested(fold):
        settings = {"fold": fold, "train.seed": 1}
        return comparing.TestedRun(
            Path(), settings, "others", sorted(set(subjects)), counts, (1, 2)
        )

    alone = comparing._interval([tested(1)])
    assert alone.low < alone.value < alone.high
    assert comparing._interval([tested(fold) for fold in (1, 2, 3)]) == pytest.approx(alone)


def test_the_same_pictures_cropped_otherwise_are_other_faces():
    """Sources, labels and folds are equal; a record of version 0.2.0 does not tell the crops apart."""

    def cropped(width_px, name="faces"):
        table = pa.table(
            {
                "item_id": ["a/1.png", "a/2.png"],
                "source_sha256": ["x", "y"],
                "crop": [[0, 0, width_px, 9], None],  # no picture of the second
                "width_px": pa.array([width_px, None], pa.int32()),
                "height_px": pa.array([9, None], pa.int32()),
            }
        )
        labels, folds = np.array([[1], [9]], np.int8), np.array([1, 2], np.int8)
        return SimpleNamespace(table=table, labels=labels, folds=folds, units=(12,), name=name)

    recorded = describe_faces(cropped(8))
    assert are_faces_of(recorded, describe_faces(cropped(8, name="moved")))
    assert not are_faces_of(recorded, describe_faces(cropped(7)))
    old = {key: value for key, value in recorded.items() if key != "crops_sha256"}
    assert are_faces_of(old, describe_faces(cropped(7))) and old.keys() == {"name", "faces_sha256"}


@pytest.mark.parametrize(("key", "runs"), [("trained_on", [1, 1]), ("dataset", None)])
def test_runs_over_other_faces_are_another_method_or_refused(trained_run, tmp_path, key, runs):
    """The same settings, trained on faces with other labels, are not a second seed; tests on others do not compare."""
    other = shutil.copytree(trained_run, tmp_path / "other")
    report = json.loads((other / "metrics/test.json").read_text())
    report[key]["faces_sha256"] = 64 * "0"
    (other / "metrics/test.json").write_text(json.dumps(report))
    if runs is None:
        with pytest.raises(UserError, match="tested on other faces"):
            compare([trained_run, other])
    else:
        found = compare([trained_run, other]).methods
        assert [one.runs for one in found] == runs
        crops = report[key]["crops_sha256"][:8]
        assert found[1].name == f"data={report[key]['name']} (00000000, crops {crops})"


def test_a_run_counts_once_in_a_comparison(trained_run, tmp_path):
    (tmp_path / "link").symlink_to(trained_run)
    with pytest.raises(UserError, match="the run is given twice"):
        compare([trained_run, tmp_path / "link"])
    with pytest.raises(UserError, match="no run given"):
        compare([])


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_at_least_one_face(trained_run, size):
    with pytest.raises(UserError, match=f"batch_size must be at least 1, got {size}"):
        evaluate(trained_run, batch_size=size)
