"""A hub on loopback: pushed files can be read back, and requests without a token are refused."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

TOKEN = "hf_of_the_test"


class StubHub:
    """Repositories with one branch.

    Args:
        address: of the server that asks it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.created: list[dict[str, Any]] = []
        self.cards: list[str] = []  # sent to be checked
        self.commits: list[dict[str, bytes]] = []

    @property
    def heads(self) -> list[str]:
        """The ids of the commits."""
        return [f"{number:040x}" for number in range(1, len(self.commits) + 1)]

    def post(self, path: str, sent: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.created.append(json.loads(sent))
            return {
                "url": "{address}/{organization}/{name}".format(
                    address=self.address, **self.created[-1]
                )
            }
        if path == "/api/validate-yaml":
            self.cards.append(json.loads(sent)["content"])
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = json.loads(sent)["files"]
            kept = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": file["path"], **kept} for file in files]}
        lines = [json.loads(line) for line in sent.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        self.commits.append({file["path"]: base64.b64decode(file["content"]) for file in files})
        commit = {"commitUrl": f"{self.address}/owner/name/commit/{self.heads[-1]}"}
        return {**commit, "commitOid": self.heads[-1], "pullRequestUrl": None}

    def tell(self, path: str) -> tuple[str, bytes] | None:
        """The answer to a GET, and the commit it is of: what a revision holds, or one of its files."""
        asked = re.search(r"/(revision|tree|resolve)/([^/?]+)/?([^?]*)", path)
        if not asked or not self.commits:
            return None
        what, revision, name = asked.groups()
        head = self.heads[-1] if revision == "main" else revision
        files = self.commits[self.heads.index(head)]
        if what == "resolve":
            return head, files[name]
        rows = [
            {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
            for path, content in files.items()
        ]
        info = {
            "id": "owner/name",
            "sha": head,
            "siblings": [{"rfilename": name} for name in files],
        }
        return head, json.dumps(rows if what == "tree" else info).encode()


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def stub_hub(patch: pytest.MonkeyPatch, *, token: str | None = TOKEN) -> Iterator[StubHub]:
    """Serves a hub, and points the hub's client to it, with a token."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        hub = StubHub(f"http://127.0.0.1:{server.server_address[1]}")
        server.hub = hub  # type: ignore[attr-defined]
        settings = {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_TOKEN_PATH": "/nowhere",
        }
        for name, value in settings.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        patch.delenv("HF_TOKEN", raising=False)
        if token:
            patch.setenv("HF_TOKEN", token)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def hub(self) -> StubHub:
        return self.server.hub  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, b'{"error": "Invalid username or password."}')
            return
        self.answer(200, json.dumps(self.hub().post(self.path, sent)).encode())

    def do_GET(self) -> None:
        told = self.hub().tell(self.path)
        self.answer(404 if told is None else 200, *(told or ("", b"{}"))[::-1])

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_oid(body)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
