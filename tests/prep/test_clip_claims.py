"""Container metadata against the content: which stream is used, its duration, and missing data."""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from museum import FPS, red_above_blue
from odd_clips import (
    B_FRAMES,
    SHAPE,
    barred,
    copied,
    damage,
    index_of,
    marked,
    shown_by_ffmpeg,
    write,
)

from prep.pictures.frames import make_frames
from prep.pictures.video import load, probe
from toolkit.images import decode_jpeg

BARS = [barred(index) for index in range(48)]
# Keyframes every 12 frames and B-frames; x264 takes what comes for a keyframe only there.
GROUPS = {"preset": "veryfast", "g": "12", "bf": "2", "sc_threshold": "0"}
OPEN_GROUPS = {
    "preset": "ultrafast",
    "x265-params": "log-level=error:pools=none:keyint=8:min-keyint=8:bframes=3:open-gop=1",
}


def row_of(path: Path, backend: str, count: int = 5, sampling: str = "uniform") -> dict:
    """The clip's row, through the real path."""
    table = make_frames(
        pa.RecordBatch.from_pydict({"item_id": [path.stem]}),
        dump=path.parent,
        folder=path.parent,
        backend=backend,
        sampling=sampling,
        frame_count=count,
        frame_px=512,
    )
    (row,) = table.to_pylist()
    assert (row["message"] is None) == (row["status"] == "ok")
    return row


def bars(row: dict) -> list[int]:
    return [index_of(decode_jpeg(frame)) for frame in row["frames"] or []]


# --- which stream is the film ---


def write_streams(
    path: Path, muxer: str, parts: list[tuple[str, str, np.ndarray, str | None]]
) -> None:
    """Several video streams: codec, pixel format, picture, disposition."""
    with av.open(str(path), "w", format=muxer) as out:
        made = []
        for codec, pixels, picture, disposition in parts:
            stream = out.add_stream(codec, rate=FPS)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = pixels
            if disposition:
                stream.disposition = av.stream.Disposition[disposition]
            made.append((stream, picture, disposition == "attached_pic"))
        for number in range(24):
            for stream, picture, is_single in made:
                if number == 0 or not is_single:
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    out.mux(stream.encode(frame))
        for stream, _, _ in made:
            out.mux(stream.encode(None))


PREVIEW = ("mjpeg", "yuvj420p", red_above_blue((48, 64)), None)
FILM = ("libx264", "yuv420p", marked(), None)
COVER = ("mjpeg", "yuvj420p", red_above_blue((480, 640)), "attached_pic")


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("parts", [[PREVIEW, FILM], [FILM, PREVIEW]], ids=["last", "first"])
def test_the_film_is_the_largest_stream(
    tmp_path: Path, backend: str, muxer: str, parts: list
) -> None:
    write_streams(tmp_path / "a.mp4", muxer, parts)
    row = row_of(tmp_path / "a.mp4", backend)
    assert (row["status"], len(row["frames"])) == ("ok", 5)
    for frame in map(decode_jpeg, row["frames"]):
        assert np.abs(frame.astype(int) - marked()).mean() < 6
    # Only torchcodec can be told which stream to read; the row names who did.
    assert row["backend"] == ("torchcodec" if backend == "torchcodec" else "pyav")


def test_a_cover_picture_is_not_the_film_however_large(tmp_path: Path, backend: str) -> None:
    write_streams(tmp_path / "a.mp4", "mp4", [FILM, COVER])
    row = row_of(tmp_path / "a.mp4", backend)
    assert (row["status"], row["duration_seconds"]) == ("ok", 2.0)
    assert {decode_jpeg(frame).shape for frame in row["frames"]} == {(*SHAPE, 3)}


def test_of_two_streams_of_one_size_the_default_one_is_the_film(
    tmp_path: Path, backend: str
) -> None:
    other = ("libx264", "yuv420p", np.ascontiguousarray(marked()[:, ::-1]), None)
    write_streams(tmp_path / "a.mp4", "matroska", [other, (*FILM[:3], "default")])
    for frame in map(decode_jpeg, row_of(tmp_path / "a.mp4", backend)["frames"]):
        assert np.abs(frame.astype(int) - marked()).mean() < 6


