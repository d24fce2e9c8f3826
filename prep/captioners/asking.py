"""Gets captions for requests from the cache or from the model, and isolates requests that fail."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from prep.captioners.cache import Cache, key_of
from prep.captioners.captioner import Captioner, CaptionError, Request
from toolkit.errors import UserError

GIVE_UP_AFTER = 16  # consecutive failures after which the model is at fault, not the items
LOOKS = 3  # number of first answers that must all be hopeless to end a run early


class Failure(NamedTuple):
    """The reason why a request, sent separately, received no caption."""

    reason: str


class Asker:
    """A captioner with a cache.

    Args:
        captioner: the model; it is not even checked as long as the cache has every caption.
        cache: cache of captions, which stores each caption as soon as it is generated.
        worth_keeping: whether to cache a caption; others are requested again the next time.
        hopeless: returns why an answer indicates wrong settings rather than a bad item, or None.

    Attributes:
        known: number of captions from the cache; equal requests count once.
        asked: number of requests to the model.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        cache: Cache | None = None,
        worth_keeping: Callable[[str], bool] = bool,
        hopeless: Callable[[str], str | None] = lambda caption: None,
    ) -> None:
        self.captioner = captioner
        self.cache = cache
        self.known = 0
        self.asked = 0
        self._worth_keeping = worth_keeping
        self._hopeless = hopeless
        self._ready_at: float | None = None
        self._failures_in_a_row = 0

    @property
    def seconds(self) -> float:
        """Time since the model was ready for its first request; 0 before."""
        return 0.0 if self._ready_at is None else time.perf_counter() - self._ready_at

    def ask(self, requests: Sequence[Request]) -> list[str | Failure]:
        """A caption for each request, or the failure; equal requests are sent once.

        Raises:
            UserError: if the model is not available, or `GIVE_UP_AFTER` requests failed in a row.
        """
        keys = [key_of(request, self.captioner) for request in requests]
        by_key = dict(zip(keys, requests, strict=True))
        answers: dict[str, str | Failure] = {}
        if self.cache:
            cached = self.cache.find(by_key)  # other versions may have cached more
            answers |= {
                key: caption for key, caption in cached.items() if self._worth_keeping(caption)
            }
        self.known += len(answers)
        unknown = {key: request for key, request in by_key.items() if key not in answers}
        for key, reason in self._make(unknown, answers):
            answers[key] = Failure(reason)
            self._count_failure(reason)
        return [answers[key] for key in keys]

    def _make(
        self, requests: dict[str, Request], answers: dict[str, str | Failure]
    ) -> Iterator[tuple[str, str]]:
        """Adds captions to `answers` as they are generated; yields key and reason of failed requests."""
        self.asked += len(requests)
        keys = list(requests)
        if requests and self._ready_at is None:
            self.captioner.check()
            self._ready_at = time.perf_counter()
            for looks in range(1, min(LOOKS, len(keys)) + 1):
                yield from self._make_in_groups(requests, keys[looks - 1 : looks], answers)
                if not self._look(answers.get(keys[looks - 1]), looks):
                    break
        rest = [key for key in keys if key not in answers]
        yield from self._make_in_groups(requests, rest, answers)

    def _look(self, answer: str | Failure | None, looks: int) -> bool:
        """Whether one of the first answers is hopeless, so that the next request must be sent alone too.

        Raises:
            UserError: if all `LOOKS` first answers are hopeless, because the others would be too.
        """
        why = self._hopeless(answer) if isinstance(answer, str) else None
        if why and looks == LOOKS:
            raise UserError(
                f"model {self.captioner.model!r} captioned none of the first {LOOKS} items: "
                f"{why}. Finished captions are kept"
            )
        return why is not None

    def _make_in_groups(
        self, requests: dict[str, Request], keys: list[str], answers: dict[str, str | Failure]
    ) -> Iterator[tuple[str, str]]:
        groups = deque([keys] if keys else [])
        while groups:
            group = groups.popleft()
            try:
                with closing(self.captioner.captions([requests[k] for k in group])) as coming:
                    for made in coming:
                        self._keep({group[index]: text for index, text in made.items()}, answers)
            except CaptionError as error:
                failed = [group[index] for index in error.indices]
                alone = {group[index]: reason for index, reason in error.others.items()}
                if len(failed) == 1:
                    alone[failed[0]] = error.reason
                else:
                    half = len(failed) // 2
                    groups.extendleft([failed[half:], failed[:half]])
                yield from alone.items()
                rest = [k for k in group if k not in answers and k not in failed and k not in alone]
                groups.extend([rest] if rest else [])

    def _keep(self, made: dict[str, str], answers: dict[str, str | Failure]) -> None:
        answers |= made
        self._failures_in_a_row = 0
        good = {key: text for key, text in made.items() if self._worth_keeping(text)}
        if self.cache and good:
            self.cache.keep(good, self.captioner)

    def _count_failure(self, reason: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= GIVE_UP_AFTER:
            raise UserError(
                f"model {self.captioner.model!r} failed on {GIVE_UP_AFTER} items in a row; the last error was: "
                f"{reason}. Finished captions are kept: fix the cause and run the command again"
            )
