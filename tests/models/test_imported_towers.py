"""A tower imported from a file has one state per item, of width D; it trains, and live states are refused."""

from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

from models.config import parse_run_config
from models.train import train
from toolkit import UserError


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "imported",
        walks(),
        items=ITEMS,
        towers={"title": np.random.default_rng(0).normal(size=(ITEMS, 3, 16))},
    )
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    states = np.random.default_rng(1).normal(size=(ITEMS, 1, 24))
    write_tower(folder, "clip", ids, states, encoder="file:clip.npy")
    return folder


@pytest.mark.parametrize("towers", ["[clip]", "[title,clip]"])
def test_an_imported_tower_trains(imported: Path, tmp_path: Path, towers: str) -> None:
    options = [f"--data={imported}", f"--output={tmp_path / 'run'}", f"--towers={towers}"]
    report = train(parse_run_config([*options, "--train.epochs=1", "--sequence.max_len=5"]))
    assert 0 <= report["metrics"]["HR@10"]["value"] <= 1
    assert report["users"] == 120


def test_it_has_no_encoder_to_be_made_live(imported: Path, tmp_path: Path) -> None:
    options = [f"--data={imported}", f"--output={tmp_path / 'run'}", "--towers=[clip]"]
    with pytest.raises(UserError, match=r"tower 'clip' was imported \(file:clip\.npy\).*stored"):
        train(parse_run_config([*options, "--states=live"]))
