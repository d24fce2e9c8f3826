"""The hub's cache as a download leaves it, so that a name of the hub can be loaded without a network."""

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
