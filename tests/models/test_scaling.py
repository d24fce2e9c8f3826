"""The scaling study: one run per encoder, and a table by encoder size."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset

from models.scaling import format_study, study
from prep.steps import manifest
from toolkit import UserError
from toolkit.json_files import read_json

FAST = ["--train.epochs=2", "--side.embedding_dim=16", "--train.rates.base=5e-3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    towers = {
        "small": rng.normal(size=(ITEMS, 2, 8)),
        "large": rng.normal(size=(ITEMS, 3, 32)),
        "cover": rng.normal(size=(ITEMS, 2, 8)),
        "imported": rng.normal(size=(ITEMS, 1, 4)),
    }
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "tiny", walks(), items=ITEMS, towers=towers
    )
    for name, weights in {"small": 1_000, "large": 5_000_000}.items():
        manifest.record_step(folder, f"encode:{name}", {}, encoder_parameters=weights)
    return folder


def test_each_encoder_has_a_run_and_a_row(data: Path, tmp_path: Path) -> None:
    found = study(data, tmp_path, ["large", "small", "imported"], beside=["cover"], arguments=FAST)
    assert [(row["tower"], row["weights"], row["width"]) for row in found["towers"]] == [
        ("large", 5_000_000, 32),
        ("small", 1_000, 8),
        ("imported", None, 4),
    ]
    for row in found["towers"]:
        report = read_json(tmp_path / row["tower"] / "metrics" / "test.json")
        assert row["NDCG@10"] == report["metrics"]["NDCG@10"]
    assert json.loads((tmp_path / "scaling.json").read_text()) == found
    lines = (tmp_path / "scaling.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| imported", "| small", "| large"]
    assert "5,000,000" in lines[-1] and "unknown" in lines[2]
    assert lines == format_study(found).splitlines()
    drawn = (tmp_path / "scaling.svg").read_text()
    assert drawn.lstrip().startswith("<?xml") and "large" in drawn and "imported" not in drawn


def test_a_study_that_was_stopped_goes_on(data: Path, tmp_path: Path) -> None:
    first = study(data, tmp_path, ["small"], arguments=FAST)
    weights = (tmp_path / "small" / "model" / "model.safetensors").stat().st_mtime_ns
    found = study(data, tmp_path, ["small", "large"], arguments=FAST)
    assert found["towers"][0] == first["towers"][0]
    assert (tmp_path / "small" / "model" / "model.safetensors").stat().st_mtime_ns == weights


def test_an_absent_tower_is_told_before_any_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no hidden states for tower 'huge'"):
        study(data, tmp_path, ["small", "huge"], arguments=FAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("beside", [["small"], ["cover", "cover"]])
def test_a_tower_twice_is_refused(data: Path, tmp_path: Path, beside: list[str]) -> None:
    with pytest.raises(UserError, match="name each once"):
        study(data, tmp_path, ["small"], beside=beside, arguments=FAST)
