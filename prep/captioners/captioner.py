"""The protocol of captioners: requests in, captions out."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, Self

Ended = Literal["whole", "cut", "refused", "reasoning"]


class Answer(str):
    """The text of an answer and how it ended; a captioner that does not know the ending yields a plain `str`.

    Args:
        text: text of the model, unprocessed.
        ended: `whole`; `cut` by the token limit; `refused` by the model or a filter before it; `reasoning` if the
            answer contains only reasoning and no caption.
    """

    ended: Ended

    def __new__(cls, text: str, ended: Ended = "whole") -> Self:
        """A string that also knows how it ended."""
        answer = super().__new__(cls, text)
        answer.ended = ended
        return answer


def ended(answer: str) -> Ended:
    """How an answer ended, if its captioner knows; otherwise `whole`."""
    return answer.ended if isinstance(answer, Answer) else "whole"


class Payload(NamedTuple):
    """The input of a model: one image, or one video as some of its frames.

    Args:
        frames: JPEGs in display order; an image is one frame.
        pts_seconds: time of each frame, from the clip's first frame; None for an image, and for released frames
            without times.
        is_video: whether the frames are from a video, even if there is only one.
    """

    frames: Sequence[bytes]
    pts_seconds: Sequence[float] | None = None
    is_video: bool = False

    def digest(self) -> str:
        """SHA-256 of the whole input, hexadecimal: equal payloads have equal captions."""
        times = None if self.pts_seconds is None else [float(t) for t in self.pts_seconds]
        digest = hashlib.sha256(repr((self.is_video, times)).encode())
        for frame in self.frames:
            digest.update(hashlib.sha256(frame).digest())
        return digest.hexdigest()


class Request(NamedTuple):
    """A request for one caption.

    Args:
        payload: image or video.
        prompt: text of the prompt with filled slots (`prep.captioners.prompts`).
    """

    payload: Payload
    prompt: str


class CaptionError(Exception):
    """Some requests of a call failed.

    Requests that are neither in `indices` nor in `others` and were not yielded before were not tried; send them again.

    Args:
        indices: indices in the call of requests that failed together. A single request is at fault itself; of
            several, any may be at fault, so halve them and try again.
        reason: reason of the failure.
        others: reasons of further requests that failed separately in the same call.
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
    """Work of a captioner since its creation; for a server only `captions` is known and the rest stays 0.

    Args:
        captions: number of captions.
        tokens: number of generated tokens.
        busy_seconds: time in which the model generated.
        idle_seconds: time in which the model waited for pixels and prompts, without the time in which the caller
            requested no caption.
    """

    captions: int = 0
    tokens: int = 0
    busy_seconds: float = field(default=0.0)
    idle_seconds: float = field(default=0.0)

    @property
    def idle_share(self) -> float:
        """Share of the time in which the model waited, in [0, 1]."""
        total = self.busy_seconds + self.idle_seconds
        return self.idle_seconds / total if total else 0.0


class Captioner(Protocol):
    """A model that captions images or videos.

    Creating a captioner is cheap and sets all properties, without loading weights or contacting a server. So every
    process can describe a captioner.
    """

    @property
    def model(self) -> str:
        """The name of the model, as configured."""

    @property
    def revision(self) -> str:
        """The revision of the weights: a hub commit, a local folder's fingerprint, or `unknown` for a server."""

    @property
    def takes_video(self) -> bool:
        """Whether the model accepts payloads with `is_video`."""

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """All other settings that captions depend on, as JSON values.

        A cached caption is reused if payload, prompt, `model`, `revision` and these settings are equal.
        Settings that only affect speed (batches, concurrency, devices) are excluded.
        """

    @property
    def usage(self) -> Usage:
        """Work done so far."""

    def check(self) -> None:
        """Checks that the model is available (weights can be loaded, the server answers); call it first.

        Raises:
            UserError: if it is not, with what was tried.
        """

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        """Yields captions as they are generated, in any order, before post-processing (`prep.captioners.postprocess`).

        An `Answer` also states how it ended.

        The generator prefetches (the next batch's pixels, the next requests to a server), so a call should have
        several batches. After `close`, nothing keeps running.

        Yields:
            Captions by the index of their request; captions of one batch together, each index once.

        Raises:
            CaptionError: if requests failed, after all other requests in progress; try the rest in another call.
            UserError: if no request can succeed (missing weights, or a server that does not answer).
        """
