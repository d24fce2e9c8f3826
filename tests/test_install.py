"""The installed packages are importable from any folder."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

FIND = "import models, prep, toolkit; print(models.load.__name__, prep.build.__name__, toolkit.open_dataset.__name__)"


def test_folders_of_the_same_names_hide_no_package(tmp_path):
    """A notebook often stands beside a folder models/ of weights."""
    try:
        version("versa-toolkit")
    except PackageNotFoundError:
        pytest.skip("Versa is not installed here")
    for name in ("models", "prep", "toolkit"):
        (tmp_path / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", FIND]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["load", "build", "open_dataset"], done.stderr
