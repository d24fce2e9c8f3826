"""Predictions of a trained run: tables, DataFrames and captions of a dataset."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from models.facial import from_pretrained, predict
from models.facial.augment import View
from models.facial.cli import main
from models.facial.crop import CropRecipe
from models.facial.face import Face
from prep.synth.faces.anatomy import draw_subject
from prep.synth.faces.styles import render
from toolkit import UserError


@pytest.fixture(scope="module")
def face():
    return render(draw_subject(np.random.default_rng(3)), {6: 3, 12: 4}, size_px=48)


def test_an_image_a_folder_and_a_video_have_equal_rows(trained_run, face, write_image, write_video):
    image = write_image("one/0.png", face)
    video = write_video("clip.mkv", [face])
    tables = [predict(path, trained_run, detector="none") for path in (image, image.parent, video)]
    first = tables[0].drop(columns="input")
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other.drop(columns="input"), first)
    row = first.iloc[0]
    assert row["success"] == 1 and row["AU12_c"] == int(row["AU12_p"] >= 0.5)
    assert isinstance(row["face_text"], str) and isinstance(row["AU12_text"], str)


def test_prediction_reads_what_evaluation_reads(trained_run, face):
    """A crop of the recipe's size has the probabilities of the network on its middle."""
    import torch

    trained = from_pretrained(trained_run / "model")
    crop = render(draw_subject(np.random.default_rng(4)), {1: 5}, size_px=36)
    ours = trained.predict(crop[None]).probabilities
    middle = torch.from_numpy(crop[2:34, 2:34].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        logits = trained.network(middle).logits.numpy()
    expected = 1 / (1 + np.exp(-logits / np.array(trained.record.temperatures)))
    assert ours == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("square", [True, False])
def test_training_reads_pictures_that_are_not_square_as_prediction_does(square):
    """Grown to a square in black, or stretched: equal inputs of the network, whose middle is cropped."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 48, 3), dtype=np.uint8)
    view, recipe = View(40, 32, square=square), CropRecipe(40, margin=0, square=square)
    crop = recipe.crop(pixels, Face(0, 0, 48, 30, 1))
    assert np.array_equal(view.plain(pixels), view.plain(crop))
    assert (crop[0] == 0).all() == square
    assert np.array_equal(view.changed(pixels, [1]), view.changed(crop, [1]))


def test_the_command_writes_rows_and_pictures(trained_run, face, write_image, tmp_path, capsys):
    image = write_image("a.png", face)
    arguments = ["predict", str(trained_run), str(image), "--detector", "none", "--json"]
    output, drawn = tmp_path / "rows.csv", tmp_path / "drawn"
    assert main([*arguments, "--output", str(output), "--annotate", str(drawn)]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 1, "annotated": 1}
    assert len(pd.read_csv(output)) == 1 and (drawn / "000000.png").is_file()
    with pytest.raises(UserError, match=r"recognises the 12 AUs .* and 2 AUs 1, 2 are wanted"):
        main([*arguments, "--output", str(output), "--aus", "1,2"])
    with pytest.raises(UserError, match="--aus is 'smile'"):
        main([*arguments, "--output", str(output), "--aus", "smile"])
    with pytest.raises(UserError, match=r"\.csv, \.parquet"):
        main([*arguments, "--output", str(tmp_path / "rows.xlsx")])


def test_a_folder_that_is_no_run_is_refused(face, write_image, tmp_path):
    with pytest.raises(UserError, match="neither a run nor a model folder"):
        predict(write_image("a.png", face), tmp_path, detector="none")


def test_a_network_without_texts_has_no_columns_of_texts(make_config, face, write_image, tmp_path):
    from models.facial.train import train

    run = tmp_path / "run"
    network = {"au_texts": False, "face_texts": False, "refine": False}
    report = train(make_config(run, network=network, train={"epochs": 1}))
    assert report["texts"] == {}
    table = predict(write_image("a.png", face), run, detector="none")
    assert not [name for name in table.columns if "text" in name]
    shutil.rmtree(run)


def test_annotated_frames_never_replace_what_they_show(
    trained_run, face, write_image, write_video, tmp_path
):
    """The video itself, also through a link, and the folder of the pictures."""
    image, video = write_image("pictures/000000.png", face), write_video("clip.mp4", [face])
    (tmp_path / "link.mp4").symlink_to(video)
    before = image.read_bytes(), video.read_bytes()
    rows = str(tmp_path / "rows.csv")
    for path, drawn in (
        (video, video),
        (tmp_path / "link.mp4", video),
        (image.parent, image.parent),
        (image, tmp_path / "pictures" / ".." / "pictures"),
    ):
        words = [str(trained_run), str(path), "--detector", "none", "--output", rows]
        with pytest.raises(UserError, match=r"--annotate are both .* choose another name"):
            main(["predict", *words, "--annotate", str(drawn)])
    assert (image.read_bytes(), video.read_bytes()) == before


def test_options_without_effect_on_the_input_are_refused(trained_run, face, write_image, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text("{}")
    image, output = write_image("a.png", face), str(tmp_path / "rows.csv")
    for path, words in (
        (tmp_path / "data", ["--annotate", "drawn"]),
        (tmp_path / "data", ["--every", "2"]),
        (tmp_path / "data", ["--track"]),
        (image, ["--source", "frames"]),
    ):
        with pytest.raises(UserError, match=f"{words[0]} has no effect; leave it out"):
            main(["predict", str(trained_run), str(path), "--output", output, *words])
