"""Gets captions for requests: from the cache where they are known, else from the model, whatever it stumbles over."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from prep.captioners.cache import Cache, key_of
from prep.captioners.captioner import Captioner, CaptionError, Request
from toolkit.errors import UserError

GIVE_UP_AFTER = 16  # failures in a row: then it is the model's fault, not the items'
LOOKS = 3  # first answers that must all be hopeless until a run ends before it begins


class Failure(NamedTuple):
    """Why a request, asked by itself, got no caption."""

    reason: str


class Asker:
    """A captioner with a cache before it.

    Args:
        captioner: the model; while the cache has everything, it is not even checked.
        cache: of what was said before; captions are kept there as soon as they are made.
        worth_keeping: whether a caption is; others are asked for again the next time.
        hopeless: why an answer says that the settings are wrong, not the item; None if it does not.

    Attributes:
        known: captions that the cache had, equal requests counted once.
        asked: requests that the model got.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        cache: Cache | None = None,
        worth_keeping: Callable[[str], bool] = bool,
        hopeless: Callable[[str], str | None] = lambda said: None,
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
        """Since the model was ready for its first request; 0 before."""
        return 0.0 if self._ready_at is None else time.perf_counter() - self._ready_at

    def ask(self, requests: Sequence[Request]) -> list[str | Failure]:
        """A caption for each request, or why there is none; equal requests are asked once.

        Raises:
            UserError: if no captions can be had, or `GIVE_UP_AFTER` requests failed one after the other.
        """
        keys = [key_of(request, self.captioner) for request in requests]
        by_key = dict(zip(keys, requests, strict=True))
        answers: dict[str, str | Failure] = {}
        if self.cache:
            found = self.cache.find(by_key)  # perhaps kept by a version that kept more
            answers |= {key: said for key, said in found.items() if self._worth_keeping(said)}
        self.known += len(answers)
        unknown = {key: request for key, request in by_key.items() if key not in answers}
        for key, reason in self._make(unknown, answers):
            answers[key] = Failure(reason)
            self._count_failure(reason)
        return [answers[key] for key in keys]

    def _make(
        self, requests: dict[str, Request], answers: dict[str, str | Failure]
    ) -> Iterator[tuple[str, str]]:
        """Puts captions into `answers` as they are made, and tells of requests that fail by themselves."""
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
        """Whether one of the first answers is hopeless, so that the next one is to be looked at alone too.

        Raises:
            UserError: if it is the last of `LOOKS`: then the others would be hopeless too.
        """
        why = self._hopeless(answer) if isinstance(answer, str) else None
        if why and looks == LOOKS:
            raise UserError(
                f"model {self.captioner.model!r} was asked about {LOOKS} items before the others, and of each: "
                f"{why}. Captions made so far are kept"
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
                        self._keep({group[place]: text for place, text in made.items()}, answers)
            except CaptionError as error:
                failed = [group[place] for place in error.indices]
                alone = {group[place]: reason for place, reason in error.others.items()}
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
                f"model {self.captioner.model!r} failed on {GIVE_UP_AFTER} items one after the other, the last "
                f"time with: {reason}. Captions made so far are kept: mend it and run again"
            )
