"""One request to a broken, hostile or redirecting server: one error line, in time, without the key."""

import gzip
import itertools
import json
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from raw_server import RawServer

from prep.captioners.http import MAX_ANSWER_BYTES, FailedAttempt, post_json, retry_after, server_url
from toolkit import UserError

KEY = "sk-secret-of-mine"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(url, *, timeout_seconds=20.0, nobody_waits=None):
    """In a thread, as captioners do."""
    waits = nobody_waits or threading.Event()
    return post_json(
        server_url(url),
        {"q": "?"},
        key=KEY,
        timeout_seconds=timeout_seconds,
        nobody_waits=waits,
    )


def failure(*pieces, timeout_seconds=20.0, **options):
    """How one request fails; its line is one, and without the key."""
    with RawServer(itertools.chain(*pieces), **options) as server:
        with pytest.raises(FailedAttempt) as told:
            post(server.url, timeout_seconds=timeout_seconds)
        sent = server.sent_bytes
    assert told.value.reason.isprintable() and KEY not in told.value.reason
    return told.value, sent


def whole(body, head=OK):
    return [head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body]


def test_a_good_answer_comes_and_the_key_goes_to_its_host():
    with RawServer(whole(b'\xef\xbb\xbf{"a": [1]}')) as server:
        assert post(server.url) == {"a": [1]}
    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]


# Too slow, too long


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b""], "no answer within 0.4 s"),  # connected, then silent
        ([OK + b"Content-Length: 1000000000\r\n\r\n", b" "], "no complete answer within 0.4 s"),
        ([OK + b"X: ", b"x"], "no answer within 0.4 s"),  # a header without end
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"], "no complete answer within"),
    ],
)
def test_an_answer_that_drips_is_given_up_in_time(pieces, reason):
    first, *again = pieces
    found, _ = failure(
        [first], itertools.cycle(again or [b""]), pause_seconds=0.05, timeout_seconds=0.4
    )
    assert reason in found.reason and found.status is None


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"Content-Length: 524288000\r\n\r\n", b"x" * 65536),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (OK + b"Connection: close\r\n\r\n", b"x" * 65536),
    ],
)
def test_an_answer_without_end_is_read_no_further_than_the_limit(head, piece):
    found, sent = failure([head], itertools.repeat(piece))
    assert "an answer of more than 1,048,576 bytes" in found.reason
    assert sent < 16 * MAX_ANSWER_BYTES  # what sockets buffer, not 500 MB


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_what_is_small_only_while_compressed_is_not_unpacked(name):
    pack = gzip.compress if name == "gzip" else zlib.compress
    head = OK + f"Content-Encoding: {name}\r\n".encode()
    found, _ = failure(whole(pack(b" " * 50 * MAX_ANSWER_BYTES), head))
    assert "an answer of more than 1,048,576 bytes" in found.reason
    with RawServer(whole(pack(b'{"a": 1}'), head)) as server:
        assert post(server.url) == {"a": 1}


def test_compression_that_nobody_knows_is_told():
    found, _ = failure(whole(b"abc", OK + b"Content-Encoding: br\r\n"))
    assert "compressed as 'br', not requested" in found.reason


def test_who_stops_waiting_ends_a_request_at_once():
    waits = threading.Event()
    threading.Timer(0.2, waits.set).start()
    with RawServer(itertools.repeat(b""), pause_seconds=0.05) as server:
        began = time.monotonic()
        with pytest.raises(FailedAttempt, match="request was cancelled"):
            post(server.url, timeout_seconds=300, nobody_waits=waits)
    assert time.monotonic() - began < 60


# Broken


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"choices": [', "JSON is broken"),
        (b"<html>no</html>", "JSON is broken"),
        (b"", "JSON is broken"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[" * 100_000, "JSON is nested too deeply"),
        (b'{"a": ' * 100_000, "JSON is nested too deeply"),
        (b'{"a": "\xff\xfe"}', "not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON is broken"),
    ],
)
def test_an_answer_that_is_no_object_is_told(body, reason):
    assert reason in failure(whole(body))[0].reason


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 90\r\n\r\n{"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"],
        [b"no HTTP at all\r\n\r\n"],
        [OK + b"Content-Length: no\r\n\r\n{}"],
        [],  # closed without a word
    ],
)
def test_a_connection_that_breaks_is_told(pieces):
    found, _ = failure(pieces)
    assert "ProtocolError" in found.reason or "ReadError" in found.reason


