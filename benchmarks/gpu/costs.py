"""The efficiency table of IISAN: stored and live states over BERT-base and ViT-base with random weights.

Time and memory do not depend on pretrained weights. Add other adaptation methods to `METHODS`.
"""

from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.made import TOWERS, Size, write_live_data
from models.config import parse_run_config, save_run_config
from models.efficiency import efficiency, format_costs

# Options of `models.train` by method; each is measured with stored and with live states.
METHODS: dict[str, list[str]] = {"iisan-versa": ["--config=paper"]}
PAPER_USERS = 12_076


def costs(work: Path, size: Size) -> dict[str, Any]:
    """`models efficiency` of every method, and its seconds scaled to an epoch of the paper's users."""
    data = write_live_data(work, size)
    runs = [_settings_only(work, data, name, options, size) for name, options in METHODS.items()]
    report = efficiency(runs, states=["stored", "live"], epochs=1, warmup=1)
    print(format_costs(report))
    steps = -(-size.live_users // size.batch)
    of_paper = -(-PAPER_USERS // size.batch)
    for method in report["methods"]:
        method["step_ms"] = 1e3 * method["seconds_per_epoch"] / steps
        method["seconds_for_12076_users"] = method["seconds_per_epoch"] * of_paper / steps
    return report


def _settings_only(work: Path, data: Path, name: str, options: list[str], size: Size) -> Path:
    """A run folder with settings only; nothing is trained in it."""
    run = work / "runs" / name
    precision = "bf16" if torch.cuda.is_available() else "no"
    words = [*options, f"--data={data}", f"--output={run}", f"--towers=[{', '.join(TOWERS)}]"]
    words += [f"--train.batch_size={size.batch}", f"--train.mixed_precision={precision}"]
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(save_run_config(parse_run_config(words)))
    return run
