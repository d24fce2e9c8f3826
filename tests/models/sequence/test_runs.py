"""Runs with sequence encoders: resumed bit for bit, loaded, evaluated, and what does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_dataset import ITEMS

import models
from models.config import RunConfig, parse_run_config
from models.evaluate import evaluate
from models.train import train
from toolkit import UserError
from toolkit.json_files import read_json


def config(data: Path, output: Path, *more: str) -> RunConfig:
    words = ["--config=id", f"--data={data}", f"--output={output}", "--sequence.max_len=5",
             "--train.batch_size=16", "--train.rates.base=0.01", "--train.trackers=[]", *more]  # fmt: skip
    return parse_run_config(words)


def newest(run: Path) -> dict[str, torch.Tensor]:
    """Weights, optimizer and random state of the newest checkpoint."""
    return load_file(sorted((run / "checkpoints").iterdir())[-1])


def test_a_resumed_run_equals_the_whole_run_bit_for_bit(dataset: Path, tmp_path: Path) -> None:
    """GRU4Rec with dropout, and negatives drawn for each target."""
    words = ["--sequence.kind=gru4rec", "--sequence.layers=2", "--sequence.dropout=0.3",
             "--train.loss=bce", "--train.negatives_per_target=3"]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(dataset, whole, *words, "--train.epochs=3"))
    for epochs in (1, 3):
        train(config(dataset, parts, *words, f"--train.epochs={epochs}", "--resume"))
    ours, theirs = newest(parts), newest(whole)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert ours.keys() == theirs.keys()
    assert (parts / "ranks/test.arrow").read_bytes() == (whole / "ranks/test.arrow").read_bytes()


def test_bert4rec_is_trained_with_masks_and_ranked_without_them(
    dataset: Path, tmp_path: Path
) -> None:
    """120 users walk along 60 items. Chance is 1/6. The mask is no candidate: columns are items alone."""
    run = tmp_path / "run"
    words = ["--sequence.kind=bert4rec", "--sequence.blocks=1", "--train.objective=masked-item",
             "--train.mask_ratio=0.4", "--train.loss=full", "--train.epochs=16",
             "--train.evaluate_every=16"]  # fmt: skip
    report = train(config(dataset, run, *words))
    assert report["metrics"]["HR@10"]["value"] > 0.5
    assert evaluate(run) == read_json(run / "metrics" / "test.json")
    trained = models.load(run)
    assert len(trained.catalogue.vectors) <= ITEMS
    found = trained.recommend([["i1", "i2", "i3"]], k=ITEMS)
    assert set(found.column("item_id").to_pylist()) <= {f"i{n}" for n in range(1, ITEMS + 1)}
    assert "BERT4Rec, 1 bidirectional blocks of 2 heads" in (run / "model/README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sequence.kind=bert4rec"], "next-item hides no items, but BERT4Rec reads .*masked-item"),
        (["--sequence.kind=gru4rec", "--train.objective=masked-item"], "which GRU4Rec does not support"),
        (["--sequence.kind=ligr", "--sequence.heads=5"], "sequence.kind ligr: .* not divisible by heads 5"),
        (["--train.loss=full", "--train.loss_settings.t=0.5"], "train.loss full .*unexpected keyword argument 't'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_training(
    words: list[str], message: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(dataset, tmp_path / "run", *words))
