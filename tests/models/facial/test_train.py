"""Training: a run folder, exact resume, folds without shared subjects, and refusals."""

import importlib.util
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.facial.augment import View
from models.facial.config import BackboneConfig, parse_face_config, read_face_config
from models.facial.evaluate import evaluate
from models.facial.fold import rows_of_fold, subjects_of
from models.facial.pictures import FaceBatches, Pictures
from models.facial.train import train
from models.training import stopping
from models.training.stopping import Stopped
from toolkit import UserError
from toolkit.faces import open_faces
from toolkit.workers import cpu_count


def lines(run):
    read = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    timed = ("seconds", "train_seconds", "waited_seconds", "trained_seconds")
    return [{key: value for key, value in line.items() if key not in timed} for line in read]


def test_a_run_folder_has_everything(trained_run, bp4d):
    faces = open_faces(bp4d)
    config = json.loads((trained_run / "model/config.json").read_text())
    rows = rows_of_fold(faces, 1)
    assert config["seen"] == sorted(set(subjects_of(faces, rows.train)))
    assert not set(config["seen"]) & set(subjects_of(faces, rows.test))
    assert len(config["temperatures"]) == 12 and config["thresholds"] == [0.5] * 12
    report = json.loads((trained_run / "metrics/test.json").read_text())
    assert report["F1"]["low"] <= report["F1"]["value"] <= report["F1"]["high"]
    mean = np.mean([one["F1"]["value"] for one in report["per_au"].values()])
    assert report["F1"]["value"] == pytest.approx(mean)
    assert report["faces"] == len(rows.test) and report["subjects"] == 2
    card = (trained_run / "model/README.md").read_text()
    assert "reconstruction" in card and config["seen"][0] in card and "36 × 36 pixels" in card
    assert read_face_config(trained_run).view.crop_px == 32
    assert [line["loss"] for line in lines(trained_run) if "loss" in line]


@pytest.mark.parametrize("step", [1, 4])
def test_stopped_by_a_signal_and_resumed_it_is_the_same_run(
    make_config, tmp_path, step, monkeypatch
):
    """Stopped in the first epoch, and in the second; accumulated, with dropout, augmentation and held-out subjects."""
    settings = {
        "train": {"accumulation": 2, "valid_subjects": 0.3, "test": False, "batch_size": 12}
    }
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(make_config(whole, **settings))
    asked = stopping.Stopping.signal
    count = iter(range(1, 100))

    def stop_at(self):
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return asked(self)

    with monkeypatch.context() as patch:
        patch.setattr(stopping.Stopping, "signal", stop_at)
        with pytest.raises(Stopped):
            train(make_config(run, **settings))
    train(replace(make_config(run, **settings), resume=True))
    assert lines(run) == lines(whole)
    ours, theirs = (load_file(max((one / "checkpoints").iterdir())) for one in (run, whole))
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    configs = [(one / "model/config.json").read_text() for one in (run, whole)]
    assert configs[0] == configs[1]
    by_epoch = {line["epoch"]: line["valid_F1"] for line in lines(run) if "valid_F1" in line}
    assert lines(run)[-1]["best_epoch"] == max(by_epoch, key=by_epoch.get)


def test_evaluation_repeats_the_test_of_training(trained_run):
    before = json.loads((trained_run / "metrics/test.json").read_text())
    assert json.loads(json.dumps(evaluate(trained_run))) == before


def test_batches_of_all_processes_are_one_epoch_and_shares_make_one_mean(bp4d):
    faces = open_faces(bp4d)
    rows = rows_of_fold(faces, 2).train
    labels = faces.labels[rows]
    both = [
        FaceBatches(Pictures(faces, View(36, 32)), rows, labels, texts=None, batch_size=10, accumulation=2, rank=rank, world=2)
        for rank in range(2)
    ]  # fmt: skip
    chosen = [
        batches.chosen(1, number, batches.rank)
        for number in range(len(both[0]))
        for batches in both
    ]
    assert sorted(np.concatenate(chosen).tolist()) == sorted(rows.tolist())
    epochs = [list(batches.epoch(1)) for batches in both]
    first, second = ([epoch[number] for epoch in epochs] for number in (0, 1))
    labelled = [int((batch.labels != 9).sum()) for batch in (*first, *second)]
    shares = [batch.share for batch in (*first, *second)]
    assert shares == pytest.approx([2 * count / sum(labelled) for count in labelled])
    again = list(both[0].epoch(1, first=1))
    assert torch.equal(again[0].images, epochs[0][1].images)
    for workers in (0, 3):
        threaded = FaceBatches(
            Pictures(faces, View(36, 32)), rows, labels, texts=None, batch_size=10, accumulation=2, world=2, workers=workers
        )  # fmt: skip
        assert threaded.workers == (workers or cpu_count())
        assert all(torch.equal(*pair) for pair in zip((b.images for b in threaded.epoch(1)), (b.images for b in epochs[0]), strict=True))  # fmt: skip
    other = next(both[0].epoch(2))
    assert not torch.equal(other.images, epochs[0][0].images)


