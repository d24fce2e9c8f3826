"""One JSON request to a server, by httpx: bounded in time and size, and its key goes to no other host.

Every failure is a `FailedAttempt` with one line. What a server sends is data: it is read up to a limit, never
followed to another address, and what it says is made harmless before it is shown.
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

MAX_ANSWER_BYTES = 2**20  # a caption is some kilobytes
_MAX_ERROR_BYTES = 2**16  # of an answer that is none; only its beginning is shown
_TOLD_CHARACTERS = 300  # of what a server says about an error
_LOOK_SECONDS = 0.1  # between two looks whether anybody still waits
_ACCEPTED = {"Content-Type": "application/json", "Accept": "application/json"}
_COMPRESSED = (
    "gzip",
    "x-gzip",
    "deflate",
)  # what zlib reads; never asked for, sent by some proxies


class FailedAttempt(Exception):
    """A request was made once and did not get what it was for.

    Args:
        reason: what came instead, on one line.
        status: of HTTP; None if no whole answer came.
        wait_seconds: how long the server asks to be left alone; 0 if it does not.
        fixed: whether the same request would get the same once more.
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
    """What has come of an answer so far; a status stays known if the rest of the answer never comes."""

    status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytearray = field(default_factory=bytearray)


def server_url(url: str) -> httpx2.URL:
    """A server's URL, in parts.

    Raises:
        UserError: if it is none, or holds a user or password.
    """
    if re.match(r"[^/?#]*//[^/?#]*@", str(url)):
        raise UserError("the url holds a user or password; give the key in the environment instead")
    try:
        parts, why = httpx2.URL(url), ""
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        parts, why = httpx2.URL(), f" ({printable(str(error))})"
    usable = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.:-]+", parts.host)
    if not usable or parts.port not in (None, *range(1, 65536)):
        raise UserError(
            f"url {printable(url)!r} is none{why}; give one such as http://localhost:8000/v1, its port from 1 to "
            "65535"
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
    """The JSON object that a server answers with status 200.

    Call it in a thread of its own: it runs an event loop.

    Args:
        url: of http or https; proxies are taken from the environment, as httpx does.
        body: sent as JSON.
        key: sent as a bearer token to this host alone; it stands in no message, even if the answer holds it.
        timeout_seconds: within which the whole answer must have come.
        nobody_waits: once it is set, the request is given up.

    Raises:
        FailedAttempt: if anything else came, too much of it, or nothing in time.
        UserError: if the environment's proxy or certificates cannot be used.
    """
    sent = json.dumps(body).encode()
    headers = {**_ACCEPTED, "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    received = _Received()
    try:
        asyncio.run(_within(timeout_seconds, nobody_waits, _exchange(url, sent, headers, received)))
    except UserError:  # which is a ValueError too
        raise
    except FailedAttempt:
        if received.status in (None, 200):
            raise
    except TimeoutError:
        if received.status in (None, 200):
            came = "answer" if received.status is None else "whole answer"
            raise FailedAttempt(f"no {came} within {timeout_seconds:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
        if received.status in (None, 200):
            raise FailedAttempt(hidden(_named(error), key)) from None
    if received.status != 200:
        raise _refusal(url, received, key)
    return _parse(received)


async def _within(seconds: float, nobody_waits: Event, exchange: Any) -> None:
    """Runs an exchange until it ends, its time is over, or nobody waits for it any more.

    Raises:
        TimeoutError: if its time is over.
        FailedAttempt: if nobody waits.
    """
    task = asyncio.ensure_future(exchange)
    ends = asyncio.get_running_loop().time() + seconds
    try:
        while not task.done():
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                raise TimeoutError
            if nobody_waits.is_set():
                raise FailedAttempt("nobody waits for the answer any more")
            await asyncio.wait([task], timeout=min(left, _LOOK_SECONDS))
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # told above
            await task


async def _exchange(
    url: httpx2.URL, sent: bytes, headers: dict[str, str], received: _Received
) -> None:
    """Sends a request, and takes what comes into `received`."""
    async with (
        _client() as client,
        client.stream("POST", url, content=sent, headers=headers) as response,
    ):
        received.status, received.headers = response.status_code, response.headers
        most = MAX_ANSWER_BYTES if response.status_code == 200 else _MAX_ERROR_BYTES
        async for chunk in response.aiter_raw():
            received.body += chunk
            if len(received.body) > most:
                raise FailedAttempt(f"an answer of more than {most:,} bytes, which no caption has")


def _client() -> httpx2.AsyncClient:
    """A client for one request. Its time is bounded from outside, for httpx bounds single reads alone.

    Raises:
        UserError: if the environment's proxy or certificates cannot be used.
    """
    try:
        return httpx2.AsyncClient(verify=_certificates(), timeout=None, follow_redirects=False)
    except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
        raise UserError(
            f"no connection can be made: {_named(error)}; correct the variables of the environment that name "
            "proxies (HTTPS_PROXY, ...) and certificates (SSL_CERT_FILE)"
        ) from None


@cache
def _certificates() -> ssl.SSLContext:
    """Which servers are trusted; reading it takes longer than a request on loopback, so it is read once."""
    return httpx2.create_ssl_context()


def _refusal(url: httpx2.URL, received: _Received, key: str | None) -> FailedAttempt:
    """What a status other than 200 says."""
    status = received.status or 0
    if 300 <= status < 400:
        said = _redirected(url, received.headers.get("Location", ""))
    else:
        said = bytes(received.body[:_MAX_ERROR_BYTES]).decode("utf-8", errors="replace")
    told = printable(hidden(said, key))[:_TOLD_CHARACTERS]
    wait_seconds = retry_after(received.headers.get("Retry-After", ""))
    return FailedAttempt(f"status {status}, {told or 'nothing said'}", status, wait_seconds)


def _redirected(url: httpx2.URL, location: str) -> str:
    """Where a redirect leads, in words; nobody goes there."""
    try:
        to = url.join(location).copy_with(userinfo=b"", query=None, fragment=None)
    except (httpx2.InvalidURL, ValueError):
        return "a redirect to nowhere"
    base = str(to).removesuffix("/").removesuffix("/chat/completions")
    if to.host != url.host:
        return f"a redirect to another host, {to.host}, which gets no key; if you trust it, give url {base}"
    return f"a redirect, which is not followed; give url {base}"


def _parse(received: _Received) -> dict[str, Any]:
    """The JSON object of a whole answer."""
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
        raise FailedAttempt("an answer that is no JSON object")
    return answer


def _uncompressed(body: bytes, encoding: str) -> bytes:
    """The bytes of a body that was compressed although nobody asked for it, up to the limit."""
    if encoding in ("", "identity"):
        return body
    if encoding not in _COMPRESSED:
        raise FailedAttempt(f"an answer compressed as {printable(encoding)!r}, not asked for")
    try:
        plain = zlib.decompressobj(wbits=47).decompress(body, MAX_ANSWER_BYTES + 1)
    except zlib.error as error:
        raise FailedAttempt(f"an answer whose compression is broken ({error})") from None
    if len(plain) > MAX_ANSWER_BYTES:
        raise FailedAttempt(
            f"an answer of more than {MAX_ANSWER_BYTES:,} bytes, which no caption has"
        )
    return plain


def retry_after(said: str) -> float:
    """Seconds that a `Retry-After` header asks for, be it a number or a date; 0 if it is neither.

    >>> retry_after("86400"), retry_after("soon"), retry_after("Fri, 01 Jan 1990 00:00:00 GMT")
    (86400.0, 0.0, 0.0)
    """
    try:
        seconds = float(said)
    except ValueError:
        try:
            date = parsedate_to_datetime(said)
        except (ValueError, OverflowError):
            return 0.0
        if date.tzinfo is None:  # -0000, which means UTC
            date = date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return 0.0 if math.isnan(seconds) else max(seconds, 0.0)


def _named(error: BaseException) -> str:
    """An exception on one line: what the system said, where the client wraps it in words of its own."""
    inner: BaseException | None = error
    while inner is not None and not (isinstance(inner, OSError) and inner.errno):
        several = getattr(
            inner, "exceptions", None
        )  # of an ExceptionGroup: one for each address tried
        inner = several[0] if several else inner.__cause__ or inner.__context__
    if type(inner) is OSError or isinstance(inner, ConnectionError):
        said = os.strerror(inner.errno or 0)  # asyncio says "Connect call failed" of all
    else:
        said = printable(str(inner or error))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def hidden(text: str, key: str | None) -> str:
    """A text in which nobody can read the key."""
    return text.replace(key, "***") if key else text


def printable(text: str) -> str:
    """A text on one line that moves no terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
