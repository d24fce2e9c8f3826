"""From a raw dump to recommendations, through the commands and from an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.ipc
import pytest
import torch
from tiny_dataset import write_captions

import models
import prep
from models.build import make_features
from models.config import parse_run_config, presets
from models.general import GENERAL
from models.runs.trained import TrainedRecommender
from models.train import train
from prep.config import EncodeConfig, MediaConfig, PrepConfig
from toolkit import UserError, open_dataset

ROOT = Path(__file__).parent.parent
LICENCES = ("LICENSE", "THIRD_PARTY.md")
PRESETS = {
    "id": [],
    "id-recbole": [],
    "text-only": ["title"],
    "raw-image": ["title", "cover"],
    "raw-video": ["title", "frames"],
    "image-caption": ["title", "image_caption"],
    "video-caption": ["title", "video_caption"],
    "all-towers": ["title", "cover", "frames", "image_caption", "video_caption"],
}
RECIPES = {"id-and-content", "modern", "paper", "paper-microlens"}
OVERLAYS = {"adapter", "bitfit", "fft", "lora", "top-2"}
PAPERS = ("microlens-", "ninerec-", "morec-", "mmsr")  # tests/models/test_paper_presets.py
OWN = {  # scenarios that a user writes into a file of his own
    "captioned": ["image_caption"],
    "joined": ["joined", "cover"],
}
# `python -m` for several commands, in one process: each process would import torch for seconds.
IN_TURN = """
import runpy, sys
if __name__ == "__main__":
    for module, *words in {commands}:
        sys.argv = [module, *words]
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as ended:
            assert not ended.code, words