def test_random_changes_depend_on_seed_epoch_and_row_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    view = View(36, 32)
    same = view.changed(pixels, (1, 2, 3))
    assert np.array_equal(same, view.changed(pixels, (1, 2, 3))) and same.shape == (32, 32, 3)
    assert not np.array_equal(same, view.changed(pixels, (1, 2, 4)))
    still = View(32, 32, flip=False, jitter=0.0)
    assert np.array_equal(still.changed(pixels, (5,)), still.plain(pixels))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": 4}, r"has no fold 4; its folds are \[1, 2, 3\]"),
        ({"train": {"valid_subjects": 0.9}}, r"has 4 training subjects, of which 4 are held out"),
        ({"network": {"grid_stage": 3}}, "grid_stage is 3; the backbone has stages 1 to 2"),
        ({"backbone": BackboneConfig(architecture={"model_type": "resnets"})}, "does not know; use swin"),
        ({"backbone": BackboneConfig(architecture={"model_type": "bert"})}, "hierarchical network"),
        ({"backbone": BackboneConfig(name="./nowhere")}, "nowhere"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make_config, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(make_config(tmp_path / "run", **changes))


def test_held_out_subjects_without_labels_of_an_au_are_refused_before_training(
    make_config, bp4d, tmp_path, monkeypatch
):
    """No threshold can be fitted on them, and another share of subjects is another run."""
    faces = open_faces(bp4d)
    held_out = rows_of_fold(faces, 1, valid_subjects=0.3, seed=1).valid
    faces.labels = faces.labels.copy()
    faces.labels[held_out, 2] = 9
    monkeypatch.setattr("models.facial.train.open_faces", lambda _: faces)
    config = make_config(tmp_path / "run", train={"valid_subjects": 0.3})
    with pytest.raises(UserError, match=r"AU04 has no label among the held-out training subjects"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_settings_are_read_from_presets_files_and_options(tmp_path):
    config = parse_face_config(["--config", "vl-fau-tiny", "--data", "d", "--output", "o", "--fold", "2",
                                "--network.refine", "false", "--resume"])  # fmt: skip
    assert (config.fold, config.network.refine, config.resume) == (2, False, True)
    assert config.backbone.architecture["hidden_sizes"] == [16, 32, 64]
    paper = parse_face_config(["--config", "vl-fau", "--data", "d", "--output", "o"])
    assert paper.view.resize_px == 256 and paper.train.weight_decay == 5e-4
    for arguments, message in (
        (["--config", "vl-fou"], "presets: vl-fau, vl-fau-tiny"),
        (["--network.refined", "true"], "refined"),
        (["--view.crop_px", "300"], "crop_px is 300"),
        (["--train.epochs", "0"], "at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            parse_face_config(["--data", "d", "--output", "o", *arguments])
    other = tmp_path / "other.yaml"
    other.write_text("towers: [title]\n")
    with pytest.raises(UserError, match="unknown key 'towers'"):
        parse_face_config(["--config", str(other), "--data", "d", "--output", "o"])


def test_a_record_of_somebody_else_sends_no_logs_to_a_server(tmp_path):
    record = tmp_path / "config.yaml"
    record.write_text("format: 1\ntrain: {trackers: [wandb]}\n")
    words = ["--config", str(record), "--data=DATASET", "--output=RUN"]
    with pytest.raises(UserError, match=r"would send logs to a server; type --train\.trackers"):
        parse_face_config(words)
    assert parse_face_config([*words, "--train.trackers=[]"]).train.trackers == []


def test_a_folder_that_is_no_run_of_faces_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a run folder, because it has no config\.yaml"):
        read_face_config(tmp_path)
    (tmp_path / "config.yaml").write_text("format: 1\ntowers: [title]\n")
    with pytest.raises(UserError, match=r"not the settings of a run of models\.facial\.train"):
        read_face_config(tmp_path)


def test_a_missing_extra_is_named_before_training(make_config, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sacrebleu" else find(name)
    )
    with pytest.raises(UserError, match=r"sacrebleu, .* pip install 'versa-toolkit\[faces\]'"):
        train(make_config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
