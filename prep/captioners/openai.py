"""Captioner for servers with OpenAI's chat completions API (vLLM, SGLang, TGI, `transformers serve`)."""

import base64
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from threading import Event
from typing import Any

import cv2
import httpx2
import numpy as np

from prep.captioners.captioner import Answer, CaptionError, Payload, Request, Usage
from prep.captioners.completions import read_completion, refuse_error
from prep.captioners.http import FailedAttempt, hidden, post_json, server_url
from prep.captioners.in_flight import as_they_finish
from prep.captioners.inputs import decode_frames
from toolkit.errors import UserError

FIRST_PAUSE_SECONDS = 1.0  # doubled before each further attempt
LONGEST_PAUSE_SECONDS = 60.0  # maximum without a Retry-After header
LONGEST_RETRY_AFTER_SECONDS = 300.0  # maximum with a Retry-After header
SECRET_CHARACTERS = 8  # a shorter key is a word such as EMPTY, which a caption may contain

_TOO_BUSY = (408, 425, 429)  # another attempt may succeed, as with 5xx
# A wrong URL, key or model, which affects every request. Redirects count too.
_WRONG_ADDRESS = (401, 403, 404, 405)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class ServerError(Exception):
    """A request received no caption; the message names the URL and the attempts.

    Args:
        message: the message.
        answered: whether a model answered, which means that the server works.
    """

    def __init__(self, message: str, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class OpenAICaptioner:
    """A model behind URL/chat/completions; a `prep.captioners.Captioner`.

    A video is sent as its frames, in order, and the prompt states their times. The key is read from the environment
    for each request; it is neither stored nor written.

    Args:
        model: name of the model on the server.
        url: URL of the server up to the version, such as http://localhost:8000/v1.
        revision: revision of the server's weights, if known; it is recorded but not checked.
        key_variable: environment variable that holds the key; no key is sent if it is not set.
        concurrency: number of requests in flight.
        timeout_seconds: time limit for the complete answer to a request.
        attempts: maximum number of attempts per request.
        max_new_tokens: maximum number of tokens per caption.
        temperature: 0 is greedy decoding.
        repetition_penalty: sent only if it is not 1, because not every server supports it.
        pause: waits for a number of seconds, or until the event is set.
        tell: receives a message about a long pause.

    Raises:
        UserError: if the URL is invalid.
    """

    takes_video = True

    def __init__(
        self,
        model: str,
        *,
        url: str,
        revision: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        attempts: int = 5,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        repetition_penalty: float = 1.0,
        pause: Callable[[Event, float], object] = Event.wait,
        tell: Callable[[str], object] = _tell,
    ) -> None:
        self._url = _endpoint(server_url(url))
        self.endpoint = str(self._url.copy_with(query=None))  # a query may contain a secret
        self.model = model
        self.revision = revision or "unknown"
        self.key_variable = key_variable
        self.concurrency = concurrency
        self.timeout_seconds = timeout_seconds
        self.attempts = attempts
        self.usage = Usage()
        self._pause = pause
        self._tell = tell
        self._asked: dict[str, int | float] = {
            "max_tokens": max_new_tokens,
            "temperature": float(temperature),
        }
        if repetition_penalty != 1.0:
            self._asked["repetition_penalty"] = float(repetition_penalty)
        self.settings: dict[str, str | int | float | bool] = {"captioner": "openai", **self._asked}

    def check(self) -> None:
        """Sends one request for one token about a grey square.

        Raises:
            UserError: if the server does not answer, with the reason, the URL and the model.
        """
        square = cv2.imencode(".jpg", np.full((64, 64, 3), 127, dtype=np.uint8))[1].tobytes()
        question = self._body(Request(Payload([square]), "What is it?")) | {"max_tokens": 1}
        # In a thread, like all requests: a notebook has its own event loop, and Ctrl-C must work.
        with closing(as_they_finish(self._post, [question], at_once=1)) as calls:
            for _, call in calls:
                error = call.exception()
                if isinstance(error, FailedAttempt):
                    raise self._unavailable(error) from None
                if error is not None:
                    raise error
                try:
                    refuse_error(call.result())
                except FailedAttempt as failure:
                    raise self._unavailable(failure) from None

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        """Yields each caption when its answer arrives; see `Captioner.captions`.

        Prefetches at most twice `concurrency` requests ahead of the yielded captions. If the generator is closed
        early, it waits for the answers to requests in flight and sends no further requests.

        Raises:
            CaptionError: with the requests that failed while the server answers others.
            UserError: if the server answers no request, or refuses the key, the model or the URL.
        """
        errors: dict[int, BaseException] = {}
        with closing(as_they_finish(self._caption, requests, at_once=self.concurrency)) as calls:
            for row, call in calls:
                error = call.exception()
                if error is not None:
                    errors[row] = error
                    continue
                self.usage.captions += 1
                yield {row: call.result()}
        if errors:
            self._raise_worst(errors)

    def _raise_worst(self, errors: dict[int, BaseException]) -> None:
        """Raises the error that affects all requests, or else an error with every failed request."""
        for error in errors.values():
            if isinstance(error, UserError) or not isinstance(error, (ServerError, ValueError)):
                raise error
        if not any(
            isinstance(error, ValueError) or getattr(error, "answered", False)
            for error in errors.values()
        ):
            self.check()  # raises if the server has failed rather than the requests
        row, *others = sorted(errors)
        reasons = {other: str(errors[other]) for other in others}
        raise CaptionError([row], str(errors[row]), reasons) from errors[row]

    def _caption(self, request: Request, nobody_waits: Event) -> Answer:
        """Requests one caption until it arrives, the attempts are used up, or the request is cancelled.

        Raises:
            ValueError: if a frame cannot be decoded; it is not sent to the server.
            ServerError: if no caption arrived.
            UserError: if no request can succeed.
        """
        decode_frames(request.payload)
        body = self._body(request)
        attempt = 1
        while not nobody_waits.is_set():
            try:
                return self._without_key(read_completion(self._post(body, nobody_waits)))
            except FailedAttempt as failure:
                if _wrong_address(failure):
                    raise self._unavailable(failure) from None
                if attempt >= self.attempts or not _worth_another(failure):
                    message = f"{self.endpoint}: {failure.reason}, at attempt {attempt} of {self.attempts}"
                    raise ServerError(hidden(message, self._key()), failure.fixed) from None
                self._wait(failure, attempt, nobody_waits)
            attempt += 1
        raise ServerError(f"{self.endpoint}: the request was cancelled")

    def _wait(self, failure: FailedAttempt, attempt: int, nobody_waits: Event) -> None:
        """Pauses before the next attempt for as long as the server requests, up to a limit."""
        requested = failure.wait_seconds
        seconds = max(min(requested, LONGEST_RETRY_AFTER_SECONDS), _pause_seconds(attempt))
        if requested > LONGEST_PAUSE_SECONDS:
            limited = " only" if requested > seconds else ""
            self._tell(
                f"{self.endpoint} requests a pause of {requested:,.0f} s; waiting{limited} {seconds:,.0f} s, "
                f"then attempt {attempt + 1} of {self.attempts} (Ctrl-C keeps the captions so far)"
            )
        self._pause(nobody_waits, seconds)

    def _post(self, body: dict[str, Any], nobody_waits: Event) -> dict[str, Any]:
        return post_json(
            self._url,
            body,
            key=self._key(),
            timeout_seconds=self.timeout_seconds,
            nobody_waits=nobody_waits,
        )

    def _without_key(self, answer: Answer) -> Answer:
        """Replaces the key by stars in an answer that contains it (a proxy's error page, an echo)."""
        key = self._key()
        if key is None or len(key) < SECRET_CHARACTERS:
            return answer
        return Answer(hidden(answer, key), answer.ended)

    def _key(self) -> str | None:
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(
                f"the environment variable {self.key_variable} contains characters that are not allowed in a key; "
                "set it again"
            )
        return key or None

    def _body(self, request: Request) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(frame)}}
            for frame in request.payload.frames
        ]
        text = request.prompt
        if request.payload.is_video:
            text = f"{_introduction(request.payload)}\n{text}"
        content.append({"type": "text", "text": text})
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            **self._asked,
        }

    def _unavailable(self, failure: FailedAttempt) -> UserError:
        key = (
            "with the key"
            if os.environ.get(self.key_variable)
            else "without a key, because there is none"
        )
        return UserError(
            f"{self.endpoint} returned no captions: {hidden(failure.reason, self._key())}. The request was for model "
            f"{self.model!r}, {key} in the environment variable {self.key_variable}. Finished captions are kept: start "
            "the server, or correct its URL, model or key, and run the command again"
        )


def _endpoint(url: httpx2.URL) -> httpx2.URL:
    """The URL of the completions for the URL of the API version or of the completions; keeps a query."""
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.copy_with(path=path + "/chat/completions", fragment=None)


def _wrong_address(failure: FailedAttempt) -> bool:
    status = failure.status or 0
    return status in _WRONG_ADDRESS or 300 <= status < 400


def _worth_another(failure: FailedAttempt) -> bool:
    status = failure.status
    if failure.fixed:
        return False
    return status is None or status in _TOO_BUSY or status >= 500


def _pause_seconds(attempt: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)


def _introduction(payload: Payload) -> str:
    """Explains the images of a video to a model that receives single images."""
    count = len(payload.frames)
    if payload.pts_seconds is None:
        return f"These {count} images are frames of one video, in order."
    times = ", ".join(f"{seconds:.1f}" for seconds in payload.pts_seconds)
    return f"These {count} images are frames of one video, in order, at {times} seconds."


def _data_url(frame: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(frame).decode("ascii")
