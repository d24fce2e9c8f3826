"""A share of the training users: nested, counted alone, and without effect on the evaluation."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.config import parse_run_config
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.inputs.sequences import UserSequences
from models.inputs.user_share import shared_users, with_share_of_users
from toolkit import UserError, open_dataset


def test_smaller_shares_are_parts_of_larger_ones() -> None:
    ids = [f"u{number}" for number in range(1000)]
    shares = [shared_users(ids, share, seed=3) for share in (0.01, 0.1, 0.5, 1)]
    assert [int(kept.sum()) for kept in shares] == [10, 100, 500, 1000]
    assert all((few <= many).all() for few, many in pairwise(shares))
    assert 0 < (shares[1] & shared_users(ids, 0.1, seed=4)).sum() < 30  # about 10 by chance
    # A user's place does not depend on the users beside it.
    half = shared_users(ids[::2], 0.1, seed=3)
    assert (half & shares[2][::2]).sum() == half.sum()
    assert shared_users(ids[:3], 0.01, seed=3).sum() == 1


def test_only_the_share_is_trained_on_and_all_are_evaluated(dataset: Path) -> None:
    splits = open_dataset(dataset).splits()
    part = with_share_of_users(splits, 0.1, seed=0)
    trained = part.train.any(axis=1)
    assert trained.sum() == 12 and (part.train[trained] == splits.train[trained]).all()
    items, counts = np.unique(part.train[trained], return_counts=True)
    assert all(part.train_counts[i] == n for i, n in zip(items, counts, strict=True) if i)
    assert part.train_counts.sum() == (part.train != 0).sum()
    assert part.test is splits.test and part.valid is splits.valid
    batches = Batches(part, ItemNumbers(60), sequences=UserSequences(part), batch_size=5, seed=1)
    assert len(batches) == 3
    users = np.concatenate([batches.users(1, number, 0) for number in range(3)])
    assert sorted(users) == trained.nonzero()[0].tolist()
    assert with_share_of_users(splits, 1, seed=0) is splits


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--train.user_share=0"], r"train\.user_share is 0\.0; it must be in \(0, 1\]"),
        (["--train.user_share=1.5"], r"train\.user_share is 1\.5"),
        (["--train.user_share=0.1", "--recommender.kind=dssm"], "none to evaluate the others with"),
    ],
)
def test_shares_that_mean_nothing_are_refused(more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_run_config(["--data=x", "--output=y", *more])
