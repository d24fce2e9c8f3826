"""A tower whose states have several widths (stages of a hierarchical encoder) trains, is saved and loads again."""

from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

import models
from models.config import parse_run_config
from models.train import train
from toolkit import TowerSpec, open_dataset

WIDTHS = (6, 12, 24)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "staged",
        walks(),
        items=ITEMS,
        towers={"title": rng.normal(size=(ITEMS, 3, 16))},
    )
    states = rng.normal(size=(ITEMS, 3, 24))
    for level, width in enumerate(WIDTHS):
        states[:, level, width:] = 0
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    write_tower(folder, "cover", ids, states, widths=",".join(map(str, WIDTHS)))
    return folder


@pytest.mark.parametrize("towers", ["[cover]", "[title,cover]"])
def test_it_trains_and_comes_back(staged: Path, tmp_path: Path, towers: str) -> None:
    options = [f"--data={staged}", f"--output={tmp_path / 'run'}", f"--towers={towers}"]
    report = train(parse_run_config([*options, "--train.epochs=1", "--sequence.max_len=5"]))
    assert 0 <= report["metrics"]["HR@10"]["value"] <= 1
    network = models.from_pretrained(tmp_path / "run" / "model").item_encoder
    assert isinstance(network, models.SideNetwork)
    assert network.specs[-1] == TowerSpec("cover", 3, 24, "image", WIDTHS)
    assert network.specs[-1] == open_dataset(staged).tower("cover")
    shapes = [tuple(p.shape) for p in network.widenings["cover"].parameters()]
    assert shapes == [(24, 6), (24,), (24, 12), (24,)]
