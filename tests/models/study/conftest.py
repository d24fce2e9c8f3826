from pathlib import Path
from typing import Any

import pytest
from small_study import SMALL, write_plan

from models.study import study


@pytest.fixture(scope="session")
def small(dataset: Path) -> dict[str, Any]:
    """The content of a study; change a copy."""
    return {"datasets": {"walks": str(dataset)}, **SMALL}


@pytest.fixture(scope="session")
def finished(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("study")
    study(write_plan(folder, small), folder / "out", jobs=2, report=lambda line: None)
    return folder / "out"
