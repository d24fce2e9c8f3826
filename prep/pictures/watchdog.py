"""Calls that may hang or crash, made in a process that can be killed.

A decoder can spin forever while it holds the interpreter's lock (decord does on files whose container
over-reports its frames), so neither a signal nor a thread's time-out helps: only killing helps.
"""

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeAlias, TypeVar, cast

from prep.executors.local import prepare_worker
from prep.steps.problems import ItemProblem
from toolkit.console.interrupts import leaving_interrupts
from toolkit.errors import UserError

MAX_CALLS = 1000  # so that a leak is bounded; decord's was 1 MB in 1,000 clips, the others had none
P = ParamSpec("P")
R = TypeVar("R")


class CrashedError(Exception):
    """The process of a watched call ended before it answered."""


class Watchdog(Generic[P, R]):
    """A function in a process of its own, which is killed when a call outlasts its limit.

    The process is started at the first call and again after a kill, a crash or `max_calls` calls; leaving
    the `with` block ends it. With each process goes whatever memory a decoder has leaked in it.

    Args:
        function: of a module, so that the process can import it; picklable arguments and results.
        limit_seconds: of one call, the start of the process not counted.
        max_calls: calls that one process answers.
        prepare: called once in each process, its time not counted: what the first call would import.
        process: one that answers other watchdogs, too; by default its own.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        limit_seconds: float,
        max_calls: int = MAX_CALLS,
        prepare: Callable[[], object] | None = None,
        process: "WatchedProcess | None" = None,
    ) -> None:
        self.function = function
        self.limit_seconds = limit_seconds
        self.prepare = prepare
        self._process = process or WatchedProcess(max_calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, if there is one; another call starts another."""
        self._process.kill()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """One call.

        Raises:
            TimeoutError: if it was not done in time.
            CrashedError: if the process died of it.
            ItemProblem, UserError: as the function raises them; UserError if no process starts.
            RuntimeError: for any other error of the function, with its traceback.
        """
        self._process.ready(self.function, self.prepare)
        call = (self.function, args, kwargs)
        error, result = self._process.answer(call, self.limit_seconds)
        if error is not None:
            raise error
        return cast(R, result)


class WatchedProcess:
    """A process that answers one call after the other, of any functions.

    Args:
        max_calls: after so many it is replaced.
    """

    def __init__(self, max_calls: int = MAX_CALLS) -> None:
        self.max_calls = max_calls
        self._calls = 0
        self._prepared: set[Hashable] = set()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def ready(self, function: Callable[..., object], prepare: Callable[[], object] | None) -> None:
        """Has it take one more call of a function, imported and prepared: that is not the call's time.

        Raises:
            UserError: if no process starts.
            CrashedError: if preparing ends it.
        """
        if self._process is not None and (
            self._calls >= self.max_calls or not self._process.is_alive()
        ):
            self.kill()
        if self._process is None:
            self._start()
        if (function, prepare) not in self._prepared:
            self.answer((_prepared, (function, prepare), {}), _START_SECONDS)
            self._calls -= 1
            self._prepared.add((function, prepare))

    def answer(self, call: "_Call", limit_seconds: float) -> "_Answer":
        """What a call gives: an error or a result.

        Raises:
            TimeoutError: if it was not done in time.
            CrashedError: if the process died of it.
        """
        pipe = self._pipe
        if pipe is None:
            raise ValueError("no process is ready")
        self._calls += 1
        try:
            pipe.send(call)
            if not pipe.poll(limit_seconds):
                raise TimeoutError(f"not done after {limit_seconds:g} s")
            return cast(_Answer, pipe.recv())
        except (EOFError, ConnectionError):
            raise CrashedError(f"its process ended with {self.kill()}") from None
        except BaseException:
            self.kill()  # out of time or interrupted: its answer would be taken for the next one
            raise

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # decoders' threads do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        try:
            with leaving_interrupts():
                self._process.start()
            theirs.close()  # so that the process's end is seen as the end of the pipe
            with contextlib.suppress(EOFError):
                if self._pipe.poll(_START_SECONDS) and self._pipe.recv() == _READY:
                    return
        except BaseException:
            self.kill()
            raise
        self.kill()
        raise UserError(
            f"a process that decodes did not start within {_START_SECONDS:g} s (out of memory, or a script of "
            "your own that calls prep outside of `if __name__ == '__main__':`)"
        )

    def kill(self) -> int | None:
        """Ends the process and returns its exit code; negative is the number of a signal."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        self._calls = 0
        self._prepared.clear()
        if pipe is not None:
            pipe.close()
        if process is None or process.pid is None:  # never started
            return None
        process.kill()
        process.join()  # so that none is left over as a zombie
        return process.exitcode


_SHARED = WatchedProcess()


def shared(
    function: Callable[P, R], *, limit_seconds: float, prepare: Callable[[], object] | None = None
) -> Watchdog[P, R]:
    """A watchdog whose process answers all of this process's shared ones, one after the other.

    A process is slow to start, so it is kept from one batch to the next; it ends with this process, or by
    `close_shared`. For one thread.
    """
    return Watchdog(function, limit_seconds=limit_seconds, prepare=prepare, process=_SHARED)


def close_shared() -> None:
    """Ends the process of this process's shared watchdogs."""
    _SHARED.kill()


@contextmanager
def sharing() -> Iterator[None]:
    """At the end of the block, or of the function that it decorates, this process's shared watchdogs end."""
    try:
        yield
    finally:
        close_shared()


Row: TypeAlias = dict[str, Any]


# Reads what is stored of a file, of which the path comes first; raises ItemProblem if it cannot be used.
ReadsFile: TypeAlias = Callable[..., Row]


def watched(
    read: ReadsFile,
    limit_seconds: float | None,
    *,
    prepare: Callable[[], object] | None = None,
    crash_advice: str = "",
) -> ReadsFile:
    """A function of a file, in this process's shared watchdog: what it does not survive is the file's problem.

    Args:
        read: of a module.
        limit_seconds: of one call; None calls it in this process, without a limit.
        prepare: see `Watchdog`.
        crash_advice: end of the message about a file on which a decoder crashes.
    """
    if limit_seconds is None:
        return read
    call = shared(read, limit_seconds=limit_seconds, prepare=prepare)

    def reads(path: Path, **options: Any) -> Row:
        try:
            return call(path, **options)
        except TimeoutError as error:
            message = f"{path.name}: {error}; a higher media.clip_seconds may do"
            raise ItemProblem("timeout", message) from None
        except CrashedError as error:
            message = f"{path.name}: the decoder crashed on it ({error}){crash_advice}"
            raise ItemProblem("corrupt", message) from None

    return reads


_Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]
_Answer: TypeAlias = tuple[Exception | None, object]
_READY = "ready"
_START_SECONDS = 120.0


def _prepared(function: Callable[..., object], prepare: Callable[[], object] | None) -> None:
    """Prepares for a function, which is imported to get here; the first call tells what is wrong."""
    if prepare is not None:
        with contextlib.suppress(UserError):
            prepare()


def _serve(pipe: Connection) -> None:
    """The process: answers calls until the pipe ends."""
    prepare_worker()
    pipe.send(_READY)
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except EOFError:
            return
        answer: _Answer
        try:
            answer = (None, function(*args, **kwargs))
        except (ItemProblem, UserError) as error:
            answer = (error, None)
        except Exception:
            answer = (RuntimeError(f"a watched call failed:\n{traceback.format_exc()}"), None)
        pipe.send(answer)
