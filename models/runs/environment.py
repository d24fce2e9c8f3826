"""Describes the environment of a run for environment.json: what a reviewer needs to reproduce the run."""

import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from models.machine.residency import Residency
from toolkit.versions import versions

PACKAGES = ("transformers", "accelerate", "numpy")


def describe_environment(
    accelerator: Accelerator,
    *,
    dataset: dict[str, Any],
    residency: Residency | None = None,
    lineage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Versions, device, processes, git commit and dataset of a run.

    Args:
        accelerator: accelerator of the run.
        dataset: name and identity of the dataset as a JSON object; a recommender's is
            `models.runs.identity.describe_data`.
        residency: where the run keeps stored states; None if it reads none.
        lineage: where its initial weights come from (`models.runs.lineage`); None if they are new.
    """
    return {
        "started": now(),
        **describe_machine(accelerator),
        "residency": residency and asdict(residency),
        "git_commit": _git_commit(),
        "dataset": dataset,
        **({} if lineage is None else {"lineage": lineage}),
    }


def describe_machine(accelerator: Accelerator) -> dict[str, Any]:
    """Versions, device and precision of this process; a resumed run may have other ones."""
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
    """The local time with its time zone, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _git_commit() -> str | None:
    """Commit of the git checkout that tracks this file; None for an installed copy."""
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
