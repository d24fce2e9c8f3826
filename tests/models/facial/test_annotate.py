"""Annotated frames: what is drawn, and where it is written."""

import errno

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.facial.annotate import _LEAST_FONT_PX, _fitting, _lines, annotate, drawn
from models.facial.frames import Frame
from toolkit import UserError

GREY = np.full((120, 160, 3), 128, np.uint8)
ROW = {
    **{"frame": 0, "success": 1, "face_id": 0, "confidence": 0.9},
    **{"face_x": 20.0, "face_y": 30.0, "face_w": 40.0, "face_h": 50.0},
    **{"AU01_p": 0.2, "AU01_c": 0, "AU12_p": 0.8, "AU12_c": 1},
    **{"AU12_text": "lip corners up", "face_text": "a smile"},
}
YELLOW = (255, 209, 102)  # of face 0


def frames(count: int, shape=(120, 160)) -> list[Frame]:
    return [Frame(np.full((*shape, 3), 128, np.uint8), n, "a", n / 10) for n in range(count)]


def test_the_box_is_where_the_face_is():
    grey = np.full((120, 300, 3), 128, np.uint8)
    result = drawn(grey, [ROW])
    assert result.shape == grey.shape and result.dtype == np.uint8
    yellow = (result == YELLOW).all(axis=2)
    assert yellow[30, 20:61].all() and yellow[80, 20:61].all()
    assert yellow[30:81, 20].all() and yellow[30:81, 60].all()
    assert not yellow[35:75, 25:55].any()  # the face itself stays free
    assert np.array_equal(result[:, :19], grey[:, :19])  # texts are on the other side


def test_only_active_aus_and_texts_change_the_picture():
    plain = drawn(GREY, [ROW | {"face_text": None}])
    assert np.array_equal(plain, drawn(GREY, [ROW | {"face_text": None, "AU01_p": 0.3}]))
    assert not np.array_equal(plain, drawn(GREY, [ROW | {"face_text": None, "AU01_c": 1}]))
    assert not np.array_equal(plain, drawn(GREY, [ROW]))
    assert np.array_equal(drawn(GREY, [{"frame": 0, "success": 0}]), GREY)


def test_texts_cover_no_other_face():
    pixels = np.full((300, 500, 3), 128, np.uint8)
    rows = [ROW | {"face_id": i, "face_x": 60.0 * i + 150, "face_y": 100.0} for i in range(3)]
    changed = (drawn(pixels, rows) != 128).any(axis=2)
    for row in rows:
        x = int(row["face_x"])
        assert not changed[102:149, x + 2 : x + 39].any()


def test_a_face_as_large_as_the_picture_keeps_its_texts_inside():
    row = ROW | {"face_x": 0.0, "face_y": 0.0, "face_w": 160.0, "face_h": 120.0}
    inside = drawn(GREY, [row])[2:-2, 2:-2]
    dark = (inside < 100).all(axis=2)  # the background of the texts
    assert dark.sum() > 500 and (inside == YELLOW).all(axis=2).any()
    assert not dark[-10:].any() and dark[0].any()


def test_a_folder_has_a_picture_per_frame(tmp_path):
    given = [*frames(2), Frame(None, 2, "a"), Frame(GREY, 3, "a")]
    rows = [ROW | {"frame": 1}, ROW | {"frame": 1, "face_id": 1, "face_x": 100.0}, ROW | {"frame": 3}]  # fmt: skip
    assert annotate(given, iter(rows), tmp_path / "out") == 3
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000000.png", "000001.png", "000003.png"]
    first, second, last = (cv2.imread(str(tmp_path / "out" / n))[..., ::-1] for n in names)
    assert np.array_equal(first, GREY)
    assert np.array_equal(second, drawn(GREY, rows[:2]))
    assert np.array_equal(last, drawn(GREY, rows[2:]))


def test_frames_and_rows_are_joined_by_number(tmp_path):
    """Frames without rows, and rows without frames."""
    given = [frame for frame in frames(7) if frame.number in (0, 3, 5, 6)]
    rows = [ROW | {"frame": number, "face_x": 10.0 * number} for number in (1, 2, 3, 4, 6)]
    assert annotate(given, rows, tmp_path / "out") == 4
    for number, found in ((0, []), (3, [rows[2]]), (5, []), (6, [rows[4]])):
        pixels = cv2.imread(str(tmp_path / "out" / f"{number:06d}.png"))[..., ::-1]
        assert np.array_equal(pixels, drawn(GREY, found))


def decoded(path):
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_a_video_keeps_the_times_of_its_frames(tmp_path):
    rows = [ROW | {"frame": n} for n in range(4)]
    assert annotate(frames(4, (121, 161)), rows, tmp_path / "out.mp4") == 4
    shown = decoded(tmp_path / "out.mp4")
    assert [time for time, _ in shown] == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-4)
    expected = drawn(np.full((121, 161, 3), 128, np.uint8), [ROW])
    for _, pixels in shown:
        assert pixels.shape == (122, 162, 3)
        assert np.abs(pixels[:121, :161].astype(int) - expected).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_images_of_other_sizes_are_fitted_and_shown_for_a_second_each(tmp_path):
    images = [Frame(GREY, 0, "a.png"), Frame(GREY[:60], 1, "b.png"), Frame(GREY[:, :40], 2, "c.png")]  # fmt: skip
    annotate(images, [], tmp_path / "out.mp4")
    shown = decoded(tmp_path / "out.mp4")
    assert [round(time, 3) for time, _ in shown] == [0, 1, 2]
    assert shown[1][1][70:].max() < 20 and shown[1][1][:50].min() > 100
    assert shown[2][1][:, 50:].max() < 20 and shown[2][1][:, :30].min() > 100


def test_an_unfinished_video_leaves_nothing(tmp_path):
    def broken():
        yield from frames(2)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        annotate(broken(), [], tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"out\.avi: .* an \.mp4 file or to a folder; change"):
        annotate(frames(1), [], tmp_path / "out.avi")


def test_texts_that_a_picture_is_too_low_for_end_in_dots_inside_it():
    """In smaller letters first; a lower picture holds fewer lines of the same texts."""
    names = [f"AU{number:02d}" for number in range(1, 13)]
    active = {f"{name}_p": 0.9 for name in names} | {f"{name}_c": 1 for name in names}
    texts = {f"{name}_text": "the corners of the lips are pulled up" for name in names}
    row = ROW | active | texts | {"face_text": None}
    draw = ImageDraw.Draw(Image.new("RGB", (10, 10)))
    shown = {}
    for height in (1000, 300, 120):
        text, typeface, extent = _fitting(draw, [*_lines(row)], height, 12, None)
        assert extent[1] < height and _LEAST_FONT_PX <= typeface.size <= 12
        shown[height] = text.splitlines()
    assert shown[1000][-1] != "…" and shown[120][-1] == "…"
    assert shown[120][:-1] == shown[1000][: len(shown[120]) - 1]
    assert len(shown[120]) < len(shown[300]) <= len(shown[1000])


def test_a_text_about_the_face_is_in_place_of_those_about_its_aus():
    assert [*_lines(ROW)] == ["face 0, 0.90", "AU12 0.80", "a smile"]
    assert [*_lines(ROW | {"face_text": None})] == ["face 0, 0.90", "AU12 0.80 lip corners up"]


def test_a_full_disk_leaves_no_part_of_a_picture(tmp_path, monkeypatch):
    def full(image, file, **_):
        file.write(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"000000\.png: not enough disk space"):
        annotate(frames(1), [], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
