"""Runs that begin with another run: recorded, resumed without it, zero-shot, and with adapters."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_dataset import walks, write_dataset
from torch import Tensor

import models
from models.config import parse_run_config
from models.runs.pretrained import from_pretrained
from models.train import train
from models.transfer.initial import initial_weights
from toolkit import UserError
from toolkit.json_files import read_json, write_json

FAST = ["--item=pooled", "--towers=[title]", "--side.embedding_dim=16", "--items.layers=0", "--train.trackers=[]",
        "--train.batch_size=64", "--sequence.max_len=5"]  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    towers = {"title": torch.randn(50, 3, 16, generator=torch.Generator().manual_seed(5)).numpy()}
    folder = tmp_path_factory.mktemp("target") / "data"
    return write_dataset(folder, walks(items=50, users=40), items=50, towers=towers)


def run(data: Path, output: Path, *more: str) -> Path:
    train(parse_run_config([*FAST, f"--data={data}", f"--output={output}", *more]))
    return output


@pytest.fixture(scope="module")
def source(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(dataset, tmp_path_factory.mktemp("source") / "first", "--train.epochs=1")


@pytest.fixture(scope="module")
def zero_shot(source: Path, target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source on the target, not trained there."""
    output = tmp_path_factory.mktemp("zero") / "shot"
    return run(target, output, f"--init_from={source}", "--train.epochs=0")


def test_without_epochs_the_initial_model_is_evaluated_and_kept(
    source: Path, zero_shot: Path, target: Path
) -> None:
    theirs, ours = (from_pretrained(x / "model").state_dict() for x in (source, zero_shot))
    assert all(torch.equal(ours[name], x) for name, x in theirs.items())
    for split in ("valid", "test"):
        assert read_json(zero_shot / "metrics" / f"{split}.json")["users"] == 40
        assert (zero_shot / "ranks" / f"{split}.arrow").exists()
    card = (zero_shot / "model" / "README.md").read_text()
    assert "The weights are the initial ones: no epoch improved them." in card
    assert len(models.load(zero_shot).recommend([["i1", "i2"]], k=3)) == 3


def test_the_lineage_is_recorded_with_that_of_the_source(
    source: Path, zero_shot: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = read_json(zero_shot / "environment.json")["lineage"]
    digest = read_json(source / "model" / "config.json")["weights_sha256"]
    assert (recorded["source"], [recorded["weights_sha256"]]) == (str(source), digest)
    assert recorded["parts"] == ["all"] and recorded["lineage"] is None
    assert {*recorded["taken"]} == {"title", "sequence"} and not recorded["refused"]
    assert recorded["taken"]["title"] == {
        "item_encoder.heads.title.first.bias": [16],
        "item_encoder.heads.title.first.weight": [16, 16],
    }
    more = [f"--init_from={zero_shot}", "--init_parts=sequence", "--sequence.adapt=houlsby"]
    third = run(target, tmp_path / "third", *more, "--train.epochs=0")
    assert read_json(third / "environment.json")["lineage"]["lineage"] == recorded
    card = (third / "model" / "README.md").read_text()
    assert "## Lineage" in card and "before that: first" in card and "shot" in card
    out, err = capsys.readouterr()
    assert f"initial weights: {zero_shot} (SHA-256 " in out
    assert "  taken: sequence (" in out and "  begins fresh: title (" in out
    assert "keeps random weights" not in err
    # Adapters begin as the identity on the sequence encoder that moved.
    encoders = [from_pretrained(x / "model").sequence_encoder for x in (source, third)]
    given = torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(*(encoder(*given) for encoder in encoders), atol=1e-6, rtol=1e-6)
    trains = {n.split(".")[0] for n, x in encoders[1].named_parameters() if x.requires_grad}
    assert trains == {"adapters"}


def test_a_run_resumes_without_its_source(source: Path, target: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(source, tmp_path / "moved")
    more = [f"--init_from={moved}", "--train.seed=4"]
    whole = run(target, tmp_path / "whole", *more, "--train.epochs=2")
    part = run(target, tmp_path / "part", *more, "--train.epochs=1")
    shutil.rmtree(moved)
    run(target, part, *more, "--train.epochs=2", "--resume")
    states = [_newest(folder) for folder in (whole, part)]
    assert all(torch.equal(states[1][name], x) for name, x in states[0].items())
    assert (part / "environment.json").exists() and models.load(part)
    lineage = [read_json(folder / "environment.json")["lineage"] for folder in (whole, part)]
    assert lineage[0] == lineage[1]


def _newest(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(sorted((folder / "checkpoints").iterdir())[-1])


def test_before_its_first_checkpoint_a_run_reads_the_same_source_again(
    source: Path, zero_shot: Path, target: Path, tmp_path: Path
) -> None:
    killed = shutil.copytree(zero_shot, tmp_path / "killed")
    shutil.rmtree(killed / "checkpoints")
    more = [f"--init_from={source}", "--train.epochs=0", "--resume"]
    run(target, killed, *more)
    shutil.rmtree(killed / "checkpoints")
    environment = read_json(killed / "environment.json")
    environment["lineage"]["weights_sha256"] = "another"
    write_json(killed / "environment.json", environment)
    with pytest.raises(UserError, match="the run began with weights whose SHA-256 is another"):
        run(target, killed, *more)
    assert not initial_weights("", ["all"], killed, resume=False).record


def test_an_untrained_model_can_be_measured(target: Path, tmp_path: Path) -> None:
    folder = run(target, tmp_path / "run", "--train.epochs=0")
    assert "lineage" not in read_json(folder / "environment.json")
    metrics = read_json(folder / "metrics" / "test.json")["metrics"]
    assert metrics["HR@10"]["value"] < 0.6  # 10 of 50 items by chance: 0.2 to 0.3
    more = ["--train.epochs=1", "--resume"]
    run(target, folder, *more)
    epochs = [line["epoch"] for line in models.runs.files.log_lines(folder) if "valid" in line]
    assert epochs == [0, 1]
