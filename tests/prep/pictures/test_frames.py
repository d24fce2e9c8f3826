"""Frames: correct times, and the same status for every defective clip from every decoder."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from prep.pictures.frames import make_frames
from prep.pictures.video import BACKENDS
from prep.readers.files import find_folder
from prep.synth.dump import write_clip
from toolkit.images import decode_jpeg

FPS = 12  # of write_clip


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "dump" / "videos"
    path.mkdir(parents=True)
    return path


def grey_ramp(count=24, step=10):
    """Frame i is grey of level step * i, so that a decoded frame tells its index."""
    return [np.full((128, 128, 3), step * i, dtype=np.uint8) for i in range(count)]


def frames_of(folder, backend, item_id="a", count=5, px=224, **more):
    batch = pa.RecordBatch.from_pydict({"item_id": [item_id]})
    table = make_frames(
        batch,
        dump=folder.parent,
        folder=folder,
        backend=backend,
        frame_count=count,
        frame_px=px,
        **more,
    )
    (row,) = table.to_pylist()
    return row


def levels(row):
    return [float(decode_jpeg(frame).mean()) for frame in row["frames"]]


@pytest.mark.parametrize("index_first", [True, False])
def test_frames_are_those_on_screen_at_the_midpoints(folder, backend, index_first):
    write_clip(folder / "a.mp4", grey_ramp(), index_first=index_first)
    row = frames_of(folder, backend)
    assert (row["status"], row["message"], row["backend"]) == ("ok", None, backend)
    assert row["backend_version"] == version(BACKENDS[backend])
    data = (folder / "a.mp4").read_bytes()
    assert row["source_bytes"] == len(data)
    assert row["source_sha256"] == hashlib.sha256(data).hexdigest()
    assert (row["duration_seconds"], row["fps"]) == (2.0, FPS)
    # Midpoints of fifths of 2 s are 0.2, 0.6, 1.0, 1.4, 1.8 s: frames 2.4, 7.2, 12, 16.8, 21.6.
    assert row["pts_seconds"] == pytest.approx([i / FPS for i in (2, 7, 12, 16, 21)])
    assert levels(row) == pytest.approx([20, 70, 120, 160, 210], abs=4)


def test_a_clip_of_one_frame_gives_it_every_time(folder, backend):
    write_clip(folder / "a.mp4", grey_ramp(12)[9:10], index_first=True)
    row = frames_of(folder, backend, count=3)
    assert row["status"] == "ok"
    assert row["pts_seconds"] == [0.0, 0.0, 0.0]
    assert levels(row) == pytest.approx([90] * 3, abs=4)


def test_frames_shrink_to_the_shorter_side(folder, backend):
    write_clip(folder / "a.mp4", grey_ramp(4), index_first=True)
    small, same = (frames_of(folder, backend, px=px)["frames"][0] for px in (64, 500))
    assert decode_jpeg(small).shape == (64, 64, 3)
    assert decode_jpeg(same).shape == (128, 128, 3)


def noisy(count=48):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (128, 128, 3), dtype=np.uint8) for _ in range(count)]


def test_a_clip_cut_off_keeps_the_frames_reached(folder, backend):
    write_clip(folder / "whole.mp4", noisy(), index_first=True)
    data = (folder / "whole.mp4").read_bytes()
    (folder / "a.mp4").write_bytes(data[: len(data) * 6 // 10])
    whole, cut = (frames_of(folder, backend, item_id=id_) for id_ in ("whole", "a"))
    assert (whole["status"], cut["status"]) == ("ok", "truncated")
    frames = cut["frames"] or []
    # decord opens no file that breaks off within a packet.
    assert len(frames) in ([0] if backend == "decord" else [2, 3])
    assert cut["message"] == f"a.mp4: {backend} decoded {len(frames)} of 5 frames"
    assert frames == whole["frames"][: len(frames)]
    assert (cut["pts_seconds"] or []) == whole["pts_seconds"][: len(frames)]


def spoil_missing(path: Path) -> None:
    pass


def spoil_empty(path: Path) -> None:
    path.touch()


def spoil_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def spoil_index_cut_off(path: Path) -> None:
    write_clip(path, grey_ramp(), index_first=False)
    path.write_bytes(path.read_bytes()[:-200])


def spoil_only_the_beginning(path: Path) -> None:
    write_clip(path, grey_ramp(), index_first=True)
    path.write_bytes(path.read_bytes()[:100])


def spoil_jpeg(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path, format="JPEG")


def spoil_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><title>Not found</title>")


def spoil_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def spoil_link(path: Path) -> None:
    outside = path.parents[2] / "outside.mp4"
    write_clip(outside, grey_ramp(3), index_first=True)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (spoil_missing, "missing", "videos/a.mp4 is not in the dump"),
        (spoil_empty, "empty", "videos/a.mp4 has zero bytes"),
        (spoil_noise, "corrupt", "a.mp4 has no readable header (Invalid data"),
        (spoil_index_cut_off, "corrupt", "a.mp4 has no readable header"),
        (spoil_only_the_beginning, "corrupt", "a.mp4 has no video stream"),
        (spoil_jpeg, "unsupported", "a.mp4 holds JPEG, not video data"),
        (spoil_page, "unsupported", "a.mp4 holds HTML or XML, not video data"),
        (spoil_sound, "unsupported", "a.mp4 has no video stream"),
        (spoil_link, "unsafe", "videos/a.mp4 is a link out of the dump, to "),
    ],
)
def test_bad_clips_have_the_same_word_from_every_decoder(folder, backend, spoil, status, message):
    spoil(folder / "a.mp4")
    row = frames_of(folder, backend)
    assert (row["status"], row["frames"], row["backend"]) == (status, None, backend)
    assert (row["source_sha256"] is None) == (status in ("missing", "empty", "unsafe"))
    assert row["message"].startswith(message)


def test_a_clip_of_giant_frames_is_too_large(folder, backend, monkeypatch):
    monkeypatch.setattr("prep.pictures.pixels.PIXEL_LIMIT", 128 * 128 - 1)
    write_clip(folder / "a.mp4", grey_ramp(2), index_first=True)
    assert frames_of(folder, backend)["status"] == "too_large"


def test_folders_are_found_by_looking(tmp_path):
    for name in ("a/MicroLens_Videos", "videos_without_any", "covers"):
        (tmp_path / name).mkdir(parents=True)
    assert find_folder(tmp_path, "video", ".mp4") is None
    (tmp_path / "a" / "MicroLens_Videos" / "1.mp4").touch()
    assert find_folder(tmp_path, "video", ".mp4") == tmp_path / "a" / "MicroLens_Videos"
    (tmp_path / "covers" / "1.mp4").touch()
    assert find_folder(tmp_path, "cover", ".jpg") is None


@pytest.mark.parametrize(("item_id", "frames", "fps"), [("1002", 982, 60.0), ("10034", 227, 30.0)])
def test_real_clips(real_data, backend, item_id, frames, fps):
    row = frames_of(real_data / "microlens-sample" / "videos", backend, item_id=item_id)
    assert (row["status"], row["fps"]) == ("ok", fps)
    assert row["duration_seconds"] == pytest.approx(frames / fps, abs=1 / fps)
    assert len(row["frames"]) == 5
    midpoints = np.array([0.1, 0.3, 0.5, 0.7, 0.9]) * row["duration_seconds"]
    late = midpoints - np.array(row["pts_seconds"])  # a frame is on screen from its own time on
    assert (late > -1e-6).all() and (late < 1.5 / fps).all()
    height, width, _ = decode_jpeg(row["frames"][0]).shape
    assert height == 224 and width == pytest.approx(224 * 16 / 9, abs=1)
    assert min(decode_jpeg(frame).std() for frame in row["frames"]) > 10  # pictures, not grey
