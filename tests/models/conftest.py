from pathlib import Path

import numpy as np
import pytest
from reported_runs import train_runs, write_reported_dataset
from tiny_dataset import ITEMS, walks, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    towers = {
        "title": rng.normal(size=(ITEMS, 3, 16)),
        "cover": rng.normal(size=(ITEMS, 4, 24)),
    }
    return write_dataset(
        tmp_path_factory.mktemp("data") / "tiny", walks(), items=ITEMS, towers=towers
    )


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Trained runs for reports: ids, one tower, two towers. Copy one before changing it."""
    folder = tmp_path_factory.mktemp("reported")
    return train_runs(write_reported_dataset(folder / "data"), folder / "runs")
