"""Captions per second by batch size, and how long the model waits for input."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from prep.captioners import Payload, Request, load_prompt
from prep.captioners.local import TransformersCaptioner
from toolkit.console.door import run_command

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from tiny_vlms import llava_onevision  # needs the path above

SIZE_PX = 224  # as prep stores frames
ONE = "one by one"


def main() -> None:
    """Measures every batch size in alternating rounds, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub name; by default a small random model")
    parser.add_argument("--items", type=int, default=192)
    parser.add_argument("--frames", type=int, default=0, help="frames per video; 0 captions images")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or random_model(Path(folder) / "llava_onevision")
        captioner = TransformersCaptioner(model, max_new_tokens=options.max_new_tokens)
        captioner.check()  # while the folder is there
    requests = [request(seed, options.frames) for seed in range(options.items)]
    sizes = {ONE: 1, **{f"batches of {size}": size for size in options.batch_sizes}}
    found = measure(captioner, requests, sizes, options.rounds)
    print_table(found)
    about = {
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
        "threads": torch.get_num_threads(),
        "model": options.model or "random LLaVA-OneVision, 32 wide",
        **{key: getattr(options, key) for key in ("items", "frames", "max_new_tokens", "rounds")},
    }
    print(json.dumps({**about, "results": found}))


def random_model(folder: Path) -> str:
    """The tiny model of the tests. Call overhead dominates, so it shows the effect of batching, not the speed of a GPU."""
    llava_onevision(folder)
    return str(folder)


def request(seed: int, frame_count: int) -> Request:
    """An image, or `frame_count` frames of a video, of smooth noise: JPEGs with the size of a photo."""
    rng = np.random.default_rng(seed)
    frames = [blots(rng) for _ in range(max(frame_count, 1))]
    if not frame_count:
        return Request(Payload(frames), load_prompt("image-plain").text)
    times = [0.5 + second for second in range(frame_count)]
    return Request(Payload(frames, times, is_video=True), load_prompt("video-plain").text)


def blots(rng: np.random.Generator) -> bytes:
    """One JPEG of 224 x 398 px."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (SIZE_PX, 398, 3)).astype(np.float32), (0, 0), 4)
    pixels = cv2.normalize(noise, noise, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def measure(
    captioner: TransformersCaptioner, requests: list[Request], sizes: dict[str, int], rounds: int
) -> dict[str, dict[str, float]]:
    """Medians over rounds for each batch size."""
    list(captioner.captions(requests[:2]))  # warm-up
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sizes}
    for _ in range(rounds):
        for name, size in sizes.items():
            captioner.batch_size = size
            runs[name].append(run(captioner, requests))
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    for found in medians.values():
        found["times_as_fast"] = found["captions_per_second"] / medians[ONE]["captions_per_second"]
    return {name: {key: round(v, 4) for key, v in found.items()} for name, found in medians.items()}


def run(captioner: TransformersCaptioner, requests: list[Request]) -> dict[str, float]:
    """Captions all requests once."""
    before = vars(captioner.usage).copy()
    started = time.perf_counter()
    list(captioner.captions(requests))
    seconds = time.perf_counter() - started
    spent = {key: value - before[key] for key, value in vars(captioner.usage).items()}
    return {
        "captions_per_second": spent["captions"] / seconds,
        "tokens_per_second": spent["tokens"] / seconds,
        "idle_share": spent["idle_seconds"] / (spent["idle_seconds"] + spent["busy_seconds"]),
    }


def print_table(found: dict[str, dict[str, float]]) -> None:
    """One row per batch size."""
    print("| | captions/s | tokens/s | times as fast | model waits for input |")
    print("|---|---|---|---|---|")
    for name, row in found.items():
        cells = (
            f"{row['captions_per_second']:.2f}",
            f"{row['tokens_per_second']:.0f}",
            f"{row['times_as_fast']:.2f}",
            f"{100 * row['idle_share']:.1f} %",
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


def cpu_name() -> str:
    """The CPU's name, from lscpu."""
    told = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    lines = (line.partition(":") for line in told.splitlines())
    return next((v.strip() for k, _, v in lines if k == "Model name"), platform.processor())


if __name__ == "__main__":
    run_command(main)