# --- how long it is ---


@pytest.mark.parametrize(
    ("muxer", "codec"), [("webm", "libvpx"), ("matroska", "libx264"), ("mp4", "libx264")]
)
def test_sound_may_be_longer_than_the_picture(
    tmp_path: Path, backend: str, muxer: str, codec: str
) -> None:
    path = write(tmp_path / "a.mp4", BARS, muxer=muxer, codec=codec, sound_seconds=7)
    row = row_of(path, backend)
    assert (row["status"], row["backend"]) == ("ok", backend)
    assert row["duration_seconds"] == pytest.approx(4.0, abs=0.01)
    assert bars(row) == [4, 14, 24, 33, 43]


def test_sound_may_be_longer_without_a_tag_that_says_so(tmp_path: Path, backend: str) -> None:
    path = write(tmp_path / "a.mp4", BARS, muxer="matroska", sound_seconds=7)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"DURATI0N"))
    row = row_of(path, backend)
    assert (row["status"], row["duration_seconds"]) == ("ok", pytest.approx(4.0, abs=0.01))


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
def test_the_last_picture_may_stay(tmp_path: Path, backend: str, muxer: str) -> None:
    path = write(tmp_path / "a.mp4", BARS[:24], muxer=muxer, last_seconds=8)
    row = row_of(path, backend)
    assert row["duration_seconds"] == pytest.approx(23 / FPS + 8, abs=0.01)
    assert row["status"] == "ok"
    # Fifths of 9.92 s: 0.99 s is frame 11, and from 1.92 s on there is the last.
    assert bars(row) == [11, 23, 23, 23, 23]


def claim(path: Path, factor: float) -> None:
    """Changes the durations in the headers of an mp4; its tables of pictures stay right."""
    data = bytearray(path.read_bytes().replace(b"edts", b"free"))
    for box, at in {b"mvhd": 20, b"tkhd": 24, b"mdhd": 20}.items():
        start = data.index(box) + at
        (value,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, round(value * factor))
    path.write_bytes(data)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_a_header_that_claims_more_or_less_than_there_is_changes_nothing(
    tmp_path: Path, backend: str, factor: float
) -> None:
    path = write(tmp_path / "a.mp4", BARS)
    claim(path, factor)
    row = row_of(path, backend)
    assert (row["status"], row["duration_seconds"]) == ("ok", 4.0)
    assert bars(row) == [4, 14, 24, 33, 43]


@pytest.mark.parametrize("muxer", ["mp4", "matroska", "avi", "mpegts"])
def test_a_clip_of_one_picture_is_whole(tmp_path: Path, backend: str, muxer: str) -> None:
    path = write(tmp_path / "a.mp4", BARS[9:10], muxer=muxer)
    row = row_of(path, backend, count=3)
    if (backend, muxer) == ("decord", "matroska"):  # which it does not open
        assert row["message"].endswith("media.backend pyav can")
        return
    assert (row["status"], row["pts_seconds"], bars(row)) == ("ok", [0.0] * 3, [9] * 3)


