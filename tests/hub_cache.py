"""Fills the hub's local cache as a download does, so that a hub name loads without a network."""

import shutil
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache_as_downloaded(folder: Path, name: str, cache: Path, patch: pytest.MonkeyPatch) -> Path:
    """Puts a model's folder into an offline hub's cache, as commit `COMMIT` of `main`; gives the file of `main`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    main = repository / "refs" / "main"
    main.parent.mkdir()
    main.write_text(COMMIT)
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return main
