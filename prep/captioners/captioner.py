"""What every captioner does: requests in, captions out."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, Self

Ended = Literal["whole", "cut", "refused", "reasoning"]


class Answer(str):
    """A model's words, and how they ended; a captioner that does not know yields a plain `str`.

    Args:
        text: as the model wrote it.
        ended: `whole`; `cut`, by the limit of tokens; `refused`, by the model or a filter before it;
            `reasoning`, so that no caption came.
    """

    ended: Ended

    def __new__(cls, text: str, ended: Ended = "whole") -> Self:
        """A string that also knows how it ended."""
        answer = super().__new__(cls, text)
        answer.ended = ended
        return answer


def ended(said: str) -> Ended:
    """How an answer ended, as far as its captioner knows."""
    return said.ended if isinstance(said, Answer) else "whole"


class Payload(NamedTuple):
    """What a model looks at: one image, or one video as some of its frames.

    Args:
        frames: JPEG, in the order in which they are shown; an image has one.
        pts_seconds: when each frame is on screen, from the clip's first; None for an image, and for frames
            whose times nobody knows (they were released without).
        is_video: whether the frames are those of a video, be it a single one.
    """

    frames: Sequence[bytes]
    pts_seconds: Sequence[float] | None = None
    is_video: bool = False

    def digest(self) -> str:
        """SHA-256 of all that a model is shown, hexadecimal: equal payloads have equal captions."""
        times = None if self.pts_seconds is None else [float(t) for t in self.pts_seconds]
        digest = hashlib.sha256(repr((self.is_video, times)).encode())
        for frame in self.frames:
            digest.update(hashlib.sha256(frame).digest())
        return digest.hexdigest()


class Request(NamedTuple):
    """One caption that is wanted.

    Args:
        payload: what to look at.
        prompt: what to say about it, its slots filled (`prep.captioners.prompts`).
    """

    payload: Payload
    prompt: str


class CaptionError(Exception):
    """Some requests of a call could not be captioned.

    What is neither in `indices` nor in `others` and was not yielded before was not tried: ask for it again.

    Args:
        indices: requests that failed together, counted within the call. Of one, it is at fault; of several,
            nobody knows which: halve them and ask again.
        reason: what went wrong.
        others: reasons of further requests that failed in the same call, each by itself.
    """

    def __init__(
        self, indices: Sequence[int], reason: str, others: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(f"request {', '.join(map(str, indices))}: {reason}")
        self.indices = tuple(indices)
        self.reason = reason
        self.others = dict(others or {})


@dataclass
class Usage:
    """What a captioner has done since it was made; of a server only `captions` is known, the rest stays 0.

    Args:
        captions: captions made.
        tokens: tokens generated.
        busy_seconds: time in which the model generated.
        idle_seconds: time in which the model waited for pixels and prompts; while nobody asked for the next
            caption it waited for none.
    """

    captions: int = 0
    tokens: int = 0
    busy_seconds: float = field(default=0.0)
    idle_seconds: float = field(default=0.0)

    @property
    def idle_share(self) -> float:
        """Part of the time in which the model waited, 0 to 1."""
        total = self.busy_seconds + self.idle_seconds
        return self.idle_seconds / total if total else 0.0


class Captioner(Protocol):
    """A model that says what it sees.

    Making one is cheap, and all but `check` and `captions` is known then: no weights are loaded and no server
    is asked, so any process may describe a captioner.
    """

    @property
    def model(self) -> str:
        """Its name, as it was asked for."""

    @property
    def revision(self) -> str:
        """What pins its weights: a hub commit, a local folder's fingerprint, or `unknown` (a server's)."""

    @property
    def takes_video(self) -> bool:
        """Whether it takes payloads with `is_video`; known before anything runs."""

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """Whatever else its captions depend on; JSON values, the same for the same captions.

        A cached caption may stand for a new one if payload, prompt, `model`, `revision` and this are equal.
        How fast it runs (batches, concurrency, devices) is not in here.
        """

    @property
    def usage(self) -> Usage:
        """What it has done so far."""

    def check(self) -> None:
        """Makes sure that captions can be had (weights are loaded, the server answers); call it first.

        Raises:
            UserError: if they cannot, naming what was tried.
        """

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        """Captions as they are made, in any order, as the model gave them (`prep.captioners.postprocess`).

        An `Answer` also says how it ended.

        It works ahead of whoever takes them (the next batch's pixels, the next requests to a server), so a
        call should have several batches. Ended early (`close`), it leaves nothing running.

        Yields:
            Captions by the index of their request, those that are made together at once; each index once.

        Raises:
            CaptionError: if requests failed, after all else that was begun; the rest is worth another call.
            UserError: if no request can succeed any more (the weights are missing, the server is gone).
        """
