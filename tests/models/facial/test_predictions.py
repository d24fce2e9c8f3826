"""Predictions: a row per face and frame, equal however a face is stored, and independent of batches."""

import tracemalloc
from itertools import repeat

import numpy as np
import pytest
from fake_face_network import FakeFaceNetwork

from models.facial.crop import CropRecipe
from models.facial.face import Face, WholePicture
from models.facial.frames import Frame, read_frames
from models.facial.predictions import predictions, schema_of
from models.facial.table import as_dataframe, write_rows
from toolkit import UserError


class Planted:
    """Finds the faces whose boxes the first pixels of a picture state: x, y, width, height; zeros end the list."""

    finds_crops = False

    def faces(self, pixels):
        boxes = [tuple(map(float, (*a, b[0]))) for a, b in zip(pixels[0, ::2], pixels[0, 1::2], strict=True)]  # fmt: skip
        return [Face(*box, 0.75) for box in boxes[:8] if box[2]]


def planted(*boxes, number: int = 0) -> Frame:
    pixels = np.random.default_rng(number).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    pixels[0] = 0
    for row, (x, y, width, height) in enumerate(boxes):
        pixels[0, 2 * row], pixels[0, 2 * row + 1] = (x, y, width), height
    return Frame(pixels, number, "clip.mp4", number / 10)


def rows_of(frames, detector=None, network=None, **options):
    return list(predictions(frames, detector or Planted(), network or FakeFaceNetwork(), **options))


def without(rows, *columns):
    return [{key: value for key, value in row.items() if key not in columns} for row in rows]


def test_an_image_a_folder_and_a_video_have_equal_rows(
    centerface, photograph, write_image, write_video, tmp_path
):
    paths = [
        write_image("a.png", photograph),
        write_image("folder/a.png", photograph).parent,
        write_video("a.mkv", [photograph]),
    ]
    image, folder, video = (rows_of(read_frames(path), centerface) for path in paths)
    assert len(image) == 1 and image[0]["success"] == 1
    assert without(image, "input") == without(folder, "input") == without(video, "input")
    assert folder[0]["input"] == str(tmp_path / "folder" / "a.png")


def test_only_frames_of_a_video_are_tracked(write_image, write_video):
    """Two pictures with equal boxes: two people in a folder, one person in a video or in a folder of its frames."""
    pictures = [np.full((32, 32, 3), value, np.uint8) for value in (90, 120)]
    for number, pixels in enumerate(pictures):
        folder = write_image(f"folder/{number}.png", pixels).parent
    found = [
        read_frames(folder),
        read_frames(folder, track=True),
        read_frames(write_video("a.mkv", pictures)),
    ]
    ids = [[row["face_id"] for row in rows_of(frames, WholePicture())] for frames in found]
    assert ids == [[0, 1], [0, 0], [0, 0]]


def test_a_face_a_black_frame_and_the_face_again(centerface, photograph, write_video):
    path = write_video("a.mkv", [photograph, np.zeros_like(photograph), photograph])
    network = FakeFaceNetwork()
    first, black, last = rows_of(read_frames(path), centerface, network)
    assert without([first], "frame", "timestamp") == without([last], "frame", "timestamp")
    assert (first["face_id"], last["face_id"], last["frame"]) == (0, 0, 2)
    assert black == {
        "input": str(path),
        "frame": 1,
        "timestamp": pytest.approx(0.1),
        "status": "empty",
        "success": 0,
    }
    assert network.batch_sizes == [2]


