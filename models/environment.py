"""What a run was made in, so that a reviewer can make it again."""

import hashlib
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from models.config import RunConfig
from models.features import Features
from models.run import ENVIRONMENT, describe_dataset
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.store import Table, read_json
from toolkit.versions import versions

INTERACTIONS = "interactions_sha256"  # under `dataset`; runs of older Versas do not have it
PACKAGES = ("transformers", "accelerate", "numpy")


def describe_environment(
    config: RunConfig, accelerator: Accelerator, dataset: Dataset, features: Features
) -> dict[str, Any]:
    """Versions, device, processes, git commit and dataset of a run, for environment.json."""
    device = accelerator.device
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__, **versions(*PACKAGES)},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "mixed_precision": accelerator.mixed_precision,
        "residency": features.residency and asdict(features.residency),
        "git_commit": _git_commit(),
        "dataset": {
            "name": dataset.name,
            **describe_dataset(config, dataset),
            INTERACTIONS: interactions_sha256(dataset),
        },
    }


def interactions_sha256(dataset: Dataset) -> str:
    """SHA-256 of who interacted with what, in which order: of all that splits are made from.

    Users and items are hashed apart, so that neither shards nor batches show in it; a batch is held at a time.
    """
    columns = {name: hashlib.sha256() for name in ("user", "item")}
    for batch in Table(dataset.path / "interactions").batches(list(columns)):
        for name, digest in columns.items():
            digest.update(batch.column(name).to_numpy().astype("<i4", copy=False).data)
    return hashlib.sha256(b"".join(each.digest() for each in columns.values())).hexdigest()


def refuse_other_interactions(run: Path, dataset: Dataset) -> None:
    """Makes sure that a run's dataset has the interactions that it was trained on; older runs do not say.

    Raises:
        UserError: if it has others, so that metrics would be of other users or targets.
    """
    then = read_json(run / ENVIRONMENT)["dataset"].get(INTERACTIONS)
    if then not in (None, interactions_sha256(dataset)):
        raise UserError(
            f"{run}: trained on other interactions than {dataset.path} has now; restore that dataset or train again"
        )


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
