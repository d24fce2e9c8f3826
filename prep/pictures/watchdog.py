"""Runs calls that may hang or crash in a process that can be killed.

A decoder can loop forever while it holds the interpreter's lock, as decord does on files whose container
over-reports its frames. Neither a signal nor a timeout in a thread can end such a call; only killing the process can.
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

MAX_CALLS = 1000  # bounds memory leaks: decord leaked 1 MB in 1,000 clips, the others nothing
P = ParamSpec("P")
R = TypeVar("R")


class CrashedError(Exception):
    """The process of a watched call ended before it returned a result."""


class Watchdog(Generic[P, R]):
    """Runs a function in a separate process, which is killed when a call exceeds its time limit.

    The process starts at the first call, and again after a kill, a crash or `max_calls` calls. Leaving the `with`
    block ends it. The end of a process also frees memory that a decoder has leaked.

    Args:
        function: a function at module level, so that the process can import it, with picklable arguments and
            results.
        limit_seconds: time limit per call, without the start of the process.
        max_calls: maximum number of calls per process.
        prepare: called once per process to import what the first call needs; its time does not count.
        process: a process that other watchdogs share; by default a new process.
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
        """Ends the process, if there is one; the next call starts a new process."""
        self._process.kill()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function in the process.

        Raises:
            TimeoutError: if the call exceeded its time limit.
            CrashedError: if the process died during the call.
            ItemProblem, UserError: as the function raises them; UserError also if no process starts.
            RuntimeError: for any other error of the function, with its traceback.
        """
        self._process.ready(self.function, self.prepare)
        call = (self.function, args, kwargs)
        error, result = self._process.answer(call, self.limit_seconds)
        if error is not None:
            raise error
        return cast(R, result)


class WatchedProcess:
    """A process that runs calls of any functions, one after the other.

    Args:
        max_calls: number of calls after which the process is replaced.
    """

    def __init__(self, max_calls: int = MAX_CALLS) -> None:
        self.max_calls = max_calls
        self._calls = 0
        self._prepared: set[Hashable] = set()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def ready(self, function: Callable[..., object], prepare: Callable[[], object] | None) -> None:
        """Starts the process if necessary, and imports and prepares a function outside the call's time limit.

        Raises:
            UserError: if no process starts.
            CrashedError: if the process dies during preparation.
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
        """Runs a call and returns its error or its result.

        Raises:
            TimeoutError: if the call exceeded its time limit.
            CrashedError: if the process died during the call.
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
            self.kill()  # after a timeout or interrupt: the late answer would be read as the next
            raise

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # decoders' threads do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        try:
            with leaving_interrupts():
                self._process.start()
            theirs.close()  # so that the end of the process closes the pipe
            with contextlib.suppress(EOFError):
                if self._pipe.poll(_START_SECONDS) and self._pipe.recv() == _READY:
                    return
        except BaseException:
            self.kill()
            raise
        self.kill()
        raise UserError(
            f"a decoding process did not start within {_START_SECONDS:g} s: the machine is out of memory, or your own "
            "script calls prep outside of `if __name__ == '__main__':`; free memory, or add this line"
        )

    def kill(self) -> int | None:
        """Ends the process and returns its exit code; a negative code is the number of a signal."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        self._calls = 0
        self._prepared.clear()
        if pipe is not None:
            pipe.close()
        if process is None or process.pid is None:  # never started
            return None
        process.kill()
        process.join()  # leaves no zombie
        return process.exitcode


_SHARED = WatchedProcess()


def shared(
    function: Callable[P, R], *, limit_seconds: float, prepare: Callable[[], object] | None = None
) -> Watchdog[P, R]:
    """A watchdog that shares one process with all other shared watchdogs of the current process.

    Starting a process is slow, so it is kept between batches. It ends with the current process, or with
    `close_shared`. Not thread-safe.
    """
    return Watchdog(function, limit_seconds=limit_seconds, prepare=prepare, process=_SHARED)


def close_shared() -> None:
    """Ends the process of the shared watchdogs."""
    _SHARED.kill()


@contextmanager
def sharing() -> Iterator[None]:
    """Ends the process of the shared watchdogs at the end of the block or of the decorated function."""
    try:
        yield
    finally:
        close_shared()


Row: TypeAlias = dict[str, Any]


# Reads the columns of a row from a file, whose path is the first argument; raises ItemProblem for unusable files.
ReadsFile: TypeAlias = Callable[..., Row]


def watched(
    read: ReadsFile,
    limit_seconds: float | None,
    *,
    prepare: Callable[[], object] | None = None,
    crash_advice: str = "",
    setting: str = "media.clip_seconds",
) -> ReadsFile:
    """Wraps a function of a file in the shared watchdog: timeouts and crashes become problems of the file.

    Args:
        read: a function at module level.
        limit_seconds: time limit per call; None calls the function in this process, without a limit.
        prepare: see `Watchdog`.
        crash_advice: end of the message for a file that crashes the decoder.
        setting: name of the time limit, for messages.
    """
    if limit_seconds is None:
        return read
    call = shared(read, limit_seconds=limit_seconds, prepare=prepare)

    def reads(path: Path, **options: Any) -> Row:
        try:
            return call(path, **options)
        except TimeoutError as error:
            message = f"{path.name}: {error}; try a higher {setting}"
            raise ItemProblem("timeout", message) from None
        except CrashedError as error:
            message = f"{path.name}: the decoder crashed ({error}){crash_advice}"
            raise ItemProblem("corrupt", message) from None

    return reads


_Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]
_Answer: TypeAlias = tuple[Exception | None, object]
_READY = "ready"
_START_SECONDS = 120.0


def _prepared(function: Callable[..., object], prepare: Callable[[], object] | None) -> None:
    """Runs `prepare`; unpickling `function` has imported its module. The first call reports errors."""
    if prepare is not None:
        with contextlib.suppress(UserError):
            prepare()


def _serve(pipe: Connection) -> None:
    """Main function of the process: runs calls until the pipe is closed."""
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
