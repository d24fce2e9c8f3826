"""The table of IISAN: what each way to adapt encoders costs, timed and counted.

    python -m benchmarks.ladder --output FILE.json [--methods fft lora …] [--epochs 1] [--users N] [--batch N] [--toy]

Per method: seconds per epoch, trainable parameters, peak memory and TPME (`models.efficiency`), beside the operations
of an epoch and the bytes that must be held (`benchmarks.arithmetic`). On a GPU the encoders are BERT-base and ViT-base
with random weights, which cost what pretrained ones do; on a CPU they are MiniLM and the tiny ViT, over a synthetic dump.
Each method runs in its own process, with its overlay's batch unless --batch is given. The file is rewritten after every
method. `--toy` rehearses with tiny random encoders.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.rungs import METHODS, apart, write_data
from models.efficiency import tpme
from toolkit.json_files import write_json

COLUMNS = ("method", "batch", "s/epoch", "trainable", "peak memory", "TPME", "TFLOP/epoch", "weights", "gradients, Adam", "activations")  # fmt: skip


def main() -> None:
    """Measures the methods, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=1, help="timed epochs, after an untimed one")
    parser.add_argument("--users", type=int, help="users of the dataset")
    parser.add_argument("--batch", type=int, help="users per step, for all methods")
    parser.add_argument("--toy", action="store_true", help="rehearse with tiny random encoders")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder), toy=options.toy, users=options.users)
        rungs = []
        for name in options.methods:
            rungs.append(apart(name, data, epochs=options.epochs, batch=options.batch))
            report = summarised(rungs)
            write_json(options.output, report)
            print(f"{name}: {rungs[-1]['seconds_per_epoch']:.2f} s per epoch", flush=True)
    print(table(report))


def summarised(rungs: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of the methods so far. TPME depends on which are compared."""
    costs = [
        (one["seconds_per_epoch"], one["trainable_parameters"], one["peak_memory_bytes"])
        for one in rungs
    ]
    scored = [{**one, "tpme": score} for one, score in zip(rungs, tpme(costs), strict=True)]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": rungs[0]["device"],
        "torch": torch.__version__,
        "methods": scored,
    }


def table(report: dict[str, Any]) -> str:
    """A report as a Markdown table."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_row, report["methods"])]
    kinds = dict.fromkeys(one["memory"] for one in report["methods"])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{lines}\n\npeak memory: {'; '.join(kinds)}; device: {report['device']}"


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    peak, score = one["peak_memory_bytes"], one["tpme"]
    return (
        one["method"],
        str(one["batch_size"]),
        f"{one['seconds_per_epoch']:.2f}",
        f"{one['trainable_parameters']:,}",
        "unknown" if peak is None else _mib(peak),
        "unknown" if score is None else f"{score:.3f}",
        f"{one['counted_flops_per_epoch'] / 1e12:.4g}",
        _mib(one["counted_parameter_bytes"]),
        _mib(one["counted_gradient_bytes"] + one["counted_optimizer_bytes"]),
        _mib(one["counted_activation_bytes"]),
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


if __name__ == "__main__":
    main()