def test_each_value_is_of_its_own_face():
    """Probabilities by the crop itself, cut by hand."""
    frames = [planted((4, 4, 8, 8), (30, 20, 12, 12), number=n) for n in range(3)]
    network = FakeFaceNetwork(recipe=CropRecipe(8, margin=0))
    rows = rows_of(frames, network=network, batch_size=2)
    assert [(row["frame"], row["face_id"]) for row in rows] == [(n, i) for n in range(3) for i in range(2)]  # fmt: skip
    for row in rows[::2]:
        crop = frames[row["frame"]].pixels[4:12, 4:12]
        red, green = crop[..., 0].mean() / 255, crop[..., 1].mean() / 255
        assert (row["AU01_p"], row["AU12_p"]) == (pytest.approx(red), pytest.approx(green))
        assert (row["AU01_c"], row["AU12_c"]) == (int(red >= 0.25), int(green >= 0.5))
        assert row["AU12_text"] == f"lip corners {green:.2f}"
        assert [row[f"face_{side}"] for side in "xywh"] == [4, 4, 8, 8]
        assert (row["confidence"], row["status"]) == (0.75, "ok")
        assert row["timestamp"] == row["frame"] / 10


def test_batches_change_nothing():
    rng = np.random.default_rng(0)
    frames = [
        planted(*[(20 * i, 5, 10, 10) for i in range(rng.integers(0, 4))], number=n)
        for n in range(20)
    ]
    expected = rows_of(frames)
    for batch_size in (1, 3):
        network = FakeFaceNetwork()
        assert rows_of(frames, network=network, batch_size=batch_size) == expected
        assert max(network.batch_sizes) <= batch_size
    pairs = [(row["frame"], row.get("face_id")) for row in expected]
    assert len(set(pairs)) == len(pairs)


def test_rows_come_while_frames_are_read():
    frames = (planted(number=n) for n in range(10))
    rows = predictions(frames, Planted(), FakeFaceNetwork(), batch_size=3)
    assert next(rows)["frame"] == 0
    assert next(frames).number == 3


def test_a_frame_that_cannot_be_read_has_a_row():
    frames = [planted((4, 4, 8, 8)), Frame(None, 1, "f/1.png"), planted((4, 4, 8, 8), number=2)]
    rows = rows_of(frames)
    assert [row["status"] for row in rows] == ["ok", "corrupt", "ok"]
    assert [row["success"] for row in rows] == [1, 0, 1]


def test_pictures_that_are_crops_get_no_margin():
    pixels = np.full((16, 16, 3), 255, np.uint8)
    network = FakeFaceNetwork(recipe=CropRecipe(16, margin=0.5))
    (row,) = rows_of([Frame(pixels, 0, "a.png")], WholePicture(), network)
    assert (row["AU01_p"], row["confidence"]) == (1.0, 1.0)  # a margin would be black


def test_a_network_without_texts_has_no_columns_of_texts():
    network = FakeFaceNetwork(has_texts=False)
    table = as_dataframe(rows_of([planted((4, 4, 8, 8)), planted(number=1)], network=network), schema_of(network))  # fmt: skip
    assert list(table) == [
        *("input", "frame", "timestamp", "face_id", "success"),
        *("face_x", "face_y", "face_w", "face_h", "confidence"),
        *("AU01_p", "AU01_c", "AU12_p", "AU12_c", "status"),
    ]
    assert table.loc[1, ["face_id", "face_x", "AU01_p", "AU01_c"]].isna().all()
    assert table["success"].tolist() == [1, 0]


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(UserError, match="batch_size is 0; it must be at least 1"):
        rows_of([], batch_size=0)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("models.facial.table._ROWS_AT_ONCE", 20)
    network = FakeFaceNetwork()

    def peak_bytes(count: int) -> int:
        frames = (planted((4, 4, 8, 8), number=n) for n, _ in enumerate(repeat(None, count)))
        tracemalloc.start()
        rows = predictions(frames, Planted(), network, batch_size=8)
        assert write_rows(rows, tmp_path / "rows.csv", schema_of(network)) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(20)  # first imports
    few, many = peak_bytes(40), peak_bytes(200)
    assert many - few < 20_000, (
        few,
        many,
    )  # 160 frames have 2 MB of pixels, 500 kB of crops and 200 kB of rows
