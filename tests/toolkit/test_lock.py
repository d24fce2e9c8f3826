"""One writer: others are refused or wait, and a killed writer blocks nobody."""

import os
import signal
import subprocess
import sys

import pytest

from toolkit import UserError
from toolkit.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from toolkit.lock import locked
with locked(Path(sys.argv[1]), "encode-title"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold the lock of `tmp_path` for some seconds."""
    started = []

    def start(seconds):
        command = [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_writer_is_refused_and_hears_of_the_first(tmp_path, holder):
    first = holder(60)
    message = rf"encode-title is being written by process {first.pid} on .* since 2\d\d\d-.*; wait"
    with pytest.raises(UserError, match=message), locked(tmp_path, "encode-title"):
        pytest.fail("two writers")


def test_locks_of_other_names_and_folders_do_not_meet(tmp_path, holder):
    holder(60)
    with locked(tmp_path, "encode-cover"), locked(tmp_path / "other", "encode-title"):
        pass


def test_a_killed_writer_stops_nobody(tmp_path, holder):
    first = holder(60)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with locked(tmp_path, "encode-title"):
        pass


def test_one_waits_where_it_is_asked_to(tmp_path, holder):
    first = holder(0.5)
    with locked(tmp_path, "encode-title", wait_seconds=60):
        assert first.wait(timeout=300) == 0


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path, "ingest"):
        raise RuntimeError
    with locked(tmp_path, "ingest"):
        pass


def test_a_holder_that_is_not_recorded_yet_is_another_process(tmp_path, holder):
    holder(60)
    (tmp_path / ".locks" / "encode-title.json").write_text("{")
    with pytest.raises(UserError, match="by another process"), locked(tmp_path, "encode-title"):
        pytest.fail("two writers")
