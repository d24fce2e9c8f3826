"""Captions by a server that speaks OpenAI's chat completions (vLLM, SGLang, TGI, `transformers serve`)."""

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

FIRST_PAUSE_SECONDS = 1.0  # doubled before each further attempt,
LONGEST_PAUSE_SECONDS = 60.0  # up to this; a server that asks for more by Retry-After gets it,
LONGEST_RETRY_AFTER_SECONDS = 300.0  # up to this
SECRET_CHARACTERS = 8  # a shorter key is a word such as EMPTY, which a caption may hold

_TOO_BUSY = (408, 425, 429)  # and 5xx: worth another attempt
# URL, key or model, for every request alike; and every redirect
_WRONG_ADDRESS = (401, 403, 404, 405)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class ServerError(Exception):
    """A request that got no caption; the message names the URL and the attempts.

    Args:
        told: the message.
        answered: whether a model answered, so that the server is well.
    """

    def __init__(self, told: str, answered: bool = False) -> None:
        super().__init__(told)
        self.answered = answered


class OpenAICaptioner:
    """A model behind URL/chat/completions; a `prep.captioners.Captioner`.

    A video is shown as its frames, in order, and their times are told in the prompt. The key is read from the
    environment at each request; it is kept and written nowhere.

    Args:
        model: its name, as the server calls it.
        url: up to the version, such as http://localhost:8000/v1.
        revision: what pins the server's weights, where somebody knows; recorded, the server is not asked.
        key_variable: environment variable that holds the key; where it is not set, none is sent.
        concurrency: requests in flight at a time.
        timeout_seconds: within which the whole answer must have come, until a request is given up.
        attempts: how often a request is made until it has failed, the first one counted.
        max_new_tokens: a caption ends there.
        temperature: 0 takes the likeliest token each time.
        repetition_penalty: only sent where it is not 1, because not every server knows it.
        pause: waits for so many seconds, or until the event is set.
        tell: gets a line about a long wait.

    Raises:
        UserError: if the URL is none.
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
        self.endpoint = str(self._url.copy_with(query=None))  # a query may hold a secret
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
        """Asks for one word about a grey square, once.

        Raises:
            UserError: if the server does not answer it: what came, the URL and what was asked.
        """
        square = cv2.imencode(".jpg", np.full((64, 64, 3), 127, dtype=np.uint8))[1].tobytes()
        question = self._body(Request(Payload([square]), "What is it?")) | {"max_tokens": 1}
        # In a thread, as all requests are: a notebook has an event loop, and Ctrl-C must get through.
        with closing(as_they_finish(self._post, [question], at_once=1)) as calls:
            for _, call in calls:
                error = call.exception()
                if isinstance(error, FailedAttempt):
                    raise self._gone(error) from None
                if error is not None:
                    raise error
                try:
                    refuse_error(call.result())
                except FailedAttempt as failure:
                    raise self._gone(failure) from None

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        """Each caption when its answer comes; see `Captioner.captions`.

        At most twice `concurrency` requests are taken ahead of the captions that were yielded. Ended early, it
        waits for the answers to requests that are in flight, and makes no other.

        Raises:
            CaptionError: naming a request that failed while the server answers others.
            UserError: if the server answers no other either, or refuses the key, the model or the URL.
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
        """What makes all others pointless, else every request that is at fault."""
        for error in errors.values():
            if isinstance(error, UserError) or not isinstance(error, (ServerError, ValueError)):
                raise error
        if not any(
            isinstance(error, ValueError) or getattr(error, "answered", False)
            for error in errors.values()
        ):
            self.check()  # whether it is the requests or the server that is at fault
        row, *others = sorted(errors)
        reasons = {other: str(errors[other]) for other in others}
        raise CaptionError([row], str(errors[row]), reasons) from errors[row]

    def _caption(self, request: Request, nobody_waits: Event) -> Answer:
        """One caption, asked for until it comes, the attempts are used up, or nobody waits for it any more.

        Raises:
            ValueError: if a frame cannot be decoded; the server never sees it.
            ServerError: if no caption came.
            UserError: if none can come for any request.
        """
        decode_frames(request.payload)
        body = self._body(request)
        attempt = 1
        while not nobody_waits.is_set():
            try:
                return self._without_key(read_completion(self._post(body, nobody_waits)))
            except FailedAttempt as failure:
                if _wrong_address(failure):
                    raise self._gone(failure) from None
                if attempt >= self.attempts or not _worth_another(failure):
                    told = f"{self.endpoint}: {failure.reason}, at attempt {attempt} of {self.attempts}"
                    raise ServerError(hidden(told, self._key()), failure.fixed) from None
                self._wait(failure, attempt, nobody_waits)
            attempt += 1
        raise ServerError(f"{self.endpoint}: nobody waits for the answer any more")

    def _wait(self, failure: FailedAttempt, attempt: int, nobody_waits: Event) -> None:
        """Leaves the server alone before the next attempt, for as long as it asks, up to a limit."""
        asked = failure.wait_seconds
        seconds = max(min(asked, LONGEST_RETRY_AFTER_SECONDS), _pause_seconds(attempt))
        if asked > LONGEST_PAUSE_SECONDS:
            most = " at most" if asked > seconds else ""
            self._tell(
                f"{self.endpoint} asks to be left alone for {asked:,.0f} s; waiting{most} {seconds:,.0f} s, "
                f"then attempt {attempt + 1} of {self.attempts} (Ctrl-C: what was captioned is kept)"
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
        """An answer that says the key (a proxy's error page, an echo) says stars instead."""
        key = self._key()
        if key is None or len(key) < SECRET_CHARACTERS:
            return answer
        return Answer(hidden(answer, key), answer.ended)

    def _key(self) -> str | None:
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(
                f"the environment variable {self.key_variable} holds characters that no key has; set it again"
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

    def _gone(self, failure: FailedAttempt) -> UserError:
        key = (
            "with the key"
            if os.environ.get(self.key_variable)
            else "without a key, for there is none"
        )
        return UserError(
            f"{self.endpoint} gives no captions: {hidden(failure.reason, self._key())}. Model {self.model!r} was asked for, {key} "
            f"in the environment variable {self.key_variable}. Nothing is lost: start the server, or correct "
            "its URL, model or key, and run again"
        )


def _endpoint(url: httpx2.URL) -> httpx2.URL:
    """Where completions are asked for, be the URL that of the version or the whole; a query stays."""
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
    """What the images are, for a model that sees but images."""
    count = len(payload.frames)
    if payload.pts_seconds is None:
        return f"These {count} images are frames of one video, in order."
    times = ", ".join(f"{seconds:.1f}" for seconds in payload.pts_seconds)
    return f"These {count} images are frames of one video, in order, at {times} seconds."


def _data_url(frame: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(frame).decode("ascii")
