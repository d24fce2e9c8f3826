"""Calls that hang, crash or leak are ended, and the next call is answered."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import misbehaving
import pytest

from prep.pictures.watchdog import CrashedError, Watchdog, close_shared, shared
from prep.steps.problems import ItemProblem
from toolkit import UserError

TESTS = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("own_decoder")


def test_results_come_back_from_one_process() -> None:
    with Watchdog(misbehaving.process_id, limit_seconds=60) as watched:
        first, second = watched(0), watched(0)
    assert first == second != os.getpid()
    assert not alive(first)
    with Watchdog(misbehaving.double, limit_seconds=60) as doubled:
        assert [doubled(n) for n in range(3)] == [0, 2, 4]
    with Watchdog(misbehaving.imported, limit_seconds=60, prepare=import_decoders) as imported:
        slow = ("pandas", "duckdb", "torch", "jinja2", "prep.build")
        assert imported("cv2", "av", *slow) == ["cv2", "av"]  # it starts in half the time


def import_decoders() -> None:
    import_module("prep.pictures.covers")
    import_module("prep.pictures.frames")


def test_a_call_that_holds_the_interpreters_lock_is_killed() -> None:
    with Watchdog(misbehaving.spin_with_the_lock, limit_seconds=0.3) as watched:
        for _ in range(2):  # the process is replaced
            with pytest.raises(TimeoutError, match=r"not done after 0\.3 s"):
                watched(0)


def test_a_slow_answer_is_not_taken_for_the_next_one() -> None:
    with Watchdog(misbehaving.sleep, limit_seconds=0.5) as watched:
        with pytest.raises(TimeoutError):
            watched(30.0)
        assert watched(0.0) == "awake"


def test_the_answer_to_an_interrupted_call_is_not_taken_for_the_next_one() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Watchdog(misbehaving.sleep, limit_seconds=60) as watched:
            assert watched(0.0) == "awake"
            interrupted = multiprocessing.active_children()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                watched(30.0)
            assert watched(0.0) == "awake"
            assert not set(interrupted) & set(multiprocessing.active_children())
    finally:
        signal.signal(signal.SIGALRM, handler)


def test_a_crash_is_told_and_the_next_call_answered() -> None:
    with (
        Watchdog(misbehaving.crash, limit_seconds=60) as watched,
        pytest.raises(CrashedError, match=f"ended with {-signal.SIGSEGV}"),
    ):
        watched(0)
    with Watchdog(misbehaving.quit_quietly, limit_seconds=60) as quitting:
        for code in (3, 4):
            with pytest.raises(CrashedError, match=f"ended with {code}"):
                quitting(code)


def test_errors_of_the_function_come_through() -> None:
    with Watchdog(misbehaving.fail, limit_seconds=60) as watched:
        with pytest.raises(ItemProblem) as item:
            watched("item")
        assert (item.value.status, item.value.message) == ("truncated", "half of it")
        with pytest.raises(UserError, match="not installed"):
            watched("user")
        with pytest.raises(RuntimeError, match="KeyError: 'other'"):
            watched("other")


def test_what_leaks_is_gone_with_the_process() -> None:
    for _ in range(2):
        with Watchdog(misbehaving.leak, limit_seconds=60) as watched:
            assert [watched(1000), watched(1000)] == [1000, 2000]


def test_a_process_is_prepared_outside_of_the_limit() -> None:
    with Watchdog(
        misbehaving.what_was_prepared, limit_seconds=0.4, prepare=misbehaving.prepare_slowly
    ) as watched:
        assert [watched(0), watched(0)] == [[b"prepared"]] * 2


def test_a_process_is_replaced_after_so_many_calls() -> None:
    with Watchdog(misbehaving.process_id, limit_seconds=60, max_calls=2) as watched:
        processes = [watched(0) for _ in range(5)]
    first, second, third = dict.fromkeys(processes)
    assert processes == [first, first, second, second, third]
    assert not any(map(alive, processes))


def test_a_process_that_ended_between_two_calls_is_replaced() -> None:
    with Watchdog(misbehaving.process_id, limit_seconds=60) as watched:
        first = watched(0)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in [child.pid for child in multiprocessing.active_children()])
        assert alive(watched(0))


def test_a_shared_process_is_kept_until_it_is_closed() -> None:
    first, second = (shared(misbehaving.process_id, limit_seconds=60)(0) for _ in range(2))
    assert first == second
    close_shared()
    assert not alive(first)
    assert shared(misbehaving.process_id, limit_seconds=60)(0) != first
    close_shared()


def test_shared_functions_have_one_process_and_a_kill_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = shared(misbehaving.process_id, limit_seconds=60)(0)
    assert shared(misbehaving.double, limit_seconds=60)(2) == 4
    assert shared(misbehaving.process_id, limit_seconds=50)(0) == one
    with pytest.raises(TimeoutError):
        shared(misbehaving.spin_with_the_lock, limit_seconds=0.3)(0)
    assert not Path(f"/proc/{one}").exists()  # not even as a zombie
    assert list(tmp_path.iterdir()) == []
    close_shared()
    assert multiprocessing.active_children() == []


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import misbehaving; from prep.pictures.watchdog import Watchdog\n"
        "Watchdog(misbehaving.double, limit_seconds=60)(1)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    command = [sys.executable, program, TESTS, TESTS.parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "UserError: a decoding process did not start" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_spinning_process_dies_with_its_killed_parent(
    tmp_path: Path, number: signal.Signals
) -> None:
    note = tmp_path / "pid"
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "import misbehaving; from prep.pictures.watchdog import Watchdog\n"
        "if __name__ == '__main__':\n"
        "    Watchdog(misbehaving.spin_beside, limit_seconds=600)(sys.argv[1])\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    parent = subprocess.Popen([sys.executable, program, note, TESTS, TESTS.parent])
    wait_for(lambda: note.exists() and note.read_text() != "")
    child = int(note.read_text())
    assert alive(child)
    parent.send_signal(number)
    parent.wait()
    wait_for(lambda: not alive(child))


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "gave up after 60 s"
        time.sleep(0.05)