def test_what_a_server_says_is_one_harmless_line():
    body = f"bad\x1b[2J\r\nthe key {KEY}".encode() + b"\xff" + b"x" * 10**6
    found, _ = failure(whole(body, b"HTTP/1.1 503 No\r\nRetry-After: 7\r\n"))
    assert found.reason.startswith("status 503, bad [2J the key ***")
    assert len(found.reason) < 400
    assert (found.status, found.wait_seconds) == (503, 7.0)


def test_a_status_is_told_although_its_words_never_end():
    found, _ = failure(
        [b"HTTP/1.1 401 No\r\nContent-Length: 9999\r\n\r\nwrong key"],
        itertools.repeat(b" "),
        pause_seconds=0.05,
        timeout_seconds=0.4,
    )
    assert found.status == 401 and "wrong key" in found.reason


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_gets_no_request_and_no_key(status):
    with RawServer(whole(b"{}")) as other:
        location = f"Location: http://localhost:{other.port}/v1/chat/completions\r\n".encode()
        found, _ = failure(whole(b"", f"HTTP/1.1 {status} Gone\r\n".encode() + location))
        assert other.requests == []
    assert f"status {status}, a redirect to another host, localhost" in found.reason
    assert f"set url http://localhost:{other.port}/v1" in found.reason


def test_a_redirect_on_the_same_host_says_what_to_type():
    head = b"HTTP/1.1 308 Moved\r\nLocation: /api/v1/chat/completions?x=1\r\n"
    found, _ = failure(whole(b"", head))
    assert found.reason.endswith("/api/v1") and "a redirect, which is not followed" in found.reason


def test_a_proxy_of_the_environment_is_asked(monkeypatch):
    with RawServer(whole(b'{"by": "proxy"}')) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert post("http://model.invalid/v1") == {"by": "proxy"}
    assert proxy.requests[0].startswith(b"POST http://model.invalid/v1 ")


def test_a_proxy_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("http_proxy", "gopher://nowhere")
    with pytest.raises(UserError, match=r"no connection is possible: .*HTTPS_PROXY"):
        post("http://model.invalid/v1")


def test_a_server_without_tls_a_closed_port_and_an_unknown_host_are_told():
    with RawServer([b"HTTP/1.1 400 Bad\r\n\r\n"]) as server:
        with pytest.raises(FailedAttempt, match=r"SSL|TLS"):
            post(server.url.replace("http:", "https:"), timeout_seconds=5)
        free = server.port
    with pytest.raises(FailedAttempt, match="Connection refused"):
        post(f"http://127.0.0.1:{free}/v1")
    with pytest.raises(FailedAttempt, match="ConnectError"):
        post("http://" + "a" * 64 + ".invalid/v1")  # too long a label: no name server is asked


@pytest.mark.parametrize(
    "url",
    [
        "http://host:99999/v1",
        "http://host:abc/v1",
        "http://host:-1/v1",
        "http://host:0/v1",
        "http://[::1/v1",
        "http://a b/v1",
        "http://host\n/v1",
        "http:///v1",
        "file:///etc/passwd",
        "localhost:8000",
    ],
)
def test_what_is_no_url_is_refused_in_one_line(url):
    with pytest.raises(UserError, match=r"is invalid.*give a URL such as") as told:
        server_url(url)
    assert str(told.value).isprintable()


@pytest.mark.parametrize("url", ["http://me:hush@host/v1", "http://hush@host:99999/v1"])
def test_a_password_in_a_url_is_not_told(url):
    with pytest.raises(UserError, match="contains a user or password") as told:
        server_url(url)
    assert "hush" not in str(told.value)


def test_addresses_of_version_6_are_urls():
    parts = server_url("http://[::1]:8000/v1")
    assert (parts.host, parts.port) == ("::1", 8000)


def test_retry_after_is_a_number_or_a_date():
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < retry_after(in_an_hour) <= 3600
    assert retry_after("-5") == retry_after("nan") == retry_after("") == 0
    assert retry_after("9" * 400) > 1e300


def test_a_body_is_json():
    with RawServer(whole(b"{}")) as server:
        post(server.url)
    assert b"Content-Length: " + str(len(json.dumps({"q": "?"}))).encode() in server.requests[0]
