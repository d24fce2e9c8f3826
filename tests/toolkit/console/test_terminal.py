"""Answers of commands as text, JSON or nothing; colours; and how a process ends."""

import errno
import gc
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from toolkit import UserError
from toolkit.console import starting
from toolkit.console.colours import painted
from toolkit.console.door import run_command
from toolkit.console.interrupts import leaving_interrupts
from toolkit.console.progress import Progress
from toolkit.console.terminal import Answer, answer, take_answer_options

ROOT = Path(__file__).parents[3]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def works() -> Answer:
    print("on the way")
    ticks = iter(range(100))
    with Progress("work", total=2, clock=lambda: 10.0 * next(ticks)) as line:
        line.advance(1)
    return Answer("in words", {"found": 1})


def breaks() -> Answer:
    return Answer("broken: a", {"broken": ["a"]}, status=1)


LINE = "work: 1/2"
DATA = json.dumps({"found": 1}, indent=2) + "\n"


@pytest.mark.parametrize(
    ("as_json", "quiet", "out", "told"),
    [
        (False, False, "on the way\nin words\n", [LINE]),
        (True, False, DATA, ["on the way", LINE]),
        (False, True, "", []),
        (True, True, DATA, []),
    ],
)
def test_what_is_printed_where(capsys, as_json, quiet, out, told):
    assert answer(works, as_json=as_json, quiet=quiet) == 0
    printed = capsys.readouterr()
    assert printed.out == out
    lines = printed.err.splitlines()
    assert len(lines) == len(told) and all(map(str.startswith, lines, told))


@pytest.mark.parametrize("quiet", [False, True])
def test_what_is_broken_is_told_even_quietly(capsys, quiet):
    assert answer(breaks, as_json=False, quiet=quiet) == 1
    assert capsys.readouterr() == ("", "broken: a\n")
    assert answer(breaks, as_json=True, quiet=quiet) == 1
    assert json.loads(capsys.readouterr().out) == {"broken": ["a"]}


def test_processes_without_an_answer_say_nothing(capsys):
    assert answer(lambda: None, as_json=True, quiet=False) == 0
    assert capsys.readouterr() == ("", "")


def test_after_a_quiet_command_progress_is_drawn_again(capsys):
    answer(works, as_json=False, quiet=True)
    answer(works, as_json=False, quiet=False)
    assert LINE in capsys.readouterr().err


def test_options_of_answers_are_told_from_all_others():
    options, rest = take_answer_options(["--a.key", "1", "--json", "--js"])
    assert (options.json, options.quiet, rest) == (True, False, ["--a.key", "1", "--js"])


def test_colours_are_for_terminals_alone(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert painted("error:", "red", Terminal()) == "\x1b[31merror:\x1b[0m"
    assert painted("error:", "red", io.StringIO()) == "error:"
    assert painted("error:", "red", None) == "error:"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("error:", "red", Terminal()) == "error:"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert painted("error:", "red", Terminal()) == "error:"


def ends(error):
    def fail():
        raise error

    with pytest.raises(SystemExit) as end:
        run_command(fail, interrupted="go on with --resume")
    return end.value.code


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("a: no such folder"), 2, "error: a: no such folder\n"),
        (PermissionError(13, "Permission denied", "a/b"), 2, "error: a/b: Permission denied;"),
        (NotADirectoryError(20, "Not a directory", "a/b"), 2, "error: a/b: Not a directory;"),
        (KeyboardInterrupt(), 130, "\ninterrupted; go on with --resume\n"),
    ],
)
def test_exit_statuses(capsys, error, status, told):
    assert ends(error) == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(told)


