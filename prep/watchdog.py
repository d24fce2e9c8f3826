"""Calls that may hang or crash, made in a process that can be killed.

A decoder can spin forever while it holds the interpreter's lock (decord does on files whose container
over-reports its frames), so neither a signal nor a thread's time-out helps: only killing helps.
"""

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Hashable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from prep.executors.local import prepare_worker
from prep.problems import ItemProblem
from toolkit.errors import UserError
from toolkit.interrupts import leaving_interrupts

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
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        limit_seconds: float,
        max_calls: int = MAX_CALLS,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.function = function
        self.limit_seconds = limit_seconds
        self.prepare = prepare
        self.max_calls = max_calls
        self._calls = 0
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

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
        self._kill()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """One call.

        Raises:
            TimeoutError: if it was not done in time.
            CrashedError: if the process died of it.
            ItemProblem, UserError: as the function raises them; UserError if no process starts.
            RuntimeError: for any other error of the function, with its traceback.
        """
        try:
            pipe = self._answering()
            pipe.send((args, kwargs))
            if not pipe.poll(self.limit_seconds):
                raise TimeoutError(f"not done after {self.limit_seconds:g} s")
            error, result = pipe.recv()
        except (EOFError, ConnectionError):
            raise CrashedError(f"its process ended with {self._kill()}") from None
        except BaseException:
            self._kill()  # out of time or interrupted: its answer would be taken for the next one
            raise
        if error is not None:
            raise error
        return result

    def _answering(self) -> Connection:
        """The pipe to a process that may take one more call."""
        if self._process is not None and (
            self._calls == self.max_calls or not self._process.is_alive()
        ):
            self._kill()
        pipe = self._pipe or self._start()
        self._calls += 1
        return pipe

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # decoders' threads do not survive a fork
        self._pipe, theirs = context.Pipe()
        args = (self.function, self.prepare, theirs)
        self._process = context.Process(target=_serve, args=args, daemon=True)
        with leaving_interrupts():
            self._process.start()
        self._calls = 0
        theirs.close()  # so that the process's end is seen as the end of the pipe
        with contextlib.suppress(EOFError):
            if self._pipe.poll(_START_SECONDS) and self._pipe.recv() == _READY:
                return self._pipe
        raise UserError(
            f"a process that decodes did not start within {_START_SECONDS:g} s (out of memory, or a script of "
            "your own that calls prep outside of `if __name__ == '__main__':`)"
        )

    def _kill(self) -> int | None:
        """Ends the process and returns its exit code; negative is the number of a signal."""
        if self._process is None or self._pipe is None:
            return None
        self._pipe.close()
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self._process = self._pipe = None
        return code


_SHARED: dict[Hashable, Watchdog[..., Any]] = {}


def shared(
    function: Callable[P, R], *, limit_seconds: float, prepare: Callable[[], object] | None = None
) -> Watchdog[P, R]:
    """This process's watchdog of a function, kept from one batch to the next: a new one is slow to start.

    It ends with this process, or by `close_shared`. For one thread; found again by equal arguments.
    """
    fresh = Watchdog(function, limit_seconds=limit_seconds, prepare=prepare)
    return cast(Watchdog[P, R], _SHARED.setdefault((function, limit_seconds, prepare), fresh))


def close_shared() -> None:
    """Ends this process's shared watchdogs."""
    while _SHARED:
        _SHARED.popitem()[1].close()


_READY = "ready"
_START_SECONDS = 120.0


def _serve(
    function: Callable[..., Any], prepare: Callable[[], object] | None, pipe: Connection
) -> None:
    """The process: answers calls until the pipe ends."""
    prepare_worker()
    if prepare is not None:
        with contextlib.suppress(UserError):  # the first call raises it again, and is answered
            prepare()
    pipe.send(_READY)
    while True:
        try:
            args, kwargs = pipe.recv()
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = (None, function(*args, **kwargs))
        except (ItemProblem, UserError) as error:
            answer = (error, None)
        except Exception:
            answer = (RuntimeError(f"a watched call failed:\n{traceback.format_exc()}"), None)
        pipe.send(answer)
