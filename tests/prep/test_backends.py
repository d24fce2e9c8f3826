"""Backends return the same frames with the same orientation; what a cheaper policy may change."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from museum import FPS, QUICK, SHAPE, turned, whole, write_clip

from prep import MediaConfig, PrepConfig, ingest, media
from prep.pictures.video import load, pyav
from prep.pictures.video.info import probe
from toolkit import UserError, open_dataset

EVERY = [index / FPS for index in range(48)]
# x265 opens its groups: frames before a keyframe on screen come after it in the file.
OPEN_GROUPS = {
    "preset": "ultrafast",
    "x265-params": "log-level=error:pools=none:keyint=8:min-keyint=8:bframes=3:open-gop=1",
}
B_FRAMES = {"preset": "veryfast", "g": "16", "bf": "3"}
CODECS = {"libx264": B_FRAMES, "libx265": OPEN_GROUPS, "mpeg4": {"g": "12", "bf": "2"}}


def smooth() -> list[np.ndarray]:
    """Frames that tell their index by a bar that moves, and suit a codec."""
    frames = np.full((48, *SHAPE, 3), 40, dtype=np.uint8)
    for index in range(48):
        frames[index, :, 2 * index : 2 * index + 24] = 220
    return list(frames)


@pytest.fixture(scope="module", params=CODECS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / f"{request.param}.mp4"
    write_clip(path, smooth(), codec=request.param, options=CODECS[request.param])
    return path


def bars(frames: list[np.ndarray]) -> list[int]:
    """The index of each frame, by where its bar begins."""
    return [round(int(np.argmax(f[:, :, 0].mean(axis=0) > 130)) / 2) for f in frames]


def test_every_backend_gives_the_frames_asked_for(clip: Path, backend: str) -> None:
    for indexes in (list(range(48)), [0, 47], [5, 17, 29, 41], [46], [9, 9, 9]):
        frames = load(backend).frames_at(clip, [EVERY[index] for index in indexes])
        assert bars(frames.pixels) == indexes
        assert frames.pts_seconds == pytest.approx([EVERY[index] for index in indexes])


def test_backends_agree_on_the_pixels(clip: Path, backend: str) -> None:
    moments = EVERY[3::10]
    ours, theirs = (load(name).frames_at(clip, moments, 64).pixels for name in ("pyav", backend))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape == (64, 85, 3)
        assert np.abs(mine.astype(int) - other).mean() < 2.5  # they shrink in two ways


def test_moments_may_come_in_any_order(clip: Path, backend: str) -> None:
    frames = load(backend).frames_at(clip, [EVERY[index] for index in (40, 3, 21, 3)])
    assert bars(frames.pixels) == [40, 3, 21, 3]


def test_pictures_are_upright_and_so_is_their_size(tmp_path: Path, backend: str) -> None:
    turned(tmp_path / "a.mp4")
    info = load(backend).probe(tmp_path / "a.mp4")
    assert (info.rotation_degrees, info.height_px, info.width_px) == (90, *SHAPE)
    (pixels,) = load(backend).frames_at(tmp_path / "a.mp4", [0.0]).pixels
    assert pixels.shape == (*SHAPE, 3)
    # Red above, blue below, as BGR.
    assert pixels[10, 64, 2] > 180 > pixels[10, 64, 0]
    assert pixels[-10, 64, 0] > 180 > pixels[-10, 64, 2]


def test_a_container_tells_what_it_holds(tmp_path: Path) -> None:
    whole(tmp_path / "a.mp4", options={**QUICK, "g": "20"})
    info = probe(tmp_path / "a.mp4")
    assert (info.codec, info.fps, info.duration_seconds) == ("h264", 12.0, 4.0)
    assert (info.width_px, info.height_px, info.rotation_degrees) == (128, 96, 0)
    assert [info.seconds(pts) for pts in info.pts] == pytest.approx(EVERY)
    assert [info.seconds(pts) for pts in info.keyframes] == pytest.approx([0, 20 / 12, 40 / 12])
    assert info.time_base == Fraction(1, 12288)  # FFmpeg's mp4 doubles 12 until it exceeds 10,000


def test_a_container_without_a_duration_is_as_long_as_its_frames(tmp_path: Path) -> None:
    whole(tmp_path / "a.mp4", muxer="matroska", flags={"live": "1"})
    assert probe(tmp_path / "a.mp4").duration_seconds == pytest.approx(
        4.0, abs=0.002
    )  # Matroska: ms


def test_near_frames_are_within_a_tenth_of_a_second(clip: Path, backend: str) -> None:
    moments = [0.31, 0.33, 1.17, 2.0, 2.49, 3.51]
    frames = load(backend).frames_at(clip, moments, tolerance_seconds=0.1)
    assert np.abs(np.array(frames.pts_seconds) - moments).max() <= 0.1
    # What is told is what is given.
    assert bars(frames.pixels) == [round(seconds * FPS) for seconds in frames.pts_seconds]


def test_a_moment_without_a_near_reference_frame_gets_its_own_frame(tmp_path: Path) -> None:
    # Four frames a second, every other one a B-frame: the next reference is 0.25 s away.
    path = tmp_path / "a.mp4"
    options = {"preset": "veryfast", "bf": "1", "b_strategy": "0", "sc_threshold": "0"}
    write_clip(path, smooth()[:16], ticks=range(0, 48, 3), options=options)
    moments = [index / 4 for index in range(16)]
    frames = pyav.frames_at(path, moments, tolerance_seconds=0.1)
    assert frames.pts_seconds == pytest.approx(moments)
    assert bars(frames.pixels) == list(range(16))


def test_fewer_packets_give_the_same_pixels_as_all(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [EVERY[index] for index in (5, 17, 29, 41)]
    some = pyav.frames_at(clip, moments).pixels
    monkeypatch.setattr(pyav, "_skips_exactly", lambda context: False)
    monkeypatch.setattr(pyav, "_by_keyframe", lambda keyframes, asked: {None: set(asked)})
    every = pyav.frames_at(clip, moments).pixels
    for one, other in zip(some, every, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shrinking_does_not_alias(tmp_path: Path, backend: str) -> None:
    # Black and white lines, one pixel wide: a mean of them is grey, a choice of them is not.
    frame = np.zeros((256, 256, 3), dtype=np.uint8)
    frame[:, ::2] = 255
    write_clip(tmp_path / "a.mp4", [frame], options={"preset": "ultrafast", "qp": "0"})
    (pixels,) = load(backend).frames_at(tmp_path / "a.mp4", [0.0], 64).pixels
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int) - 127).max() < 12


def test_a_backend_that_does_not_load_is_told_before_the_run(
    synth_dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(synth_dump, tmp_path / "data")
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.delitem(sys.modules, "prep.pictures.video.decord", raising=False)
    config = PrepConfig(media=MediaConfig(backend="decord", workers=1))
    with pytest.raises(
        UserError,
        match=r"media\.backend is decord, which cannot be loaded .* pyav, opencv, torchcodec",
    ):
        media(synth_dump, tmp_path / "data", config)
    assert not (tmp_path / "data" / "covers").exists()


def test_torchcodec_without_ffmpeg_is_told_before_a_clip_is_called_corrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pytest.importorskip("torchcodec"), "ffmpeg_major_version", None)
    monkeypatch.delitem(sys.modules, "prep.pictures.video.torchcodec", raising=False)
    with pytest.raises(UserError, match=r"torchcodec, which cannot be loaded .*FFmpeg"):
        load("torchcodec")


def test_a_policy_is_recorded_and_a_change_of_it_refused(synth_dump: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    ingest(synth_dump, data)
    media(synth_dump, data, PrepConfig(media=MediaConfig(sampling="keyframes", workers=1)))
    rows = open_dataset(data).frames.to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    assert {len(row["frames"]) for row in rows} == {5}
    assert open_dataset(data).manifest["steps"]["frames"]["config"]["sampling"] == "keyframes"
    with pytest.raises(UserError, match='sampling = "keyframes", and now sampling = "near" is'):
        media(synth_dump, data, PrepConfig(media=MediaConfig(sampling="near", workers=1)))


def test_backends_agree_on_real_clips(real_data: Path, backend: str) -> None:
    path = real_data / "microlens-sample" / "videos" / "10034.mp4"
    moments = [0.7, 2.2, 3.7, 5.2, 6.7]
    ours, theirs = (load(name).frames_at(path, moments, 224) for name in ("pyav", backend))
    assert ours.pts_seconds == theirs.pts_seconds
    for mine, other in zip(ours.pixels, theirs.pixels, strict=True):
        assert np.abs(mine.astype(int) - other).mean() < 2
