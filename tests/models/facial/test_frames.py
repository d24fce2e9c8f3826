"""Frames of images, folders and videos: order, numbers, times, exact pixels, and input that cannot be read."""

import av
import numpy as np
import pytest

from models.facial.frames import read_frames
from toolkit import UserError


def picture(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(height, width, 3) of noise that depends on a value."""
    return np.random.default_rng(value).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_is_one_frame(write_image):
    path = write_image("a.png", picture(1))
    (frame,) = read_frames(path)
    assert (frame.number, frame.source, frame.timestamp) == (0, str(path), 0.0)
    assert np.array_equal(frame.pixels, picture(1))


def test_a_folder_is_read_in_natural_order(write_image, tmp_path, capsys):
    for number, name in enumerate(("f/2.png", "f/10.png", "f/a.PNG")):
        write_image(name, picture(number))
    (tmp_path / "f" / "9.jpg").write_bytes(b"no image")
    (tmp_path / "f" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "f" / "notes.txt").write_text("no image")
    frames = list(read_frames(tmp_path / "f"))
    assert [frame.source.rpartition("/")[2] for frame in frames] == ["2.png", "9.jpg", "10.png", "a.PNG"]  # fmt: skip
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    assert frames[1].pixels is None
    assert np.array_equal(frames[2].pixels, picture(1))
    assert "9.jpg: cannot be read" in capsys.readouterr().err
    assert [f.number for f in read_frames(tmp_path / "f", every=2)] == [0, 2]


def test_a_video_is_read_exactly(write_video):
    pictures = [picture(number) for number in range(7)]
    path = write_video("a.mkv", pictures)
    frames = list(read_frames(path))
    assert [frame.number for frame in frames] == list(range(7))
    assert [frame.timestamp for frame in frames] == pytest.approx(np.arange(7) / 10)
    for frame, expected in zip(frames, pictures, strict=True):
        assert np.array_equal(frame.pixels, expected)
        assert frame.source == str(path)
    third = list(read_frames(path, every=3))
    assert [frame.number for frame in third] == [0, 3, 6]
    assert np.array_equal(third[1].pixels, pictures[3])


@pytest.mark.parametrize(("degrees", "turns"), [(90, 3), (180, 2), (270, 1)])
def test_a_rotated_video_is_upright(write_video, tmp_path, degrees, turns):
    plain, turned = write_video("a.mkv", [picture(1)]), tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        (frame,) = source.decode(video=0)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv444p"
        packets = [*stream.encode(frame), *stream.encode(None)]
        container.mux(packets)
    set_rotation(turned, degrees)
    (frame,) = read_frames(turned)
    expected = np.rot90(picture(1), turns)  # clockwise by `degrees`
    assert frame.pixels.shape == expected.shape
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 12


def set_rotation(path, degrees):
    """Writes a display matrix that turns clockwise into the track header of an MP4 file (ISO 14496-12, 8.3.2)."""
    one = 1 << 16
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes
    numbers = (a, b, 0, -b, a, 0, 0, 0, 1 << 30)
    data[start : start + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(data)


def test_a_truncated_video_keeps_its_first_frames(write_video, capsys):
    path = write_video("a.mkv", [picture(number) for number in range(8)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = list(read_frames(path))
    assert 2 <= len(frames) <= 5
    for frame in frames:
        assert np.array_equal(frame.pixels, picture(frame.number))


def test_a_truncated_mp4_is_reported(write_video, tmp_path, capsys):
    pictures = [picture(number) for number in range(8)]
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len(list(read_frames(path)))
    assert 0 < count < 8
    assert f"a.mp4: {count} of 8 frames can be decoded; the file is incomplete" in capsys.readouterr().err  # fmt: skip


def test_input_without_frames(tmp_path, write_image):
    with pytest.raises(
        UserError, match=r"absent: no such image, folder or video; correct the path"
    ):
        read_frames(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no images in this folder; expected files \.bmp"):
        read_frames(tmp_path / "empty")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image .*convert it to PNG"):
        read_frames(tmp_path / "a.png")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(
        UserError, match=r"a\.mp4: neither an image .* nor a video that FFmpeg reads"
    ):
        next(read_frames(tmp_path / "a.mp4"))
    with pytest.raises(UserError, match=r"every is 0; it must be at least 1"):
        read_frames(tmp_path, every=0)


def test_a_file_with_sound_alone_has_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"a\.mp4: has no video stream"):
        next(read_frames(path))
