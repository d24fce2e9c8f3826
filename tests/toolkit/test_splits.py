import numpy as np
import pyarrow as pa
import pytest

from toolkit import UserError
from toolkit.schema import INTERACTIONS
from toolkit.splits import Protocol, make_splits


def interactions(histories: list[list[int]]) -> pa.Table:
    rows = [
        (f"u{user}", user, item, None, position)
        for user, history in enumerate(histories, start=1)
        for position, item in enumerate(history)
    ]
    return pa.table(list(zip(*rows, strict=True)), schema=INTERACTIONS)


def test_splits_of_a_short_a_full_and_a_long_history() -> None:
    long = list(range(1, 21))  # 20 items; the last 2 + 3 = 5 are kept
    cut = make_splits(interactions([[1, 2, 3, 4], [5, 6, 7, 8, 9], long]), items=30, max_len=2)
    assert cut.user_ids == ["u2", "u3"]  # four interactions are too few
    assert cut.train.tolist() == [[5, 6, 7], [16, 17, 18]]
    assert cut.valid.inputs.tolist() == [[6, 7], [17, 18]]
    assert cut.valid.targets.tolist() == [8, 19]
    assert cut.test.inputs.tolist() == [[7, 8], [18, 19]]
    assert cut.test.targets.tolist() == [9, 20]
    assert cut.catalogue.tolist() == [5, 6, 7, 8, 9, 16, 17, 18, 19, 20]
    assert cut.interactions == 10
    assert cut.train_counts.nonzero()[0].tolist() == [5, 6, 7, 16, 17, 18]


def test_a_history_shorter_than_the_window_is_padded_on_the_left() -> None:
    cut = make_splits(interactions([[5, 6, 7, 8, 9]]), items=9, max_len=10)
    assert cut.train.tolist() == [[0] * 8 + [5, 6, 7]]
    assert cut.test.inputs.tolist() == [[0] * 6 + [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("protocol", "masked"),
    [("paper", [8, 9, 6, 3]), ("clean", [1, 3, 8, 9, 6, 3]), ("unmasked", [])],
)
def test_protocols_differ_in_what_they_mask_and_in_nothing_else(
    protocol: Protocol, masked: list[int]
) -> None:
    table = interactions([[1, 3, 8, 9, 6, 3, 3]])  # the target, 3, repeats
    ours, paper = (make_splits(table, items=9, protocol=p, max_len=2) for p in (protocol, "paper"))
    assert ours.test.masked(np.array([0])).tolist() == [masked]
    assert ours.test.target_can_repeat is (protocol != "paper")
    assert ours.catalogue.tolist() == paper.catalogue.tolist() == [3, 6, 8, 9]
    assert ours.train.tolist() == paper.train.tolist()


def test_against_a_slow_reference_on_random_histories() -> None:
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 40, size=rng.integers(1, 30)).tolist() for _ in range(200)]
    cut = make_splits(interactions(histories), items=40, max_len=7)
    kept = [history[-10:] for history in histories if len(history) >= 5]
    assert len(cut.user_ids) == len(kept)
    for row, history in enumerate(kept):
        assert [i for i in cut.train[row] if i] == history[:-2]
        assert [i for i in cut.valid.inputs[row] if i] == history[:-2][-7:]
        assert [i for i in cut.test.inputs[row] if i] == history[:-1][-7:]
        assert cut.test.targets[row] == history[-1]
        masked = cut.test.masked(np.array([row]))[0]
        assert [i for i in masked if i] == history[:-1]
    assert cut.catalogue.tolist() == sorted({item for history in kept for item in history})
    assert cut.train_counts.sum() == sum(len(history) - 2 for history in kept)


@pytest.mark.parametrize(
    ("histories", "options", "message"),
    [
        ([[1, 2, 3, 4]], {}, "no user has 5 interactions"),
        ([[1, 2, 3, 4, 5]], {"protocol": "fair"}, "'fair' is unknown"),
        ([[1, 2, 3, 4, 5]], {"max_len": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_split_is_refused(
    histories: list[list[int]], options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(interactions(histories), items=9, **options)
