"""What a run was made in, so that a reviewer can make it again."""

import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from models.config import RunConfig
from models.inputs.features import Features
from models.runs.identity import describe_data
from toolkit.dataset import Dataset
from toolkit.versions import versions

PACKAGES = ("transformers", "accelerate", "numpy")


def describe_environment(
    config: RunConfig, accelerator: Accelerator, dataset: Dataset, features: Features
) -> dict[str, Any]:
    """Versions, device, processes, git commit and dataset of a run, for environment.json."""
    return {
        "started": now(),
        **describe_machine(accelerator),
        "residency": features.residency and asdict(features.residency),
        "git_commit": _git_commit(),
        "dataset": {
            "name": dataset.name,
            **describe_data(config, dataset),
        },
    }


def describe_machine(accelerator: Accelerator) -> dict[str, Any]:
    """What a process computes with: it may be another where a run is resumed."""
    device = accelerator.device
    return {
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__, **versions(*PACKAGES)},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "mixed_precision": accelerator.mixed_precision,
    }


def now() -> str:
    """The time, with its zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _git_commit() -> str | None:
    """The commit of the checkout that this file is tracked in; None for an installed copy."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
