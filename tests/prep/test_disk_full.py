"""A full disk: one clear error, partial files do not count, and a rerun resumes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from toolkit import UserError
from toolkit.atomic import write_atomically
from toolkit.store import Table

ROOT = Path(__file__).parents[2]
CONFIG = PrepConfig(media=MediaConfig(workers=1, frame_count=5))
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
COMMAND = (
    "from prep.cli import main\nfrom toolkit.console.door import run_command\n"
    "run_command(lambda: main({words!r}))"
)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def build(dump, out, before=""):
    words = ["build", str(dump), str(out), "--media.workers=1"]
    return subprocess.run(
        [sys.executable, "-c", before + COMMAND.format(words=words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def one_error(done):
    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return error


@pytest.fixture
def dump(own_dump):
    (own_dump / "prep.yaml").unlink()
    return own_dump


def test_a_full_disk_is_one_error_and_a_rerun_goes_on(dump, small_disk, tmp_path):
    out, ballast = small_disk / "out", small_disk / "ballast"
    ballast.write_bytes(b"x" * 700 * 1024)  # the rest is too little for the frames, 400 KiB
    error = one_error(build(dump, out))
    assert str(out) in error and "not enough disk space (No space left on device" in error
    assert "MiB are free" in error and "free space and run the same command again" in error
    assert list(out.rglob("*.tmp")) == []
    assert Table(out / "covers").exists() and not Table(out / "frames").exists()
    ballast.unlink()
    assert build(dump, out).returncode == 0
    assert prep.check(out) == []
    prep.build(dump, tmp_path / "elsewhere", CONFIG)
    for name in ("items", "interactions", "covers", "frames"):
        assert Table(out / name).read() == Table(tmp_path / "elsewhere" / name).read()
    assert toolkit.open_dataset(out).errors == toolkit.open_dataset(tmp_path / "elsewhere").errors


def test_a_limit_on_file_sizes_is_told_like_a_full_disk(dump, tmp_path):
    """What needs no mount: the frames' shard is larger than the limit, everything before is not."""
    out = tmp_path / "out"
    error = one_error(build(dump, out, before=LIMITED.format(limit=200_000)))
    assert f"{out / 'frames' / 'part-00000.arrow'}: not enough disk space (File too large" in error
    assert Table(out / "covers").exists() and not Table(out / "frames").exists()
    assert list(out.rglob("*.tmp")) == []
    assert build(dump, out).returncode == 0
    assert prep.check(out) == []


def fill(folder, *, but_bytes):
    """Takes all room on a file system but some."""
    free = shutil.disk_usage(folder).free
    (folder / "ballast").write_bytes(b"x" * (free - but_bytes))


def scratch_in(out):
    return [path for path in out.rglob("*") if path.suffix in (".tmp", ".duckdb", ".wal")]


@pytest.mark.parametrize("free_kib", [4, 8, 16, 24, 40])
def test_a_disk_that_is_full_from_the_start_leaves_nothing_of_the_sorting(
    dump, small_disk, tmp_path, free_kib
):
    """DuckDB fails where it opens its file, where it writes, or where a transaction ends."""
    out = small_disk / "out"
    fill(small_disk, but_bytes=free_kib * 1024)
    with pytest.raises((UserError, OSError)) as full:
        prep.ingest(dump, out)
    assert isinstance(full.value, UserError) or full.value.errno == errno.ENOSPC
    assert scratch_in(out) == [] and not (out / "dataset.json").exists()
    (small_disk / "ballast").unlink()
    prep.ingest(dump, out)
    assert prep.check(out) == []


@pytest.mark.parametrize("free_kib", [0, 4, 12])
def test_a_disk_that_is_full_when_the_report_is_written(dump, small_disk, free_kib):
    out = small_disk / "out"
    prep.ingest(dump, out)
    fill(small_disk, but_bytes=free_kib * 1024)
    with pytest.raises((UserError, OSError)) as full:
        prep.report(out)
    assert isinstance(full.value, UserError) or full.value.errno == errno.ENOSPC
    assert scratch_in(out) == []
    (small_disk / "ballast").unlink()
    prep.report(out)
    assert (out / "report.html").exists()


def test_a_disk_that_cannot_be_written_is_one_line(dump, small_disk):
    out = small_disk / "out"
    prep.ingest(dump, out)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for command in (lambda: prep.report(out), lambda: prep.build(dump, out, CONFIG)):
        with pytest.raises(OSError, match="Read-only file system") as refused:
            command()
        assert refused.value.filename  # `run_command` makes one line of it
    assert prep.check(out) == []


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    def fail(_):
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_the_limit_does_is_an_error_not_a_signal():
    """Python leaves SIGXFSZ ignored: a write beyond the limit fails and the process lives."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN


def test_a_folder_that_cannot_be_made_for_want_of_room_is_told_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match=r"file: not enough disk space \(No space left"):
        write_atomically(tmp_path / "new" / "file", lambda file: file.write(b"x"))
