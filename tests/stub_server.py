"""A server on loopback with OpenAI's chat completions API, and configurable faults."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Reply(NamedTuple):
    """What to answer.

    Args:
        status: of HTTP.
        body: its bytes.
        headers: beside the length.
        missing_bytes: how many more the header promises than are sent.
        hang: whether nothing is answered before the server ends.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012
    missing_bytes: int = 0
    hang: bool = False


def caption(text: str | None) -> Reply:
    """A good answer (a broken one if `text` is None)."""
    message = {"role": "assistant", "content": text}
    return Reply(body=json.dumps({"choices": [{"index": 0, "message": message}]}).encode())


class StubServer:
    """Answers each request by `answer`, and remembers them.

    Args:
        answer: from how many requests with the same prompt came before, and the prompt, to a reply.
        together: requests that must be in flight at the same time before the first is answered.
    """

    def __init__(self, answer: Callable[[int, str], Reply], *, together: int = 1) -> None:
        self.answer = answer
        self.together = together
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def prompts(self) -> list[str]:
        """Of all requests so far, in the order in which they came."""
        return [body["messages"][0]["content"][-1]["text"] for body in self.bodies]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        """What to answer to one request, once enough others are in flight."""
        prompt = body["messages"][0]["content"][-1]["text"]
        with self._changed:
            before = self.prompts().count(prompt)
            self.bodies.append(body)
            self.headers.append(headers)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most_in_flight >= self.together, timeout=10)
        reply = self.answer(before, prompt)
        if reply.hang:
            self._ended.wait(60)
        with self._changed:
            self._in_flight -= 1
        return reply


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # a connection beyond the usual 5 would wait a second


def _handler(stub: StubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            reply = stub.reply(json.loads(sent), dict(self.headers))
            if reply.hang:
                return
            if not self.path.endswith("/v1/chat/completions"):
                reply = Reply(404, b'{"error": "no such path"}')
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing_bytes))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler
