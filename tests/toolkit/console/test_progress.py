"""The progress line: redrawn on a terminal, appended to a log, silent for short work."""

import io

import pytest

from toolkit.console import progress
from toolkit.console.progress import Progress, duration, line, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_says_how_far_how_fast_what_failed_and_how_long_still():
    text = line(
        "frames",
        done=1280,
        total=19738,
        unit="items",
        per_second=41.2,
        failed={"corrupt": 1, "truncated": 3},
    )
    # (19738 - 1280) / 41.2 = 448 s, 7.5 min
    assert text == (
        "frames: 1,280/19,738 items · 41.2/s · failed 3 truncated, 1 corrupt · 7 min left"
    )


def test_what_is_unknown_is_left_out():
    assert line("x", done=5, total=None, unit="", per_second=None, failed={}) == "x: 5"
    assert line("x", done=5, total=None, unit="", per_second=2.0, failed={}) == "x: 5 · 2.0/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (448, "7 min"),
        (3590, "1 h 0 min"),
        (9000, "2 h 30 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def work(stream, *moments):
    """One item done at each moment, counted in seconds; the second fails, and the third."""
    clock = Clock()
    with Progress("frames", total=6, unit="items", stream=stream, clock=clock) as bar:
        for number, moment in enumerate(moments):
            clock.now = 100.0 + moment
            bar.advance(1, {"corrupt": 1} if number in (1, 2) else None)


def test_a_log_gets_a_line_after_two_seconds_and_then_each_ten():
    log = io.StringIO()
    work(log, 1, 2, 11, 12, 20, 22.5)
    assert log.getvalue().splitlines() == [
        "frames: 2/6 items · 1.0/s · failed 1 corrupt · 4 s left",
        "frames: 4/6 items · 0.3/s · failed 2 corrupt · 6 s left",
        "frames: 6/6 items · 0.3/s · failed 2 corrupt · 0 s left",
    ]


def test_a_terminal_has_one_line_that_is_wiped_at_the_end():
    terminal = Terminal()
    work(terminal, 1, 2, 2.1, 4)
    first = "frames: 2/6 items · 1.0/s · failed 1 corrupt · 4 s left"
    second = "frames: 4/6 items · 1.0/s · failed 2 corrupt · 2 s left"
    assert terminal.getvalue() == f"\r{first}\r{second}\r{' ' * len(second)}\r"


def test_a_line_never_runs_over_the_edge(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    terminal = Terminal()
    work(terminal, 2)
    assert terminal.getvalue().startswith("\rframes: 1/6\r")


def test_short_work_says_nothing():
    for stream in (Terminal(), io.StringIO()):
        work(stream, 0.1, 1.9)
        assert stream.getvalue() == ""


def test_track_yields_its_items_and_finds_their_number(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    assert list(track([3, 4], "reading")) == [3, 4]
    assert "reading: 2/2 · " in capsys.readouterr().err
    assert list(track(iter([3]), "reading", enabled=False)) == [3]
    assert capsys.readouterr().err == ""
