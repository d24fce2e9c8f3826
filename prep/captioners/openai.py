"""Captions by a server that speaks OpenAI's chat completions (vLLM, SGLang, TGI, `transformers serve`)."""

import base64
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from threading import Event
from typing import Any

import cv2
import numpy as np

from prep.captioners.captioner import CaptionError, Payload, Request, Usage
from prep.captioners.http import FailedAttempt, post_json, split_url
from prep.captioners.in_flight import as_they_finish
from prep.captioners.inputs import decode_frames
from toolkit.errors import UserError

FIRST_PAUSE_SECONDS = 1.0  # doubled before each further attempt,
LONGEST_PAUSE_SECONDS = 60.0  # up to this; a server that asks for more by Retry-After gets it

_TOO_BUSY = (408, 425, 429)  # and 5xx: worth another attempt
_WRONG_ADDRESS = (
    301,
    302,
    307,
    308,
    401,
    403,
    404,
    405,
)  # URL, key or model: for every request alike


class ServerError(Exception):
    """A request that got no caption; the message names the URL and the attempts."""


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
        timeout_seconds: how long the server may be silent until a request is given up.
        attempts: how often a request is made until it has failed, the first one counted.
        max_new_tokens: a caption ends there.
        temperature: 0 takes the likeliest token each time.
        repetition_penalty: only sent where it is not 1, because not every server knows it.
        pause: waits for so many seconds, or until the event is set.

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
    ) -> None:
        split_url(url)
        self.endpoint = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.revision = revision or "unknown"
        self.key_variable = key_variable
        self.concurrency = concurrency
        self.timeout_seconds = timeout_seconds
        self.attempts = attempts
        self.usage = Usage()
        self._pause = pause
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
        try:
            self._post(question)
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
        """What makes all others pointless, else the first request that is at fault."""
        for error in errors.values():
            if isinstance(error, UserError) or not isinstance(error, (ServerError, ValueError)):
                raise error
        row = min(errors)
        if isinstance(errors[row], ServerError):
            self.check()  # whether it is the request or the server that is at fault
        raise CaptionError([row], str(errors[row])) from errors[row]

    def _caption(self, request: Request, nobody_waits: Event) -> str:
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
                return _content(self._post(body))
            except FailedAttempt as failure:
                if failure.status in _WRONG_ADDRESS:
                    raise self._gone(failure) from None
                if attempt >= self.attempts or not _worth_another(failure):
                    told = f"{self.endpoint}: {failure.reason}, at attempt {attempt} of {self.attempts}"
                    raise ServerError(told) from None
                self._pause(nobody_waits, max(failure.wait_seconds, _pause_seconds(attempt)))
            attempt += 1
        raise ServerError(f"{self.endpoint}: nobody waits for the answer any more")

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        return post_json(self.endpoint, body, key=self._key(), timeout_seconds=self.timeout_seconds)

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
            f"{self.endpoint} gives no captions: {failure.reason}. Model {self.model!r} was asked for, {key} "
            f"in the environment variable {self.key_variable}. Nothing is lost: start the server, or correct "
            "its URL, model or key, and run again"
        )


def _worth_another(failure: FailedAttempt) -> bool:
    status = failure.status
    return status is None or status in _TOO_BUSY or status >= 500


def _pause_seconds(attempt: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)


def _content(answer: dict[str, Any]) -> str:
    """The text of an answer's first choice; it may be empty."""
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise FailedAttempt("an answer without a choice that has a message") from None
    if not isinstance(content, str):
        raise FailedAttempt(f"an answer whose content is {type(content).__name__}, no text")
    return content


def _introduction(payload: Payload) -> str:
    """What the images are, for a model that sees but images."""
    count = len(payload.frames)
    if payload.pts_seconds is None:
        return f"These {count} images are frames of one video, in order."
    times = ", ".join(f"{seconds:.1f}" for seconds in payload.pts_seconds)
    return f"These {count} images are frames of one video, in order, at {times} seconds."


def _data_url(frame: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(frame).decode("ascii")
