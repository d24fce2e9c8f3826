"""Sends one JSON request to a server with httpx, bounded in time and size; the key is sent to no other host.

Every failure is a `FailedAttempt` with a message of one line. Answers are untrusted: they are read up to a size limit,
redirects are not followed, and error texts are sanitised before they are shown.
"""

import asyncio
import json
import math
import os
import re
import ssl
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Event
from typing import Any

import httpx2

from toolkit.errors import UserError

MAX_ANSWER_BYTES = 2**20  # captions have some kilobytes
_MAX_ERROR_BYTES = 2**16  # of an error answer, whose beginning is shown
_SHOWN_CHARACTERS = 300  # of an error message
_LOOK_SECONDS = 0.1  # interval at which `nobody_waits` is checked
_ACCEPTED = {"Content-Type": "application/json", "Accept": "application/json"}
_COMPRESSED = (
    "gzip",
    "x-gzip",
    "deflate",
)  # supported by zlib; never requested, but sent by some proxies


class FailedAttempt(Exception):
    """One attempt of a request failed.

    Args:
        reason: the reason, on one line.
        status: HTTP status; None if no complete answer arrived.
        wait_seconds: pause that the server requests; 0 if it requests none.
        fixed: whether another attempt of the same request would fail in the same way.
    """

    def __init__(
        self,
        reason: str,
        status: int | None = None,
        wait_seconds: float = 0.0,
        *,
        fixed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.wait_seconds = wait_seconds
        self.fixed = fixed


@dataclass
class _Received:
    """The part of an answer that has arrived; the status stays known if the rest never arrives."""

    status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytearray = field(default_factory=bytearray)


def server_url(url: str) -> httpx2.URL:
    """Parses the URL of a server.

    Raises:
        UserError: if the URL is invalid, or contains a user or password.
    """
    if re.match(r"[^/?#]*//[^/?#]*@", str(url)):
        raise UserError(
            "the url contains a user or password; set the key in the environment instead"
        )
    try:
        parts, why = httpx2.URL(url), ""
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        parts, why = httpx2.URL(), f" ({printable(str(error))})"
    usable = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.:-]+", parts.host)
    if not usable or parts.port not in (None, *range(1, 65536)):
        raise UserError(
            f"url {printable(url)!r} is invalid{why}; give a URL such as http://localhost:8000/v1, with a port from "
            "1 to 65535"
        )
    return parts


