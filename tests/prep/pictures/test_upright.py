"""Orientation and aspect ratio: every backend returns the picture that FFmpeg's command displays."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from odd_clips import SHAPE, Picture, marked, set_matrix, shown_by_ffmpeg, write

from prep.pictures.frames import stills
from prep.pictures.video import load
from prep.pictures.video.rotation import UPRIGHT, Turn, quarter_turn, turn_of
from toolkit.images import decode_jpeg

# a, b, c, d: a pixel at (x, y) is shown at (a x + c y, b x + d y).
MATRICES = {
    "upright": (1, 0, 0, 1),
    "quarter": (0, 1, -1, 0),
    "half": (-1, 0, 0, -1),
    "three_quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside_down_mirrored": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed_the_other_way": (0, -1, -1, 0),
}


def moved(picture: Picture, matrix: tuple[int, ...]) -> Picture:
    """The slow reference: each pixel put where the matrix says."""
    a, b, c, d = matrix
    ys, xs = np.mgrid[: picture.shape[0], : picture.shape[1]]
    across, down = a * xs + c * ys, b * xs + d * ys
    across, down = across - across.min(), down - down.min()
    shown = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    shown[down, across] = picture[ys, xs]
    return shown


def shown(path: Path, backend: str, size: int | None = None) -> Picture:
    """The first picture from a backend, as RGB."""
    (pixels,) = load(backend).frames_at(path, [0.0], size).pixels
    return pixels[:, :, ::-1]


def distance(one: Picture, other: Picture) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
@pytest.mark.parametrize("name", MATRICES)
def test_every_matrix_is_obeyed(tmp_path: Path, backend: str, name: str, muxer: str) -> None:
    path = write(tmp_path / "a.mp4", [marked()] * 3, muxer=muxer)
    set_matrix(path, MATRICES[name])
    expected = moved(marked(), MATRICES[name])
    assert distance(shown(path, backend), expected) < 6
    info = load(backend).probe(path)
    assert (info.height_px, info.width_px) == expected.shape[:2]
    row = stills(path, backend=backend, sampling="uniform", count=1, interval=1, px=48)
    assert row["backend"] == backend
    assert decode_jpeg(row["frames"][0]).shape == (
        (48, 96, 3) if expected.shape[:2] == SHAPE else (96, 48, 3)
    )


@pytest.mark.parametrize("name", MATRICES)
def test_ffmpegs_own_picture_is_the_same(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.mp4", [marked()])
    set_matrix(path, MATRICES[name])
    assert distance(shown(path, "pyav"), shown_by_ffmpeg(path)[0]) < 2


@pytest.mark.parametrize("name", MATRICES)
def test_a_turn_can_be_undone(name: str) -> None:
    a, b, c, d = (65536 * number for number in MATRICES[name])
    turn = turn_of([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    np.testing.assert_array_equal(turn.applied(marked()), moved(marked(), MATRICES[name]))
    np.testing.assert_array_equal(turn.undone(turn.applied(marked())), marked())


def test_a_quarter_turn_is_that_of_its_matrix() -> None:
    assert [quarter_turn(degrees) for degrees in (0, 90, 180, -90)] == [
        UPRIGHT,
        Turn(transposes=True, flips_x=True),
        Turn(flips_x=True, flips_y=True),
        Turn(transposes=True, flips_y=True),
    ]


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 1)])
def test_a_matrix_that_leaves_nothing_is_ignored(numbers: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [marked()])
    set_matrix(path, numbers)
    assert distance(shown(path, "pyav"), marked()) < 6


@pytest.mark.parametrize("degrees", [30.0, 200.0, -45.0])
def test_another_angle_tilts_the_picture_as_ffmpeg_does(
    tmp_path: Path, backend: str, degrees: float
) -> None:
    path = write(tmp_path / "a.mp4", [marked()])
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    set_matrix(path, (cosine, sine, -sine, cosine))
    tilted = shown(path, backend)
    assert tilted.shape == marked().shape
    assert tilted[:4, :4].max() < 40  # the corners are black
    assert distance(tilted, shown_by_ffmpeg(path)[0]) < 3


def test_nearly_a_quarter_turn_is_one(tmp_path: Path, backend: str) -> None:
    path = write(tmp_path / "a.mp4", [marked()])
    set_matrix(path, (0.005, 1, -1, 0.005))
    assert distance(shown(path, backend), moved(marked(), MATRICES["quarter"])) < 6


@pytest.mark.parametrize(
    ("orientation", "matrix"),
    [("rotate=270", "quarter"), ("rotate=180", "half"), ("flip=horizontal", "mirrored")],
)
def test_what_the_codec_says_of_orientation_counts(
    tmp_path: Path, backend: str, orientation: str, matrix: str
) -> None:
    filters = f"h264_metadata=display_orientation=insert:{orientation}"
    path = write(tmp_path / "a.mp4", [marked()] * 2, filters=filters)
    assert distance(shown(path, backend), moved(marked(), MATRICES[matrix])) < 6
    assert distance(shown(path, backend), shown_by_ffmpeg(path)[0]) < 4


def test_an_old_tag_turns_nothing_as_in_ffmpeg(tmp_path: Path, backend: str) -> None:
    plain = write(tmp_path / "plain.mp4", [marked()] * 2)
    path = tmp_path / "a.mkv"
    with av.open(str(plain)) as container, av.open(str(path), "w", format="matroska") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        copy.metadata["rotate"] = "90"
        for packet in container.demux(stream):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    assert distance(shown(path, backend), marked()) < 6


# Shown width of 192 px stored, or None where such a shape is a mistake.
SHAPES = [("4:3", 256), ("12:11", 209), ("1:2", 96), ("100:1", 192), ("1:99", 192)]


@pytest.mark.parametrize(("sar", "width"), SHAPES)
@pytest.mark.parametrize("muxer", ["mp4", "matroska"])
def test_pixels_become_square(
    tmp_path: Path, backend: str, muxer: str, sar: str, width: int
) -> None:
    path = write(
        tmp_path / "a.mp4", [marked()] * 2, muxer=muxer, sar=Fraction(*map(int, sar.split(":")))
    )
    info = load(backend).probe(path)
    assert (info.width_px, info.height_px) == (width, SHAPE[0])
    seen = shown(path, backend)
    assert seen.shape == (SHAPE[0], width, 3)
    assert seen[5, 5, 1] > 180 > seen[5, -5, 1]  # the yellow field
    small = shown(path, backend, 48)
    assert min(small.shape[:2]) == 48
    assert small.shape[1] / small.shape[0] == pytest.approx(width / SHAPE[0], rel=0.02)


def test_square_pixels_are_those_of_ffmpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [marked()], sar=Fraction(12, 11))
    set_matrix(path, MATRICES["quarter"])
    (expected,) = shown_by_ffmpeg(path, "scale=iw*sar:ih")
    assert distance(shown(path, "pyav"), expected) < 6


def test_turned_pixels_turn_their_shape(tmp_path: Path, backend: str) -> None:
    path = write(tmp_path / "a.mp4", [marked()] * 2, sar=Fraction(4, 3))
    set_matrix(path, MATRICES["quarter"])
    # Turned: 96 wide, 192 high, and a pixel is now 4/3 as high as wide: 72 x 192.
    assert shown(path, backend).shape == (192, 72, 3)
