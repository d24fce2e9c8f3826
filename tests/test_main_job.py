"""From a raw dump to recommendations, through the commands, and from an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.ipc
import pytest
import torch

import models
import prep
from models.config import parse_run_config
from models.run import TrainedRecommender, make_features
from models.train import train
from prep.config import EncodeConfig, MediaConfig, PrepConfig
from toolkit import UserError, open_dataset

ROOT = Path(__file__).parent.parent
PRESETS = {"id": [], "text-only": ["title"], "raw-image": ["title", "cover"]}


@pytest.fixture(scope="module")
def dataset(
    synth_dump: Path, tiny_bert: Path, tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("built") / "dataset"
    encode = {
        "title": EncodeConfig(encoder=str(tiny_bert), pooling="mean"),
        "cover": EncodeConfig(encoder=str(tiny_vit), source="cover"),
    }
    prep.build(synth_dump, folder, PrepConfig(media=MediaConfig(workers=1), encode=encode))
    return folder


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for preset in PRESETS:
        arguments = ["--config", preset, "--data", str(dataset), "--output", str(folder / preset)]
        train(parse_run_config([*arguments, "--train.epochs", "2"]))
    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_goes_from_dump_to_recommendations(
    runs: Path, dataset: Path, preset: str
) -> None:
    data = open_dataset(dataset)
    model = models.load(runs / preset)
    assert model.config.towers == PRESETS[preset]
    table = model.recommend([data.item_ids.ids[:3]], k=5)
    assert len(set(table.column("item_id").to_pylist())) == 5
    assert not set(table.column("item_id").to_pylist()) & set(data.item_ids.ids[:3])
    report = json.loads((runs / preset / "metrics" / "test.json").read_text())
    assert report["users"] == len(data.splits().user_ids) == 60


def test_live_states_give_the_item_embeddings_of_stored_ones(runs: Path) -> None:
    stored = models.load(runs / "raw-image")
    stored.config.states = "live"
    features = make_features(stored.config, stored.dataset)
    live = TrainedRecommender(stored.config, stored.dataset, stored.model, features)
    difference = (live.item_embeddings() - stored.item_embeddings()).abs().max()
    scale = stored.item_embeddings().abs().max()
    assert 0 < difference / scale < 2e-3  # float16 keeps eleven bits
    numbers = torch.tensor([3, 1])
    for name, states in features.gather(numbers).items():
        torch.testing.assert_close(
            states, stored.dataset.states(name)[numbers].float(), atol=2e-3, rtol=2e-3
        )


def test_live_states_train(dataset: Path, tmp_path: Path) -> None:
    arguments = ["--config", "raw-image", "--data", str(dataset), "--train.epochs", "1"]
    reports = [
        train(parse_run_config([*arguments, "--output", str(tmp_path / s), "--states", s]))
        for s in ("live", "stored")
    ]
    weights = [models.load(tmp_path / s).model.state_dict() for s in ("live", "stored")]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-2, rtol=1e-2)
    assert reports[0]["users"] == reports[1]["users"]


def test_live_states_of_another_encoder_are_refused(
    dataset: Path, runs: Path, tiny_bert: Path
) -> None:
    weights = tiny_bert / "model.safetensors"
    before = weights.read_bytes()
    config = models.load(runs / "text-only").config
    config.states = "live"
    try:
        weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))  # one bit of one weight
        with pytest.raises(UserError, match=r"tower 'title'.*stored states came from"):
            make_features(config, open_dataset(dataset))
    finally:
        weights.write_bytes(before)


@pytest.mark.slow
def test_an_installed_wheel_does_the_main_job_outside_the_repository(tmp_path: Path) -> None:
    tree = tmp_path / "tree"  # a copy: building leaves files behind
    for name in ("toolkit", "prep", "models"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation"], tree)
    wheel = next((tree / "dist").glob("versa_toolkit-*.whl"))
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
    ]
    run([*install, str(wheel)], tmp_path)
    work = tmp_path / "elsewhere"
    work.mkdir()
    environment = {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}

    def python(*arguments: str) -> str:
        return run([sys.executable, *arguments], work, **environment)

    where = "import toolkit, prep, models; print(toolkit.__file__, prep.__file__, models.__file__)"
    assert python("-c", where).count(str(site)) == 3
    python("-m", "prep", "synth", "dump", "--items", "24", "--users", "40")
    python("-m", "prep", "build", "dump", "data")
    python("-m", "prep", "check", "data")
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "1", "-m", "models.train"]
    options = ["--config", "raw-image", "--data", "data", "--output", "run", "--train.epochs", "1"]
    python(*launch, *options)
    assert "HR@10" in python("-m", "models", "evaluate", "run", "--protocol", "clean")
    python("-m", "models", "recommend", "run", "-k", "3", "--output", "best.arrow")
    table = pyarrow.ipc.open_file(work / "best.arrow").read_all()
    assert table.num_rows == 40 * 3


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
