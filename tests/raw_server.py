"""A server on loopback that sends given bytes to each connection."""

import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self


class RawServer:
    """Sends `pieces` after each request, with a pause between two, until they end or the client leaves.

    Args:
        pieces: bytes to send, perhaps without end.
        pause_seconds: between two pieces.
    """

    def __init__(self, pieces: Iterable[bytes], *, pause_seconds: float = 0.0) -> None:
        self.pieces = pieces
        self.pause_seconds = pause_seconds
        self.requests: list[bytes] = []
        self.sent_bytes = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes the thread that accepts
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            connection, _ = self._socket.accept()
            if self._ended.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            received = b""
            while not _is_whole(received):
                some = connection.recv(65536)
                if not some:
                    return
                received += some
            head = received.partition(b"\r\n\r\n")[0]
            self.requests.append(head)
            for piece in self.pieces:
                if self._ended.is_set():
                    return
                connection.sendall(piece)
                self.sent_bytes += len(piece)
                time.sleep(self.pause_seconds)


def _is_whole(received: bytes) -> bool:
    """Whether a request's head and the whole body that it announces are there, or it is no HTTP (TLS)."""
    if not b"POST".startswith(received[:4]):
        return True
    head, end, body = received.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return bool(end) and len(body) >= int(length or 0)
