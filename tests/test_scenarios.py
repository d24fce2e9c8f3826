"""`benchmarks/scenarios.py` (the value of captions) with one seed; benchmarks/LOG.md has its figures.

The dump has no truth and its items are renamed before prep reads it, so captions can only contain what the model saw.
"""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.scenarios import SCENARIOS, STEPS, describe_one, gains, oracle_gain, prepare, train
from prep.synth.truth import ATTRIBUTES
from toolkit import open_dataset

ITEMS, USERS, SEED = 120, 1000, 1


def run_here(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE …` in this process: each process of its own would import torch for seconds."""
    _, _, module, *words = command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *words])
        status = import_module({"prep": "prep.cli"}.get(module, module)).main()
    return subprocess.CompletedProcess(command, status)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    work = tmp_path_factory.mktemp("scenarios")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.scenarios.subprocess", SimpleNamespace(run=run_here))
        dataset = prepare(work, SEED, items=ITEMS, users=USERS)
        for name, words in SCENARIOS.items():
            train(dataset, work / name, [*words, "--train.seed", str(SEED), "--train.epochs", "10"])
    users = {name: gains(work / name) for name in SCENARIOS}
    oracles = {
        "oracle, motion unseen": oracle_gain(work, dataset, ("shape", "colour")),
        "oracle": oracle_gain(work, dataset, ATTRIBUTES),
    }
    return work, describe_one({**users, **oracles})


@pytest.mark.slow
def test_nothing_but_pixels_can_tell(found: tuple[Path, dict]) -> None:
    work, _ = found
    assert not list(work.glob("dump/**/truth.json"))
    items = open_dataset(work / "dataset").items.column("item_id").to_pylist()
    assert min(map(int, items)) >= 1_000_000  # names drawn at random
    captions = open_dataset(work / "dataset").captions("video_caption").column("text").to_pylist()
    shuffled = open_dataset(work / "dataset").captions("shuffled_caption").column("text")
    assert sorted(shuffled.to_pylist()) == sorted(captions)
    assert np.mean([a == b for a, b in zip(captions, shuffled.to_pylist(), strict=True)]) < 0.1


@pytest.mark.slow
def test_video_captions_beat_image_captions_beat_titles(found: tuple[Path, dict]) -> None:
    _, report = found
    value = report["NDCG@10"]
    assert value["text-only"] < value["image-caption"] < value["video-caption"] < value["oracle"]
    for a, b in STEPS[:3]:
        step = report["steps"][f"{b} - {a}"]
        assert step["low"] > 0 and step["p_value"] < 0.05, (a, b)


@pytest.mark.slow
def test_captions_of_other_items_are_worth_little(found: tuple[Path, dict]) -> None:
    assert found[1]["share_recovered_by_shuffled"] < 0.25