"""
SOURCES = {  # what the towers of some scenarios read
    "raw-video": ["title", "frames"],
    "captioned": ["image_caption"],
    "joined": ["concat:title+video_caption", "cover"],
}


@pytest.fixture(scope="module")
def dataset(
    synth_dump: Path, tiny_bert: Path, tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("built") / "dataset"
    text = EncodeConfig(encoder=str(tiny_bert), pooling="mean")
    image = EncodeConfig(encoder=str(tiny_vit))
    own = {"title": text, **{name: replace(image, source=name) for name in ("cover", "frames")}}
    prep.build(synth_dump, folder, PrepConfig(media=MediaConfig(workers=1), encode=own))
    titles = zip(*open_dataset(folder).items.select(["item_id", "title"]), strict=True)
    said = {id_.as_py(): f"somebody shows {title}" for id_, title in titles}
    captions = {}
    for name in ("image_caption", "video_caption"):
        write_captions(folder, name, {id_: f"{name}: {words}" for id_, words in said.items()})
        captions[name] = replace(text, source=name)
    captions["joined"] = replace(text, source="concat:title+video_caption")
    prep.encode(folder, PrepConfig(encode={**own, **captions}))
    return folder


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, towers in OWN.items():
        (folder / f"{name}.yaml").write_text(f"towers: [{', '.join(towers)}]\n")
    for name in [*PRESETS, *OWN]:
        scenario = name if name in PRESETS else str(folder / f"{name}.yaml")
        arguments = ["--config", scenario, "--data", str(dataset), "--output", str(folder / name)]
        train(parse_run_config([*arguments, "--train.epochs", "2"]))
    return folder


def test_every_preset_is_here() -> None:
    of_papers = {name for name in presets() if name.startswith(PAPERS) or name.endswith("-recbole")}
    imported = {"face-caption"}  # its captions come from a file: prep/captioners/test_imported.py
    others = of_papers | set(GENERAL) | imported
    assert {*PRESETS, *RECIPES, *OVERLAYS} == set(presets()) - others | {"id-recbole"}


@pytest.mark.parametrize("scenario", [*PRESETS, *OWN])
def test_every_scenario_goes_from_dump_to_recommendations(
    runs: Path, dataset: Path, scenario: str
) -> None:
    data = open_dataset(dataset)
    model = models.load(runs / scenario)
    assert model.config.towers == {**PRESETS, **OWN}[scenario]
    table = model.recommend([data.item_ids.ids[:3]], k=5)
    assert len(set(table.column("item_id").to_pylist())) == 5
    assert not set(table.column("item_id").to_pylist()) & set(data.item_ids.ids[:3])
    report = json.loads((runs / scenario / "metrics" / "test.json").read_text())
    assert report["users"] == len(data.splits().user_ids) == 60


@pytest.mark.parametrize("scenario", ["all-towers", "joined"])
def test_live_states_give_the_item_embeddings_of_stored_ones(runs: Path, scenario: str) -> None:
    stored = models.load(runs / scenario)
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


@pytest.mark.parametrize("scenario", ["raw-video", "captioned", "joined"])
def test_live_states_know_the_same_twins_as_stored_ones(runs: Path, scenario: str) -> None:
    stored = models.load(runs / scenario)
    stored.config.states = "live"
    twins = make_features(stored.config, stored.dataset).same_as()
    assert torch.equal(twins, stored.features.same_as())
    rows = zip(
        *(stored.dataset.source(name).to_pylist() for name in SOURCES[scenario]), strict=True
    )
    distinct = len(set(map(repr, rows)))
    assert len(twins.unique()) == 1 + distinct  # and padding


def test_live_states_train(dataset: Path, tmp_path: Path) -> None:
    arguments = ["--config", "all-towers", "--data", str(dataset), "--train.epochs", "1"]
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


def test_captions_that_others_have_replaced_are_refused(
    dataset: Path, runs: Path, tmp_path: Path, tiny_bert: Path
) -> None:
    """Neither live, nor after they were encoded again, are they what a run was trained on."""
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    ids = open_dataset(copy).item_ids.ids
    shutil.rmtree(copy / "captions" / "image_caption")
    write_captions(copy, "image_caption", dict.fromkeys(ids, "another"), model="another")
    config = models.load(runs / "captioned").config
    config.states = "live"
    with pytest.raises(UserError, match=r"tower 'image_caption': its captions are image_c"):
        make_features(config, open_dataset(copy))
    shutil.rmtree(copy / "states" / "image_caption")
    tower = EncodeConfig(encoder=str(tiny_bert), pooling="mean", source="image_caption")
    prep.encode(copy, PrepConfig(encode={"image_caption": tower}))
    run = Path(shutil.copytree(runs / "captioned", tmp_path / "run"))
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace(str(dataset.resolve()), str(copy)))
    with pytest.raises(UserError, match=r"trained on tower image_caption .*captions=image_caption"):
        models.load(run)


def test_a_scenario_with_a_tower_that_is_not_stored_names_those_that_are(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("towers: [title, face_caption]\n")
    words = ["--config", str(tmp_path / "mine.yaml"), "--data", str(dataset)]
    stored = ", ".join(map(repr, sorted({*PRESETS["all-towers"], "joined"})))
    with pytest.raises(UserError, match=rf"tower 'face_caption' \(stored: \[{stored}\]\)"):
        train(parse_run_config([*words, "--output", str(tmp_path / "run")]))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_installed_wheel_does_the_main_job_outside_the_repository(tmp_path: Path) -> None:
    tree = tmp_path / "tree"  # a copy: building leaves files behind
    for name in ("toolkit", "prep", "models"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", *LICENCES):
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
    (metadata,) = site.glob("versa_toolkit-*.dist-info")
    assert sorted(path.name for path in (metadata / "licenses").iterdir()) == sorted(LICENCES)
    work = tmp_path / "elsewhere"
    work.mkdir()
    environment = {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}

    def python(*arguments: str) -> str:
        return run([sys.executable, *arguments], work, **environment)

    where = "import toolkit, prep, models; print(toolkit.__file__, prep.__file__, models.__file__)"
    assert python("-c", where).count(str(site)) == 3
    launch = ["accelerate.commands.launch", "--num_processes", "1", "-m", "models.train"]
    options = ["--config", "all-towers", "--data", "data", "--output", "run", "--train.epochs", "1"]
    commands = [
        ["prep", "synth", "dump", "--items", "24", "--users", "40"],
        ["prep", "build", "dump", "data"],
        ["prep", "check", "data"],
        [*launch, *options],
        ["models", "evaluate", "run", "--protocol", "clean"],
        ["models", "recommend", "run", "-k", "3", "--output", "best.arrow"],
        ["models", "report", "run", "--output", "report.html"],  # its look is in the wheel too
    ]
    assert "HR@10" in python("-c", IN_TURN.format(commands=commands))
    table = pyarrow.ipc.open_file(work / "best.arrow").read_all()
    assert table.num_rows == 40 * 3
    assert "<script>" in (work / "report.html").read_text()


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
