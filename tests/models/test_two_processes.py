"""Trained encoders in two processes, whole (DDP) and sharded (FSDP2), are those of one process with the joined batch."""

import io
import json
from pathlib import Path

import forked
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tiny_dataset import ITEMS, walks, write_dataset

from models.config import parse_run_config
from models.runs.model_files import read_weights
from models.train import train
from models.training.log import read_log
from toolkit import schema
from toolkit.store import Table

pytestmark = pytest.mark.slow
BROKEN, ABSENT = 9, 7
Words = dict[str, list[str]]


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (4 * number, 255 - 4 * number, 9 * number % 255)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 users, so that the last of three steps has one; an item without a cover, and one whose cover is broken."""
    folder = tmp_path_factory.mktemp("data") / "raw"
    write_dataset(folder, walks(users=33), items=ITEMS)
    rows = [
        {**dict.fromkeys(schema.COVERS.names), "status": "ok", "item_id": f"i{n}",
         "image": jpeg(n) if n != BROKEN else b"no JPEG"}
        for n in range(1, ITEMS + 1) if n != ABSENT
    ]  # fmt: skip
    Table(folder / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    return folder


@pytest.fixture(scope="module")
def words(data: Path, tiny_bert: Path, tiny_vit: Path) -> Words:
    """The arguments of each run, but for its folder and batch size; without dropout."""
    base = ["--item=encoders", f"--data={data}", "--train.trackers=[]", "--train.log_every_steps=1", "--train.epochs=1",
            "--side.embedding_dim=16", "--sequence.max_len=5", "--items.dropout=0", "--sequence.dropout=0",
            "--train.negatives=global"]  # fmt: skip
    title = [f"--encoders.title.encoder={tiny_bert}", "--encoders.title.pooling=mean", "--encoders.title.dropout=0"]  # fmt: skip
    cover = [f"--encoders.cover.encoder={tiny_vit}", "--encoders.cover.dropout=0"]
    full = [*base, "--towers=[title, cover]", *title, *cover, "--train.clip_norm=0.5"]
    lora = [*base, "--towers=[title]", *title, "--adapt=lora"]
    return {
        "full": full,
        "cached": [*full, "--train.items_at_once=5", "--train.activation_checkpointing=true"],
        "tokens": [
            *full,
            "--train.items_at_once=5",
            "--fusion.kind=co-attention",
            "--fusion.dropout=0",
        ],
        "lora": [*lora, "--train.epochs=2"],
        "lora-cached": [*lora, "--train.epochs=2", "--train.items_at_once=6"],
        # In the last step the second process has no item.
        "local": [*base, "--towers=[cover]", *cover, "--train.negatives=local"],
    }


def launch(folder: Path, runs: list[list[str]], *options: str) -> list[str]:
    """Trains the runs in two processes of one launch; what they print, by line."""
    file, log = folder / "runs.json", folder / "told"
    file.write_text(json.dumps([[*run, "--train.batch_size=8"] for run in runs]))
    forked.run_two("train_several", str(file), log=log, options=options)
    return log.read_text().splitlines()


@pytest.fixture(scope="module")
def alone(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`full`, `tokens` and `lora` in one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("full", "tokens", "lora"):
        arguments = [*words[name], "--train.batch_size=16", f"--output={folder / name}"]
        train(parse_run_config(arguments))
    return folder


def assert_same(run: Path, other: Path) -> None:
    losses = [[x["loss"] for x in read_log(path) if "loss" in x] for path in (run, other)]
    assert len(losses[1]) >= 3
    np.testing.assert_allclose(*losses, atol=1e-5)
    ours, theirs = (read_weights(path / "model/model.safetensors").tensors for path in (run, other))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=0)


def test_two_processes_with_and_without_the_gradient_cache_are_one(
    words: Words, alone: Path, tmp_path: Path
) -> None:
    names = ["full", "cached", "lora", "lora-cached", "local"]
    told = launch(
        tmp_path, [[*words[name], f"--output={tmp_path / name}"] for name in names], "--multi_gpu"
    )
    assert_same(tmp_path / "full", alone / "full")
    assert_same(tmp_path / "cached", alone / "full")
    assert_same(tmp_path / "lora", alone / "lora")
    assert_same(tmp_path / "lora-cached", alone / "lora")
    assert all(np.isfinite(x["loss"]) for x in read_log(tmp_path / "local") if "loss" in x)
    said = [line for line in told if line.startswith("cover: ")]
    assert [f"1 of {ITEMS} items have no source" in line for line in said] == [True, False] * 3
    assert all(
        f"1 of {ITEMS} items cannot be decoded, such as that of 'i9'" in x for x in said[1::2]
    )


def test_sharded_encoders_train_save_and_resume_as_whole_ones(
    words: Words, alone: Path, tmp_path: Path
) -> None:
    half = [*words["lora-cached"], f"--output={tmp_path / 'lora'}"]
    runs = [
        [*words["cached"], f"--output={tmp_path / 'full'}"],
        [*words["local"], f"--output={tmp_path / 'local'}"],
        [*words["tokens"], f"--output={tmp_path / 'tokens'}"],
        [*half, "--train.epochs=1"],
        [*half, "--resume"],
    ]
    told = launch(tmp_path, runs, "--use_fsdp", "--fsdp_version", "2")
    assert any("weights of encoders are sharded over 2 processes" in line for line in told)
    assert_same(tmp_path / "full", alone / "full")
    assert_same(tmp_path / "tokens", alone / "tokens")
    assert_same(tmp_path / "lora", alone / "lora")
    for name in ("full", "lora"):  # whole tensors of what trains, and nothing of the base
        for part in ("model", "checkpoints"):
            ours, theirs = (
                sum(x.stat().st_size for x in (path / name / part).rglob("*.safetensors"))
                for path in (tmp_path, alone)
            )
            assert ours <= 1.3 * theirs  # random states of two processes in a checkpoint
