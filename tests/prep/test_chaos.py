"""A build killed at eighteen random moments, and resumed each time, equals the uninterrupted build.

All builds are in forks of a process that has imported everything. Fourteen kills are between two system calls of a write.
Four hit the command with two workers from outside, the parent alone or its process group.
"""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest

import prep
import toolkit
from prep import EncodeConfig, MediaConfig, PrepConfig
from toolkit.store import Table

ROOT = Path(__file__).parents[2]
TABLES = ("items", "interactions", "covers", "frames", "states/title")
FORKS, COMMANDS = 14, 4

# argv: the dump, the encoder, then an output folder and the system call at which it is killed, in turn.
FORKING = """
import os, random, signal, sys
import duckdb, pandas
import prep.build
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.pictures import covers, frames, watchdog
from prep.towers.encoding import load
from toolkit import store

tower = EncodeConfig(encoder=sys.argv[2], pooling="mean")
load(tower)  # here, where it also imports torch and the model's modules, and not in every fork

# Decodes in the fork: a decoding process costs a second of imports per build, and this test kills only writes.
watchdog.shared = lambda read, **limits: read

for module in ("prep.media", "prep.encode"):
    for name in ("COVERS_SHARD", "FRAMES_SHARD", "SHARD"):
        vars(sys.modules[module]).update({name: 5} if name in vars(sys.modules[module]) else {})

def die_at(call):
    left = [call]
    def watched(function):
        def wrapped(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)
        return wrapped
    os.fsync, os.replace, os.unlink = map(watched, (os.fsync, os.replace, os.unlink))
    store.Path.replace = lambda self, target: os.replace(self, target)
    return left

def build(out, call):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        sys.stdout = open(os.devnull, "w")
        left = die_at(call)
        media = MediaConfig(workers=1, frame_count=2)
        prep.build(sys.argv[1], out, PrepConfig(media=media, encode={"title": tower}))
        if call > 10**6:
            open(out + ".calls", "w").write(str(call - left[0]))
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)

for out, call in zip(sys.argv[3::2], map(int, sys.argv[4::2])):
    print(build(out, call), flush=True)
"""


def everything_in(out):
    """All tables, errors and what `dataset.json` says, but for where the shards begin and end."""
    tables = {name: Table(out / name).read().combine_chunks() for name in TABLES}
    data = toolkit.open_dataset(out)
    assert prep.check(out) == []
    assert list(out.rglob("*.tmp")) == []
    return {**tables, "errors": data.errors.sort_by("item_id"), "manifest": data.manifest}


def builds(dump, encoder, *runs):
    """Wait statuses of builds in forks, each killed at a system call; 10**9 is never."""
    words = [str(word) for run in runs for word in run]
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(dump), str(encoder), *words],
        capture_output=True,
        text=True,
        # One thread, because a fork loses all others.
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split() if word.isdigit()], done.stderr


@pytest.mark.slow
def test_killed_between_any_two_system_calls_of_a_write(spoilt_dump, tiny_bert, tmp_path):
    never = 10**9
    whole = tmp_path / "whole"
    # The first one also writes what is remembered of the encoder's files; the others make no such calls.
    first = tmp_path / "first"
    assert builds(spoilt_dump, tiny_bert, (first, never), (whole, never))[0] == [0, 0]
    calls = int((tmp_path / "whole.calls").read_text())
    expected = everything_in(whole)
    # Spread over the build: one random moment in each fourteenth of it.
    draw = random.Random(3)
    moments = [int((part + draw.random()) * calls / FORKS) + 1 for part in range(FORKS)]
    outs = [tmp_path / f"out{part}" for part in range(FORKS)]
    runs = [
        run
        for out, at in zip(outs, moments, strict=True)
        for run in ((out, min(at, calls)), (out, never))
    ]
    statuses, errors = builds(spoilt_dump, tiny_bert, *runs)
    assert statuses == [signal.SIGKILL, 0] * FORKS, errors
    for out in outs:
        assert everything_in(out) == expected


class Command:
    """`python -m prep WORDS` in a process group of its own, and the pipe that it and its workers print to."""

    def __init__(self, pipe, *words):
        if not pipe.exists():
            os.mkfifo(pipe)
        self.pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        words = list(map(str, words))
        self.process = forked.start("prep.__main__", words, log=pipe, own_group=True)

    def end(self):
        """The exit status and what was printed, once the process and its workers, who hold the pipe, have ended."""
        self.process.join(300)
        printed = b""
        while select.select([self.pipe], [], [], 300)[0]:
            part = os.read(self.pipe, 1 << 16)
            if not part:
                os.close(self.pipe)
                return self.process.exitcode, printed.decode()
            printed += part
        raise AssertionError(f"a worker lives on: {printed.decode()}")


def files(out):
    """How many files and folders there are. `os.walk` passes over a folder that a build removes meanwhile."""
    found = (
        Path(top) / name for top, folders, names in os.walk(out) for name in (*folders, *names)
    )
    return sum(1 for path in found if path.suffix != ".tmp" and ".locks" not in path.parts)


@pytest.mark.slow
def test_the_command_killed_from_outside_again_and_again(spoilt_dump, tiny_bert, tmp_path):
    """One dataset, four kills, each after so many more files, and a last run that ends by itself."""
    config = PrepConfig(
        media=MediaConfig(workers=2, frame_count=2),
        encode={"title": EncodeConfig(encoder=str(tiny_bert), pooling="mean")},
    )
    prep.build(spoilt_dump, tmp_path / "whole", config)
    out, draw = tmp_path / "out", random.Random(5)
    words = ["build", spoilt_dump, out, "--media.workers=2", "--media.frame_count=2",
             f"--encode.title.encoder={tiny_bert}", "--encode.title.pooling=mean"]  # fmt: skip
    # Eleven files and folders appear before covers; states are the last of about twenty.
    for kill, count in enumerate(sorted(draw.sample(range(1, 18), COMMANDS))):
        command = Command(tmp_path / "pipe", *words)
        while files(out) < count and command.process.exitcode is None:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)
        if command.process.exitcode is None:
            (os.killpg if kill % 2 else os.kill)(command.process.pid, signal.SIGKILL)
        status, printed = command.end()
        assert status in (-signal.SIGKILL, 0), printed
    status, printed = Command(tmp_path / "pipe", *words).end()
    assert status == 0, printed
    status, printed = Command(tmp_path / "pipe", "check", out).end()
    assert status == 0, printed
    assert everything_in(out) == everything_in(tmp_path / "whole")
