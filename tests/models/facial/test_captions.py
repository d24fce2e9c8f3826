"""Captions of the faces in a dataset, in the form that prep imports."""

from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from models.facial import captions
from models.facial.captions import write_captions
from models.facial.face import WholePicture
from models.facial.inference import predict
from prep.readers.captions import read_captions
from prep.synth.faces.anatomy import draw_subject
from prep.synth.faces.styles import render
from toolkit import UserError


class BrightPictures(WholePicture):
    """Finds a face in every picture that is not black."""

    def faces(self, pixels):
        return super().faces(pixels) if pixels.max() > 40 else []


@pytest.fixture
def face() -> np.ndarray:
    return render(draw_subject(np.random.default_rng(3)), {6: 3, 12: 4}, size_px=48)


@pytest.fixture
def data(monkeypatch, face):
    """Three items: a face, a black picture, nothing; of frames: black and a face, black alone, none."""

    def jpeg(pixels):
        return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()

    black = np.zeros_like(face)
    values = {
        "cover": [jpeg(face), jpeg(black), None],
        "frames": [[jpeg(black), jpeg(face)], [jpeg(black)], None],
    }
    stub = SimpleNamespace(
        kind="interactions",
        items=pa.table({"item_id": ["a", "b", "c"]}),
        source_reader=lambda source: SimpleNamespace(
            read=lambda numbers: pa.array([values[source][number - 1] for number in numbers])
        ),
    )
    monkeypatch.setattr(captions, "open_dataset", lambda path: stub)
    monkeypatch.setattr(captions, "load_detector", lambda name: BrightPictures())
    return stub


@pytest.mark.parametrize("source", ["cover", "frames"])
def test_an_item_without_a_face_has_an_empty_caption(data, trained_run, face, tmp_path, source):
    output = tmp_path / "captions.csv"
    assert write_captions(tmp_path, trained_run, output, source=source) == {"ok": 1, "empty": 2}
    rows = pa.csv.read_csv(output).to_pylist()
    assert [(row["item_id"], row["status"]) for row in rows] == [
        ("a", "ok"),
        ("b", "empty"),
        ("c", "empty"),
    ]
    assert rows[0]["model"] == "vl-fau:run" and len(rows[0]["revision"]) == 64
    path = tmp_path / "face.jpg"
    cv2.imwrite(str(path), face[..., ::-1])
    assert rows[0]["text"] == predict(path, trained_run, detector="none")["face_text"][0]
    assert read_captions(str(output)).num_rows == 3  # as prep imports them


def test_datasets_without_items_and_other_files_are_refused(data, trained_run, tmp_path):
    with pytest.raises(UserError, match=r"written to \.csv or \.parquet"):
        write_captions(tmp_path, trained_run, tmp_path / "captions.jsonl")
    with pytest.raises(UserError, match="2 AUs 1, 2 are wanted"):
        write_captions(tmp_path, trained_run, tmp_path / "captions.csv", aus=[1, 2])
    data.kind = "faces"
    with pytest.raises(UserError, match="a dataset of faces, expected one of micro-videos"):
        write_captions(tmp_path, trained_run, tmp_path / "captions.csv")