def half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def half_zero(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


@pytest.mark.parametrize("spoil", [half, half_zero])
@pytest.mark.parametrize("sound_seconds", [0, 7])
def test_half_a_matroska_file_is_truncated(
    tmp_path: Path, spoil: Callable[[Path], None], sound_seconds: int
) -> None:
    pictures = [np.random.default_rng(i).integers(0, 255, (96, 96, 3), np.uint8) for i in range(48)]
    path = write(tmp_path / "a.mp4", pictures, muxer="matroska", sound_seconds=sound_seconds)
    spoil(path)
    row = row_of(path, "pyav")
    assert row["status"] == "truncated"
    assert 1 <= len(row["frames"]) < 5


@pytest.mark.parametrize("backend", ["pyav", "opencv", "decord"])
def test_half_a_fragmented_mp4_is_truncated(tmp_path: Path, backend: str) -> None:
    """As phones and streams write them: each fragment says its own length, and nothing says that of the whole."""
    pictures = [np.random.default_rng(i).integers(0, 255, (96, 96, 3), np.uint8) for i in range(48)]
    whole = write(tmp_path / "whole.mp4", pictures, options={"preset": "ultrafast", "g": "6"})
    path = tmp_path / "a.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(
            str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}
        ) as out,
    ):
        video = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    assert row_of(path, backend)["status"] == "ok"
    whole_bytes = path.read_bytes()
    path.write_bytes(
        whole_bytes + bytes(5000)
    )  # zeros behind the last box are no part of the video
    assert row_of(path, backend)["status"] == "ok"
    path.write_bytes(whole_bytes[: len(whole_bytes) // 2])
    row = row_of(path, backend)
    assert row["status"] == "truncated" and row["frames"]


def test_half_an_avi_file_is_truncated(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(i).integers(0, 255, (96, 96, 3), np.uint8) for i in range(48)]
    path = write(tmp_path / "a.mp4", pictures, muxer="avi", codec="mpeg4")
    half(path)
    row = row_of(path, "pyav")
    assert (row["status"], row["duration_seconds"]) == ("truncated", 4.0)


# --- every backend's frames are those of a forward decode ---


def forward(path: Path) -> list[int]:
    """Bars of all frames that PyAV decodes from the start on, as FFmpeg does."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                found += [index_of(frame.to_ndarray(format="rgb24")) for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return found


@pytest.mark.parametrize("gap", ["3", "16"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_frames_in_any_order_are_those_of_a_forward_decode(
    tmp_path: Path, backend: str, codec: str, gap: str
) -> None:
    options = {"g": gap}
    if codec == "libx265":
        options["x265-params"] = f"log-level=error:pools=none:keyint={gap}"
    if codec == "libvpx-vp9":
        options |= {"deadline": "realtime", "cpu-used": "8"}
    path = write(tmp_path / "a.mp4", BARS, codec=codec, options=options)
    assert forward(path) == list(range(48))
    order = [47, 35, 2, 46, 0, 17, 35]
    frames = load(backend).frames_at(path, [index / FPS for index in order])
    assert [index_of(pixels) for pixels in frames.pixels] == order
    assert frames.pts_seconds == pytest.approx([index / FPS for index in order])
    assert frames.backend == backend


def raw(path: Path) -> Path:
    whole = write(path.with_name("whole.mkv"), BARS, muxer="mp4", options=B_FRAMES)
    with av.open(str(whole)) as container, av.open(str(path), "w", format="h264") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        context = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            for filtered in context.filter(packet if packet.size else None):
                filtered.stream = copy
                out.mux(filtered)
    return path


def remuxed(path: Path, muxer: str = "mp4") -> Path:
    """Raw H.264, packed: pictures have the times of their order in the file."""
    source = raw(path.with_name("raw.h264"))
    with av.open(str(source)) as container, av.open(str(path), "w", format=muxer) as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for row, packet in enumerate(p for p in container.demux(stream) if p.size):
            packet.stream, packet.pts, packet.dts = copy, row * 100_000, row * 100_000
            out.mux(packet)
    return path


@pytest.mark.parametrize(
    "build", [raw, remuxed, partial(remuxed, muxer="avi")], ids=["raw", "mp4", "avi"]
)
def test_pictures_without_times_come_in_the_decoders_order(
    tmp_path: Path, backend: str, build: Callable[[Path], Path]
) -> None:
    path = build(tmp_path / "a.mp4")
    assert forward(path) == list(range(48))
    row = row_of(path, backend, count=12)
    assert row["status"] == "ok"
    assert row["duration_seconds"] == pytest.approx(4.0, rel=0.05)
    assert bars(row) == list(range(2, 48, 4))
    last = load(backend).frames_at(path, [row["duration_seconds"] - 0.01])
    assert [index_of(pixels) for pixels in last.pixels] == [47]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_frames_after_damage_still_come(tmp_path: Path, backend: str, codec: str) -> None:
    options = {"g": "12", "bf": "2", "preset": "veryfast", "sc_threshold": "0"}
    if codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": "log-level=error:pools=none:keyint=12"}
    if codec == "libvpx-vp9":
        options = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
    path = write(tmp_path / "a.mp4", BARS, codec=codec, options=options)
    damage(path, 15, 17)
    row = row_of(path, backend, count=12)
    if backend == "decord" and not row["frames"]:  # of some such clips it decodes nothing
        assert row["message"].endswith("media.backend pyav can")
        return
    assert row["duration_seconds"] == 4.0
    reached = {
        round(seconds * FPS): bar
        for seconds, bar in zip(row["pts_seconds"], bars(row), strict=True)
    }
    for index in (2, 6, 10, 38, 42, 46):  # before the damage and after its groups
        assert reached[index] == index
    assert row["backend"] == "pyav"  # the others stop at the damage, or leave frames out
    assert (row["status"] == "ok") == (len(row["frames"]) == 12)


def test_a_damaged_picture_is_stood_for_by_the_one_before(tmp_path: Path, backend: str) -> None:
    path = write(tmp_path / "a.mp4", BARS, codec="mpeg4", options={"g": "1"})  # keyframes alone
    damage(path, 24, 25)
    frames = load(backend).frames_at(path, [index / FPS for index in (10, 24, 25, 40)])
    assert [index_of(pixels) for pixels in frames.pixels] == [10, 23, 25, 40]
    assert frames.pts_seconds == pytest.approx([index / FPS for index in (10, 23, 25, 40)])


def test_damage_that_decord_meets_far_ahead_costs_no_picture_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread decodes ahead, on a busy machine far, and then the first call already has the error."""
    decord = pytest.importorskip("decord")
    path = write(tmp_path / "a.mp4", BARS, codec="mpeg4", options={"g": "1"})
    damage(path, 24, 25)

    class Ahead(decord.VideoReader):
        def skip_frames(self, num: int = 1) -> None:
            raise decord.DECORDError("error of a later frame")

    monkeypatch.setattr(decord, "VideoReader", Ahead)
    frames = load("decord").frames_at(path, [index / FPS for index in (10, 24, 25, 40)])
    assert [index_of(pixels) for pixels in frames.pixels] == [10, 23, 25, 40]


def test_pictures_before_the_first_that_decodes_do_not_count(tmp_path: Path, backend: str) -> None:
    whole = write(tmp_path / "whole.mp4", BARS, codec="libx265", options=OPEN_GROUPS)
    path = copied(whole, tmp_path / "a.mp4", "mp4", first=_second_group(whole))
    shown = forward(path)
    row = row_of(path, backend, count=4)
    assert row["status"] == "ok" and row["pts_seconds"][0] >= 0
    assert row["duration_seconds"] == pytest.approx(len(shown) / FPS, abs=0.01)
    part = len(shown) / 4
    assert bars(row) == [shown[int((k + 0.5) * part)] for k in range(4)]


def _second_group(path: Path) -> int:
    with av.open(str(path)) as container:
        rows = [p.is_keyframe for p in container.demux(video=0) if p.size]
    return rows.index(True, 1)


def test_every_picture_marked_as_a_keyframe_is_not_believed(tmp_path: Path, backend: str) -> None:
    for codec, options in (("libx264", GROUPS), ("mpeg4", {"g": "24"})):
        path = write(tmp_path / "a.mp4", BARS, codec=codec, options=options)
        path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # without it, all are
        if codec == "mpeg4":
            assert len(probe(path).keyframes) == 48
        frames = load(backend).frames_at(path, [index / FPS for index in (5, 17, 23, 40)])
        assert [index_of(pixels) for pixels in frames.pixels] == [5, 17, 23, 40]
        near = load("pyav").frames_at(path, [1.5, 3.0], tolerance_seconds=0.1)
        indexes = [round(seconds * FPS) for seconds in near.pts_seconds]
        assert [index_of(pixels) for pixels in near.pixels] == indexes


@pytest.mark.parametrize("muxer", ["matroska", "mpegts", "mp4"])
def test_containers_count_alike(tmp_path: Path, backend: str, muxer: str) -> None:
    path = write(tmp_path / "a.mp4", BARS, muxer=muxer, options=GROUPS)
    row = row_of(path, backend)
    assert (row["status"], bars(row)) == ("ok", [4, 14, 24, 33, 43])


def test_ffmpegs_own_frames_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", BARS, options=GROUPS)
    damage(path, 15, 17)
    assert [index_of(picture) for picture in shown_by_ffmpeg(path)][-20:] == forward(path)[-20:]