def test_one_of_several_processes_says_which_it_is(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert ends(UserError("no room")) == 2
    assert capsys.readouterr().err == "error in process 1: no room\n"


@pytest.mark.parametrize("status", [None, 0, 1])
def test_what_a_command_returns_is_the_exit_status(status):
    with pytest.raises(SystemExit) as end:
        run_command(lambda: status)
    assert end.value.code == (status or 0)


@pytest.mark.parametrize("error", [RuntimeError("ours"), PermissionError("of no path")])
def test_our_own_faults_stay_tracebacks(error):
    with pytest.raises(type(error), match=str(error)):
        ends(error)


LONG = (
    "from toolkit.console.door import run_command; run_command(lambda: print('line\\n' * 100_000))"
)


@pytest.mark.parametrize(
    ("shell", "status", "out", "told"),
    [
        ("{} | head -n 1; exit ${{PIPESTATUS[0]}}", 141, "line\n", ""),
        ("{} >&-", 0, "", ""),
        ("{} >/dev/full", 2, "", "error: the output cannot be printed: No space left on "),
    ],
)
def test_output_that_nobody_takes_is_no_crash(shell, status, out, told):
    command = shell.format(shlex.join([sys.executable, "-c", LONG]))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, out)
    assert done.stderr.startswith(told) and done.stderr.count("\n") == bool(told)


def test_ctrl_c_reaches_the_parent_alone():
    mask = (signal.pthread_sigmask, signal.SIG_BLOCK, [])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(KeyboardInterrupt), leaving_interrupts():
            child = pool.submit(*mask)
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.SIGINT in child.result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize(
    "number",
    ["ENOENT", "ELOOP", "ENAMETOOLONG", "EROFS", "EIO", "ESTALE", "ETXTBSY", "EMFILE", "ENOTEMPTY"],
)
def test_whatever_the_system_refuses_of_a_path_is_one_line(capsys, number):
    code = getattr(errno, number)
    assert ends(OSError(code, os.strerror(code), "some/file\nname")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: some/file name: {os.strerror(code)}; ")


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS", "EIO", "EMFILE"])
def test_a_machine_that_fails_is_one_line_without_a_path_too(capsys, number):
    code = getattr(errno, number)
    assert ends(OSError(code, os.strerror(code))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {os.strerror(code)}; ")


def test_a_user_without_a_home_folder_hears_of_it(capsys, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    with pytest.raises(SystemExit) as end:
        run_command(nowhere)
    assert end.value.code == 2
    assert "error: this user has no home folder" in capsys.readouterr().err


def test_an_interrupt_that_a_library_wraps_is_an_interrupt(capsys):
    def wrapped():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    with pytest.raises(SystemExit) as end:
        run_command(wrapped)
    assert end.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted; run the command again\n"


# A stand-in for imports that take long: the package is imported, then `pause` while it still is.
SLOW = """
import sys
sys.argv = ["-m"]
import toolkit.console.starting
print("importing", flush=True)
import time
time.sleep(60)
"""


def test_ctrl_c_while_a_command_imports_is_one_line():
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert (process.returncode, told) == (130, "\ninterrupted; run the command again\n")


def test_as_a_library_nothing_of_the_program_changes():
    handler = signal.getsignal(signal.SIGINT)
    starting.guard()
    assert signal.getsignal(signal.SIGINT) is handler and gc.isenabled()


@pytest.mark.parametrize(
    ("helps", "of_imports", "afterwards"), [(False, False, True), (True, True, True)]
)
def test_garbage_is_not_searched_for_during_the_imports_of_a_command(
    monkeypatch, helps, of_imports, afterwards
):
    """A process that a command starts has the command's name, and calls no `started`."""
    monkeypatch.setattr(sys, "argv", ["bin/versa-train"])
    line = "from multiprocessing.spawn import spawn_main; spawn_main(pipe_handle=5)"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", line] if helps else ["bin/versa-train"])
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    starting.guard()
    try:
        assert gc.isenabled() == of_imports
        starting.started()
        assert gc.isenabled() == afterwards
    finally:
        gc.enable()


def test_every_program_of_the_packages_ends_its_start():
    """`run_command` gives Ctrl-C back and has garbage searched for again."""
    programs = [
        path
        for package in ("toolkit", "prep", "models")
        for path in (ROOT / package).rglob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    ]
    assert len(programs) > 5
    assert [
        p.name for p in programs if not re.search(r"run_(command|trainer)\(", p.read_text())
    ] == []


@pytest.mark.parametrize("command", ["prep", "models"])
def test_a_current_folder_that_is_gone_is_one_line(tmp_path, command):
    script = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m {command} --help"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder does not exist any more; cd to one that does\n"