def post_json(
    url: httpx2.URL,
    body: dict[str, Any],
    *,
    key: str | None,
    timeout_seconds: float,
    nobody_waits: Event,
) -> dict[str, Any]:
    """Sends a request and returns the JSON object of an answer with status 200.

    Call this function in a separate thread, because it runs an event loop.

    Args:
        url: http or https URL; httpx reads proxies from the environment.
        body: sent as JSON.
        key: sent as a bearer token to this host only; messages never contain it, even if the answer does.
        timeout_seconds: time limit for the complete answer.
        nobody_waits: event that cancels the request.

    Raises:
        FailedAttempt: if the answer is anything else, too large or too late.
        UserError: if the environment's proxy or certificates are unusable.
    """
    sent = json.dumps(body).encode()
    headers = {**_ACCEPTED, "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    received = _Received()
    try:
        asyncio.run(_within(timeout_seconds, nobody_waits, _exchange(url, sent, headers, received)))
    except UserError:  # a subclass of ValueError
        raise
    except FailedAttempt:
        if received.status in (None, 200):
            raise
    except TimeoutError:
        if received.status in (None, 200):
            missing = "answer" if received.status is None else "complete answer"
            raise FailedAttempt(f"no {missing} within {timeout_seconds:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
        if received.status in (None, 200):
            raise FailedAttempt(hidden(_named(error), key)) from None
    if received.status != 200:
        raise _refusal(url, received, key)
    return _parse(received)


async def _within(seconds: float, nobody_waits: Event, exchange: Any) -> None:
    """Runs an exchange until it ends, its time limit passes, or it is cancelled.

    Raises:
        TimeoutError: if the time limit passes.
        FailedAttempt: if the exchange is cancelled.
    """
    task = asyncio.ensure_future(exchange)
    ends = asyncio.get_running_loop().time() + seconds
    try:
        while not task.done():
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                raise TimeoutError
            if nobody_waits.is_set():
                raise FailedAttempt("the request was cancelled")
            await asyncio.wait([task], timeout=min(left, _LOOK_SECONDS))
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # raised above
            await task


async def _exchange(
    url: httpx2.URL, sent: bytes, headers: dict[str, str], received: _Received
) -> None:
    """Sends a request and stores the answer in `received`."""
    async with (
        _client() as client,
        client.stream("POST", url, content=sent, headers=headers) as response,
    ):
        received.status, received.headers = response.status_code, response.headers
        most = MAX_ANSWER_BYTES if response.status_code == 200 else _MAX_ERROR_BYTES
        async for chunk in response.aiter_raw():
            received.body += chunk
            if len(received.body) > most:
                raise FailedAttempt(
                    f"an answer of more than {most:,} bytes, too large for a caption"
                )


def _client() -> httpx2.AsyncClient:
    """A client for one request. The caller bounds its time, because httpx only bounds single reads.

    Raises:
        UserError: if the environment's proxy or certificates are unusable.
    """
    try:
        return httpx2.AsyncClient(verify=_certificates(), timeout=None, follow_redirects=False)
    except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
        raise UserError(
            f"no connection is possible: {_named(error)}; correct the environment variables for proxies "
            "(HTTPS_PROXY, ...) and certificates (SSL_CERT_FILE)"
        ) from None


@cache
def _certificates() -> ssl.SSLContext:
    """The trusted certificates; cached, because loading them takes longer than a request on loopback."""
    return httpx2.create_ssl_context()


def _refusal(url: httpx2.URL, received: _Received, key: str | None) -> FailedAttempt:
    """The error for a status other than 200."""
    status = received.status or 0
    if 300 <= status < 400:
        text = _redirected(url, received.headers.get("Location", ""))
    else:
        text = bytes(received.body[:_MAX_ERROR_BYTES]).decode("utf-8", errors="replace")
    message = printable(hidden(text, key))[:_SHOWN_CHARACTERS]
    wait_seconds = retry_after(received.headers.get("Retry-After", ""))
    return FailedAttempt(f"status {status}, {message or 'without a message'}", status, wait_seconds)


def _redirected(url: httpx2.URL, location: str) -> str:
    """Describes the target of a redirect, which is not followed."""
    try:
        to = url.join(location).copy_with(userinfo=b"", query=None, fragment=None)
    except (httpx2.InvalidURL, ValueError):
        return "a redirect to nowhere"
    base = str(to).removesuffix("/").removesuffix("/chat/completions")
    if to.host != url.host:
        return f"a redirect to another host, {to.host}, which is not followed; if you trust this host, set url {base}"
    return f"a redirect, which is not followed; set url {base}"


def _parse(received: _Received) -> dict[str, Any]:
    """The JSON object of a complete answer."""
    encoding = received.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        text = _uncompressed(bytes(received.body), encoding).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FailedAttempt("an answer that is not UTF-8") from None
    try:
        answer = json.loads(text)
    except RecursionError:
        raise FailedAttempt("an answer whose JSON is nested too deeply") from None
    except ValueError as error:
        raise FailedAttempt(f"an answer whose JSON is broken ({error})") from None
    if not isinstance(answer, dict):
        raise FailedAttempt("an answer that is not a JSON object")
    return answer


def _uncompressed(body: bytes, encoding: str) -> bytes:
    """Decompresses a body, up to the size limit; some proxies compress without a request to do so."""
    if encoding in ("", "identity"):
        return body
    if encoding not in _COMPRESSED:
        raise FailedAttempt(f"an answer compressed as {printable(encoding)!r}, not requested")
    try:
        plain = zlib.decompressobj(wbits=47).decompress(body, MAX_ANSWER_BYTES + 1)
    except zlib.error as error:
        raise FailedAttempt(f"an answer whose compression is broken ({error})") from None
    if len(plain) > MAX_ANSWER_BYTES:
        raise FailedAttempt(
            f"an answer of more than {MAX_ANSWER_BYTES:,} bytes, too large for a caption"
        )
    return plain


def retry_after(value: str) -> float:
    """Seconds that a `Retry-After` header requests, as a number or a date; 0 if it is neither.

    >>> retry_after("86400"), retry_after("soon"), retry_after("Fri, 01 Jan 1990 00:00:00 GMT")
    (86400.0, 0.0, 0.0)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        if date.tzinfo is None:  # -0000, which means UTC
            date = date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return 0.0 if math.isnan(seconds) else max(seconds, 0.0)


def _named(error: BaseException) -> str:
    """An exception on one line, with the system's message if the client wraps it in another."""
    inner: BaseException | None = error
    while inner is not None and not (isinstance(inner, OSError) and inner.errno):
        several = getattr(
            inner, "exceptions", None
        )  # of an ExceptionGroup: one for each address tried
        inner = several[0] if several else inner.__cause__ or inner.__context__
    if type(inner) is OSError or isinstance(inner, ConnectionError):
        message = os.strerror(inner.errno or 0)  # asyncio reports "Connect call failed" for all
    else:
        message = printable(str(inner or error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def hidden(text: str, key: str | None) -> str:
    """A text with the key replaced by stars."""
    return text.replace(key, "***") if key else text


def printable(text: str) -> str:
    """A text on one line without control characters, which could move a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
