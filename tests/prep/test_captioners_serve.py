"""A real server, `transformers serve`, on loopback with a tiny model, returns the captions of the local model."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import cv2
import numpy as np
import pytest
from collect_captions import captions
from tiny_vlms import llava_onevision

from prep.captioners import Payload, Request
from prep.captioners.local import TransformersCaptioner
from prep.captioners.openai import OpenAICaptioner
from toolkit import UserError

START_SECONDS = 120  # of a machine that does other things
SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "vlm"
    llava_onevision(path)
    return path


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that ends with the tests."""
    for module in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", str(folder), "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as written:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--device", "cpu"],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        if not healthy(port, process):
            pytest.fail(f"transformers serve did not start:\n{log.read_text()}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def healthy(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server answers before it ends or its time is over."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    return False


def jpeg(seed: int) -> bytes:
    squares = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = cv2.resize(squares, (40, 40), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def test_the_server_says_what_the_model_says_here(url, folder):
    served = OpenAICaptioner(str(folder), url=url, max_new_tokens=8, concurrency=2)
    here = TransformersCaptioner(str(folder), max_new_tokens=8)
    requests = [Request(Payload([jpeg(seed)]), f"What is {seed}?") for seed in range(4)]
    served.check()
    found = captions(served, requests)
    assert found == captions(here, requests)
    assert len(set(found)) > 1


def test_a_video_is_captioned_by_its_frames(url, folder):
    served = OpenAICaptioner(str(folder), url=url, max_new_tokens=8)
    frames, times = [jpeg(seed) for seed in range(3)], [0.5, 1.5, 2.5]
    clips = [Payload(shown, times, is_video=True) for shown in (frames, frames[::-1])]
    forward, backward = captions(served, [Request(clip, "What happens?") for clip in clips])
    assert forward and forward != backward


def test_a_model_that_is_not_served_is_told(url):
    with pytest.raises(UserError, match=r"returned no captions: status 400, .*pinned to .*'other'"):
        OpenAICaptioner("other", url=url).check()


def test_what_the_server_refuses_is_told_with_its_reason(url, folder):
    asked = OpenAICaptioner(str(folder), url=url, repetition_penalty=1.05)
    with pytest.raises(UserError, match=r"status 422, .*repetition_penalty"):
        asked.check()
    with pytest.raises(UserError, match=r"status 422, .*repetition_penalty"):  # no item is at fault
        captions(asked, [Request(Payload([jpeg(0)]), "What?")])
