"""Sampling policies: the times chosen from a clip, counted by hand, without decoding."""

from fractions import Fraction

import pytest

from prep import MediaConfig
from prep.pictures.video import VideoInfo
from prep.pictures.video.sampling import POLICIES
from toolkit import UserError


def clip(
    pts: list[int], duration_seconds: float, fps: float = 1.0, keyframes: list[int] | None = None
) -> VideoInfo:
    """A clip of one tick a second."""
    return VideoInfo(
        codec="h264",
        width_px=2,
        height_px=2,
        rotation_degrees=0,
        duration_seconds=duration_seconds,
        fps=fps,
        time_base=Fraction(1),
        pts=pts,
        keyframes=[pts[0]] if keyframes is None else keyframes,
    )


def frames_of(
    policy: str, info: VideoInfo, count: int, interval: int = 1
) -> tuple[list[int | None], float]:
    """Indexes of the frames on screen at a policy's moments, and its tolerance."""
    seconds, tolerance = POLICIES[policy](info, count, interval)
    return [info.index_at(moment) for moment in seconds], tolerance


TEN = clip(list(range(10)), 10.0)


def test_uniform_and_near_take_the_middle_of_each_part() -> None:
    assert frames_of("uniform", TEN, 5) == ([1, 3, 5, 7, 9], 0.0)
    assert frames_of("near", TEN, 5) == ([1, 3, 5, 7, 9], 0.1)


def test_the_last_slide_of_a_slide_show_lasts_to_its_end() -> None:
    # Three pictures in 12 s: one in 4 s on average, and the last may stand for two of those.
    assert frames_of("uniform", clip([0, 2, 5], 12.0, fps=3 / 12), 4)[0] == [0, 1, 2, 2]


def test_a_file_that_ends_before_its_header_says_cannot_reach_all() -> None:
    # One frame a second for 10 s promised, five there: 5 s is within two frames' time of 4 s, 7 s is not.
    cut = clip([0, 1, 2, 3, 4], 10.0)
    assert cut.is_cut and not TEN.is_cut
    assert frames_of("uniform", cut, 5)[0] == [1, 3, 4, None, None]
    assert frames_of("keyframes", cut, 5)[0] == [0, 0, 0, None, None]
    # The middle three of all ten are 3, 4 and 5.
    assert frames_of("middle", cut, 3)[0] == [3, 4, None]


@pytest.mark.parametrize(
    ("count", "interval", "expected"),
    [
        # Frames 0..99: what lies before the first and after the last differs by one at most.
        (1, 1, [49]),
        (5, 1, [47, 48, 49, 50, 51]),
        (5, 5, [39, 44, 49, 54, 59]),
        (1, 25, [49]),
        (10, 1, list(range(45, 55))),
        (10, 5, list(range(27, 73, 5))),
        # 5 frames 25 apart need 101: the first stands for the one before it.
        (5, 25, [0, 24, 49, 74, 99]),
        (10, 25, [0, 0, 0, 12, 37, 62, 87, 99, 99, 99]),
    ],
)
def test_middle_takes_consecutive_frames_as_the_paper_does(
    count: int, interval: int, expected: list[int]
) -> None:
    hundred = clip(list(range(100)), 100.0)
    assert frames_of("middle", hundred, count, interval) == (expected, 0.0)


def test_middle_counts_frames_and_not_seconds() -> None:
    # Six frames, the middle two of which begin at 2 s and at 10 s.
    assert POLICIES["middle"](clip([0, 1, 2, 10, 20, 30], 40.0, fps=6 / 40), 2, 1).seconds == [
        2,
        10,
    ]


def test_keyframes_are_those_nearest_and_repeat_where_there_are_few() -> None:
    info = clip(list(range(10)), 10.0, keyframes=[0, 4, 8])
    # Nearest to 1, 3, 5, 7 and 9 s.
    assert POLICIES["keyframes"](info, 5, 1).seconds == [0, 4, 4, 8, 8]
    assert POLICIES["keyframes"](info, 2, 1).seconds == [4, 8]  # to 2.5 and 7.5 s


def test_a_frames_own_time_finds_it_again() -> None:
    thirds = VideoInfo("h264", 2, 2, 0, 5.0, 29.97, Fraction(1001, 30000), list(range(7, 157)), [7])
    assert [thirds.index_at(thirds.seconds(pts)) for pts in thirds.pts] == list(range(150))


def test_an_interval_without_middle_is_refused() -> None:
    assert MediaConfig(sampling="middle", frame_interval=5).frame_interval == 5
    with pytest.raises(
        UserError, match=r"media\.frame_interval is 5 and media\.sampling is uniform"
    ):
        MediaConfig(frame_interval=5)
