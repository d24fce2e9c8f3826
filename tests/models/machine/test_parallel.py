"""Two processes compute the one-process result: the mean over all positions, with the negatives of all processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import torch
from statistics_work import train_an_epoch
from tiny_dataset import ITEMS, walks, write_dataset

import models
from models.config import parse_run_config
from models.inputs.batches import Batches, share_of
from models.inputs.features import ItemNumbers
from models.train import train
from toolkit import open_dataset

SETTINGS = ["--config=raw-image", "--train.epochs=2", "--train.log_every_steps=1", "--sequence.dropout=0",
            "--sequence.max_len=5", "--side.embedding_dim=16"]  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 49 users of unequal lengths: with 2 x 8 at a step, the last step has one user for two processes."""
    rng = np.random.default_rng(1)
    towers = {"title": rng.normal(size=(ITEMS, 3, 16)), "cover": rng.normal(size=(ITEMS, 3, 24))}
    folder = tmp_path_factory.mktemp("data") / "uneven"
    return write_dataset(folder, walks(users=49), items=ITEMS, towers=towers)


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["in-batch", "full", "sampled"])
def test_two_processes_with_global_negatives_are_one_with_the_joined_batch(
    uneven: Path, tmp_path: Path, loss: str
) -> None:
    words = [*SETTINGS, f"--data={uneven}", f"--train.loss={loss}", "--train.sampled_items=20"]
    shared = ["--train.batch_size=8", "--train.negatives=global", f"--output={tmp_path / 'two'}"]
    forked.run_two("models.train", *words, *shared, log=tmp_path / "told")
    train(parse_run_config([*words, "--train.batch_size=16", f"--output={tmp_path / 'one'}"]))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 8
    np.testing.assert_allclose(two, one, atol=1e-5)
    ours, theirs = (models.load(tmp_path / n).model.state_dict() for n in ("two", "one"))
    for (
        name
    ) in theirs:  # at the papers' small rates: Adam takes steps of rounding where a gradient is 0
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=0)


@pytest.mark.parametrize("negatives", ["local", "global"])
def test_weights_make_the_mean_over_all_positions(uneven: Path, negatives: str) -> None:
    data = open_dataset(uneven).splits(max_len=5)
    both = [
        Batches(data, ItemNumbers(ITEMS), batch_size=8, seed=0, rank=r, world=2, negatives=negatives)  # type: ignore[arg-type]
        for r in (0, 1)
    ]  # fmt: skip
    users = 0
    for first, second in zip(*(list(b.epoch(1)) for b in both), strict=True):
        positions = [len(first.rows), len(second.rows)]
        for batch, own in zip((first, second), positions, strict=True):
            assert batch.weights.tolist() == pytest.approx([2 / sum(positions)] * own)
        users += int((first.inputs != 0).any(1).sum() + (second.inputs != 0).any(1).sum())
    assert users == 49 and positions[1] == 0


def test_every_process_encodes_an_equal_share_and_none_is_left_out() -> None:
    shares = [share_of(torch.arange(10, 17), rank, 3) for rank in range(3)]
    assert [share.tolist() for share in shares] == [[10, 11, 12], [13, 14, 15], [16, 16, 16]]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_at_one_checkpoint(uneven: Path, tmp_path: Path) -> None:
    """After which both go on from it."""
    words = [*SETTINGS, f"--data={uneven}", "--train.batch_size=4", "--train.epochs=40",
             "--train.patience=40", "--train.trackers=[]", f"--output={tmp_path / 'run'}"]  # fmt: skip
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "models.train", *words],
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log, deadline = tmp_path / "run" / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b'"loss"') >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    ranks = {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}
    ranks["1"].send_signal(signal.SIGUSR1)
    told, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert told.count("stopped by SIGUSR1 after step") == 1, told
    step = int(max(p.stem for p in (tmp_path / "run" / "checkpoints").iterdir())[-8:])
    assert f"after step {step:,}," in told
    before = losses(tmp_path / "run")
    assert len(before) == step  # of which none is made again
    epochs = step // 7 + 1
    again = [*words, f"--train.epochs={epochs}", "--resume"]
    forked.run_two("models.train", *again, log=tmp_path / "told")
    after = losses(tmp_path / "run")
    assert after[:step] == before and len(after) == 7 * epochs


@pytest.mark.slow
def test_after_an_epoch_all_processes_have_the_statistics_of_the_first(tmp_path: Path) -> None:
    """Otherwise they evaluate other models than the one that is saved."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    forked.call_two(train_an_epoch, port, str(tmp_path / "out"))
    first, second = (torch.load(f"{tmp_path / 'out'}-{rank}") for rank in (0, 1))
    # The batches of the first process have the means (3, 4), (4, 5) and (5, 6); the momentum is 0.1.
    means = torch.tensor([[3.0, 4.0], [4.0, 5.0], [5.0, 6.0]])
    expected = (torch.tensor([0.081, 0.09, 0.1])[:, None] * means).sum(0)
    torch.testing.assert_close(first["layers.0.running_mean"], expected)
    for name, buffer in first.items():
        assert torch.equal(buffer, second[name]), name
