from pathlib import Path

import numpy as np
import pytest
from circle import train_on, write_circle
from reported_runs import train_runs, write_reported_dataset
from tiny_dataset import ITEMS, walks, write_covers, write_dataset
from tiny_encoders import jpegs


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
def raw_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles and covers, and no stored tower."""
    folder = write_dataset(tmp_path_factory.mktemp("raw") / "data", walks(), items=ITEMS)
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    write_covers(folder, dict(zip(ids, jpegs(0, ITEMS), strict=True)))
    return folder


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Trained runs for reports: ids, one tower, two towers. Copy one before changing it."""
    folder = tmp_path_factory.mktemp("reported")
    return train_runs(write_reported_dataset(folder / "data"), folder / "runs")


@pytest.fixture(scope="session")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of `circle.write_circle`."""
    return write_circle(tmp_path_factory.mktemp("circle") / "data")


@pytest.fixture(scope="session")
def circle_run(circle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-only run that has learnt the circle."""
    return train_on(circle, "text-only", tmp_path_factory.mktemp("circle") / "run", epochs=8)


@pytest.fixture(scope="session")
def circle_id_run(circle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ID run that has seen the circle once."""
    return train_on(circle, "id", tmp_path_factory.mktemp("circle") / "id", epochs=1)
