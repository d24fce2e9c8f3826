"""Accumulated gradients equal those of the larger batch; weight decay applies only to matrices."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tiny_dataset import ITEMS, write_dataset

import models
from models.config import parse_run_config, presets
from models.machine.launcher import own_state, start_accelerator
from models.parameters import decayed
from models.prepare import Training, prepare, settled
from models.train import train
from models.training.optimizer import make_optimizer

WORDS = ["--config=id", "--train.loss=full", "--sequence.dropout=0", "--sequence.max_len=5",
         "--train.epochs=2", "--train.trackers=[]"]  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 users of very different lengths: batches of 4 make 7, of which the last has 3."""
    histories = [
        [(7 * user + step) % ITEMS + 1 for step in range(5 + user % 4)] for user in range(27)
    ]
    return write_dataset(tmp_path_factory.mktemp("uneven") / "data", histories, items=ITEMS)


def prepared(data: Path, *more: str) -> Training:
    words = [*WORDS, f"--data={data}", "--output=none", *more]
    with torch.random.fork_rng():
        return prepare(parse_run_config(words), Accelerator(cpu=True))


def test_a_groups_gradients_are_those_of_its_batches_in_one(uneven: Path) -> None:
    parts = prepared(uneven, "--train.batch_size=4", "--train.accumulation=3")
    whole = prepared(uneven, "--train.batch_size=12")
    batches = list(parts.batches.epoch(1))
    assert len(batches) == 7
    ends = [parts.batches.ends_update(number) for number in range(7)]
    assert ends == [False, False, True, False, False, True, True]
    for group, batch in enumerate(whole.batches.epoch(1)):
        for training in (parts, whole):
            training.model.zero_grad()
        small = batches[3 * group : 3 * group + 3]
        assert sum(one.share for one in small) == pytest.approx(1)
        loss = sum(parts.model(one) * one.share for one in small)
        loss.backward()
        expected = whole.model(batch)
        expected.backward()
        torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
        for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)
    positions = [len(one.rows) for one in batches]
    assert len({one.share for one in batches[:3]}) > 1  # not a third each
    assert batches[0].share == pytest.approx(positions[0] / sum(positions[:3]))


def test_an_accumulated_run_is_the_run_of_the_larger_batch(uneven: Path, tmp_path: Path) -> None:
    for name, more in {
        "parts": ["--train.batch_size=4", "--train.accumulation=3"],
        "whole": ["--train.batch_size=12"],
    }.items():
        words = [*WORDS, f"--data={uneven}", f"--output={tmp_path / name}", *more]
        train(parse_run_config(words))
    ours, theirs = (models.load(tmp_path / name).model.state_dict() for name in ("parts", "whole"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=0)


def test_accelerates_own_division_is_off(uneven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "3")
    config = settled(parse_run_config([*WORDS, f"--data={uneven}", "--output=none"]))
    with own_state():
        accelerator = start_accelerator(mixed_precision=config.train.mixed_precision, cpu=True)
        value = torch.ones((), requires_grad=True)
        accelerator.backward(value * 2)
    assert config.train.accumulation == 3 and float(value.grad or 0) == 2


def test_every_preset_decays_its_matrices_alone(dataset: Path) -> None:
    """Named here by hand, as the networks' files name them; the code asks no name."""
    matrices = {"down", "up", "head", "project", "fusion", "query", "key", "value", "output", "expand", "contract", "projections"}  # fmt: skip
    for preset in ("id", "text-only", "raw-image"):
        words = [f"--config={preset}", f"--data={dataset}", "--output=none", "--sequence.max_len=5"]
        with torch.random.fork_rng():
            model = prepare(parse_run_config(words), Accelerator(cpu=True)).model
        found = decayed(model)
        for name, parameter in model.named_parameters():
            owner, _, last = name.rpartition(".")
            # Projections between widths lie in a list, each in a sequence.
            expected = last == "weight" and bool(
                matrices & {owner.rpartition(".")[2], *owner.split(".")[2:-2]}
            )
            assert (parameter in found) == expected, (preset, name)
    assert {"id", "text-only", "raw-image"} <= set(presets())


def test_adamw_leaves_what_does_not_decay_where_it_is(dataset: Path) -> None:
    words = ["--config=raw-image", f"--data={dataset}", "--output=none", "--sequence.max_len=5",
             "--train.optimizer=adamw", "--train.weight_decay=0.5"]  # fmt: skip
    config = parse_run_config(words)
    with torch.random.fork_rng():
        model = prepare(config, Accelerator(cpu=True)).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    make_optimizer(
        model,
        rates=asdict(config.train.rates),
        name=config.train.optimizer,
        weight_decay=config.train.weight_decay,
    ).step()
    shrunk = {name for name, value in model.named_parameters() if (value < 1).all()}
    kept = {name for name, value in model.named_parameters() if (value == 1).all()}
    assert shrunk | kept == {name for name, _ in model.named_parameters()}
    matrices = decayed(model)
    assert shrunk == {name for name, value in model.named_parameters() if value in matrices}
    assert any("bias" in name for name in kept) and any("norm" in name for name in kept)
