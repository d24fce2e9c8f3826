"""Versa against the plain reference of `benchmarks/reference`, which is written only from the equations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_dataset import walks, write_dataset

from benchmarks.pair import Pair, make_pair
from benchmarks.reference.files import write_files
from benchmarks.reference.ranking import encode_items, rank_users
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from toolkit import metrics

ITEMS, STEPS = 60, 12


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both trained for a few steps, dropout off, on states that no two items share."""
    rng = np.random.default_rng(1)
    towers = {name: rng.normal(size=(ITEMS, 3, 16)) for name in ("title", "cover")}
    histories = walks(users=90, items=ITEMS)
    histories[0] = [5, 6, 5, 7, 6, 5, 7]  # repeats within a sequence
    histories[1] = [3] * 14  # nothing but a repeat
    folder = tmp_path_factory.mktemp("reference")
    data = write_dataset(folder / "data", histories, items=ITEMS, towers=towers)
    return make_pair(data, folder / "files", ["title", "cover"], batch_size=32, dropout=0.0)


def test_every_step_has_the_same_loss(pair: Pair) -> None:
    batches = [pair.sequences(step % len(pair.batches)) for step in range(STEPS)]
    both = np.array([[pair.step_versa(batch), pair.step_reference(batch)] for batch in batches])
    assert np.abs(both[:, 0] - both[:, 1]).max() < 1e-5
    assert both[-1, 0] < both[0, 0] - 0.1  # it did train


@pytest.mark.parametrize("protocol", ["paper", "clean", "unmasked"])
def test_the_same_metrics_for_every_user(pair: Pair, protocol: str) -> None:
    splits = pair.dataset.splits(protocol=protocol)  # type: ignore[arg-type]
    pair.versa.eval(), pair.reference.eval()
    catalogue = encode_catalogue(pair.versa, pair.features, splits.catalogue, device="cpu")
    ours = rank_targets(pair.versa, catalogue, splits.test)
    items = encode_items(pair.reference, pair.files, ITEMS)
    rows = np.arange(len(splits.test))
    theirs = rank_users(pair.reference, items, splits.catalogue, splits.test, rows)
    for name, metric in metrics.METRICS.items():
        for k in (5, 10, 20):
            assert metric(ours, k).tolist() == metric(theirs, k).tolist(), (name, k)
    assert protocol == "paper" or ours.tolist() == theirs


def test_the_reference_reads_two_towers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has two towers, text and image; got \['title'\]"):
        write_files(tmp_path, {"title": torch.zeros(3, 2, 4)})
