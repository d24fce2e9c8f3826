"""One JSON request to a server, with the standard library: no redirects, so a key goes nowhere else."""

import json
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from toolkit.errors import UserError

_TOLD_CHARACTERS = 300  # of what a server says about an error


class FailedAttempt(Exception):
    """A request was made once and did not get what it was for.

    Args:
        reason: what came instead.
        status: of HTTP; None if no whole answer came.
        wait_seconds: how long the server asks to be left alone; 0 if it does not.
    """

    def __init__(self, reason: str, status: int | None = None, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.wait_seconds = wait_seconds


def split_url(url: str) -> SplitResult:
    """The parts of a server's URL.

    Raises:
        UserError: if it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"url {url!r} is none; give one such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise UserError("the url holds a user or password; give the key in the environment instead")
    return parts


def post_json(
    url: str, body: dict[str, Any], *, key: str | None, timeout_seconds: float
) -> dict[str, Any]:
    """The JSON object that a server answers with status 200.

    Args:
        url: of http or https.
        body: sent as JSON.
        key: sent as a bearer token; it stands in no message, even if the server's answer holds it.
        timeout_seconds: how long the server may be silent.

    Raises:
        FailedAttempt: if anything else came, or nothing.
    """
    try:
        status, wait_seconds, told = _exchange(url, body, key, timeout_seconds)
    except TimeoutError:
        raise FailedAttempt(f"no answer within {timeout_seconds:g} s") from None
    except (OSError, HTTPException) as error:
        raise FailedAttempt(f"{type(error).__name__}: {error}") from None
    if status != 200:
        told = told.replace(key, "***") if key else told
        said = " ".join(told.split())[:_TOLD_CHARACTERS]
        raise FailedAttempt(f"status {status}, {said or 'nothing said'}", status, wait_seconds)
    try:
        answer = json.loads(told)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FailedAttempt(f"an answer whose JSON is broken ({error})") from None
    if not isinstance(answer, dict):
        raise FailedAttempt("an answer that is no JSON object")
    return answer


def _exchange(
    url: str, body: dict[str, Any], key: str | None, timeout_seconds: float
) -> tuple[int, float, str]:
    """Status, seconds that the server asks to wait, and text of its answer."""
    parts = split_url(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(str(parts.hostname), parts.port, timeout=timeout_seconds)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", errors="replace")
        return response.status, _wait_seconds(response), text
    finally:
        connection.close()


def _wait_seconds(response: HTTPResponse) -> float:
    """Retry-After as a number of seconds; its other form, a date, is not one that servers of models send."""
    said = response.headers.get("Retry-After", "").strip()
    return float(said) if said.isdecimal() else 0.0
