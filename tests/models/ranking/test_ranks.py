"""Ranks by counting equal ranks by sorting; ties, masks, duplicates, and controls at chance."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from models import Recommender
from models.inputs.features import ItemNumbers, StoredStates
from models.ranking.catalogue import Catalogue, encode_catalogue
from models.ranking.counting import count_ranks
from models.ranking.ranks import rank_targets
from toolkit import Evaluation, metrics
from toolkit.schema import INTERACTIONS
from toolkit.splits import make_splits
from toolkit.states import StateTable


class Table(nn.Module):
    """An item encoder that is a given table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.table[features["id"]]


class LastItem(nn.Module):
    """A sequence encoder that returns its inputs."""

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        return items


def recommender(table: Tensor) -> Recommender:
    return Recommender(Table(table), LastItem())


def evaluation(rng: np.random.Generator, users: int, items: int, *, can_repeat: bool) -> Evaluation:
    history = rng.integers(1, items + 1, size=users * 8).astype(np.int32)
    starts = np.arange(users) * 8
    return Evaluation(
        inputs=history.reshape(users, 8)[:, 4:7],
        targets=history.reshape(users, 8)[:, 7].copy(),
        history=history,
        starts=starts + 2,
        stops=starts + 7,
        target_can_repeat=can_repeat,
        **one_target_each(users, items),
    )


def one_target_each(users: int, items: int) -> dict[str, Any]:
    """The users of an evaluation with a target of each, all of them trained on, and a catalogue of all items."""
    return {
        "user_ids": [f"u{user}" for user in range(users)],
        "users": np.arange(users),
        "rows": np.arange(users) + 1,
        "catalogue": np.arange(1, items + 1, dtype=np.int32),
    }


def sorted_rank(scores: np.ndarray, target: int, masked: set[int], items: list[int]) -> float:
    """Mid-rank by sorting: the mean of the places that tied items could take."""
    open_items = [i for i in items if i not in masked or i == target]
    values = sorted((scores[i] for i in open_items), reverse=True)
    first = values.index(scores[target]) + 1
    return first + (values.count(scores[target]) - 1) / 2


@pytest.mark.parametrize("can_repeat", [True, False])
def test_counting_equals_sorting_with_ties_and_masks(can_repeat: bool) -> None:
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.integers(-2, 3, size=(41, 3)).astype(np.float32))  # many ties
    model, asked = recommender(table), evaluation(rng, 200, 40, can_repeat=can_repeat)
    items = np.unique(np.concatenate([asked.targets, rng.integers(1, 41, 20)])).astype(np.int32)
    catalogue = encode_catalogue(model, ItemNumbers(40), items, device="cpu")
    ranks = rank_targets(model, catalogue, asked)
    for row, target in enumerate(asked.targets.tolist()):
        scores = (table @ table[asked.inputs[row, -1]]).numpy()
        masked = set(asked.masked(np.array([row]))[0].tolist()) - {0}
        if target in masked and not can_repeat:
            expected = math.inf  # can never hit
        else:
            expected = sorted_rank(scores, target, masked, items.tolist())
        assert ranks[row] == expected, f"user {row}"


def test_the_smallest_and_the_largest_differences_count() -> None:
    one, most, least = 1.0, torch.finfo(torch.float32).max, 2.0**-149  # the least above 0
    rows = [[0.0, least, -least, 0.0], [one, one + 2**-23, one - 2**-24, one], [-most, most, 0, 1]]
    scores = torch.tensor([[0.0, *row] for row in rows])
    every = Catalogue(torch.empty(0), torch.empty(0), torch.ones(5), torch.arange(5))
    before = scores.clone()
    none = (torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    found = count_ranks(scores, torch.ones(3, dtype=torch.long), none, every)
    # Row by row: one above, two equal, one below; one above, one equal, two below; four above.
    assert found.tolist() == [1 + 1 + 2 / 2, 1 + 1 + 1 / 2, 1 + 4]
    assert torch.equal(scores, before)


def test_ranks_do_not_depend_on_how_many_users_are_scored_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    table = torch.from_numpy(rng.integers(-2, 3, size=(41, 3)).astype(np.float32))  # exact sums
    model, asked = recommender(table), evaluation(rng, 50, 40, can_repeat=True)
    everything = np.arange(1, 41, dtype=np.int32)
    catalogue = encode_catalogue(model, ItemNumbers(40), everything, device="cpu")
    at_once = rank_targets(model, catalogue, asked)
    monkeypatch.setattr("models.ranking.ranks.USERS_AT_ONCE", 20)
    monkeypatch.setattr("models.ranking.tiles.TILE_BYTES_CPU", 32 * 7 * 4)  # seven columns
    assert rank_targets(model, catalogue, asked).tolist() == at_once.tolist()


def test_a_repeated_target_never_hits_under_paper_and_can_under_clean() -> None:
    rows = [("u", 1, item, None, position) for position, item in enumerate([1, 2, 3, 4, 5, 4])]
    table = pa.table(list(zip(*rows, strict=True)), schema=INTERACTIONS)
    embeddings = torch.eye(6)
    embeddings[5, 4] = 3.0  # the last input, 5, points at item 4
    ranks = {}
    for protocol in ("paper", "clean", "unmasked"):
        cut = make_splits(table, items=5, protocol=protocol, max_len=3)  # type: ignore[arg-type]
        model = recommender(embeddings)
        catalogue = encode_catalogue(model, ItemNumbers(5), cut.catalogue, device="cpu")
        ranks[protocol] = float(rank_targets(model, catalogue, cut.test)[0])
    # Unmasked, the last input itself scores above the target.
    assert ranks == {"paper": math.inf, "clean": 1.0, "unmasked": 2.0}


def test_masked_targets_never_hit_in_a_catalogue_of_one() -> None:
    rows = [(f"u{user}", user + 1, 1, None, at) for user in range(4) for at in range(6)]
    table = pa.table(list(zip(*rows, strict=True)), schema=INTERACTIONS)
    found = {}
    for protocol in ("paper", "clean"):
        cut = make_splits(table, items=1, protocol=protocol)  # type: ignore[arg-type]
        model = recommender(torch.tensor([[0.0], [1.0]]))
        catalogue = encode_catalogue(model, ItemNumbers(1), cut.catalogue, device="cpu")
        ranks = rank_targets(model, catalogue, cut.test)
        found[protocol] = {m["value"] for m in metrics.summarise(ranks).values()}
    assert found == {"paper": {0.0}, "clean": {1.0}}


def test_memory_follows_the_interactions_not_users_times_the_longest_history() -> None:
    users, longest, items = 3000, 100_000, 50
    lengths = np.full(users, 5)
    lengths[7] = longest
    stops = np.cumsum(lengths)
    history = np.random.default_rng(0).integers(1, items + 1, size=stops[-1]).astype(np.int32)
    asked = Evaluation(
        inputs=np.ones((users, 3), np.int32),
        targets=np.full(users, items, np.int32),
        history=history,
        starts=stops - lengths,
        stops=stops,
        target_can_repeat=True,
        **one_target_each(users, items),
    )
    model = recommender(torch.randn(items + 1, 2))
    everything = np.arange(1, items + 1, dtype=np.int32)
    catalogue = encode_catalogue(model, ItemNumbers(items), everything, device="cpu")
    rank_targets(model, catalogue, asked)  # what is imported or made once
    tracemalloc.start()
    ranks = rank_targets(model, catalogue, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ranks[7] == 1  # of the one item that is open
    # A matrix of users x the longest would be 1.2 GB; the interactions take 460 kB, as int32.
    assert peak < 40 * history.nbytes


def test_a_constant_model_scores_chance() -> None:
    rng = np.random.default_rng(1)
    vector = torch.from_numpy(rng.normal(size=16).astype(np.float32))
    model, asked = recommender(vector.expand(1001, 16)), evaluation(rng, 50, 1000, can_repeat=True)
    catalogue = encode_catalogue(
        model, ItemNumbers(1000), np.arange(1, 1001, dtype=np.int32), device="cpu"
    )
    masked = [
        len(set(asked.masked(np.array([r]))[0].tolist()) - {0, int(asked.targets[r])})
        for r in range(50)
    ]
    expected = [1 + (1000 - m - 1) / 2 for m in masked]
    assert rank_targets(model, catalogue, asked).tolist() == expected


def test_permuted_targets_stay_at_chance() -> None:
    rng = np.random.default_rng(2)
    table = torch.from_numpy(rng.normal(size=(501, 8)).astype(np.float32))
    asked = evaluation(rng, 4000, 500, can_repeat=True)
    shuffled = Evaluation(
        **{**vars(asked), "targets": rng.permutation(asked.targets), "stops": asked.starts}
    )
    model = recommender(table)
    catalogue = encode_catalogue(
        model, ItemNumbers(500), np.arange(1, 501, dtype=np.int32), device="cpu"
    )
    found = metrics.summarise(rank_targets(model, catalogue, shuffled))["HR@10"]
    assert found["low"] <= 10 / 500 <= found["high"]


def test_items_of_equal_content_share_a_rank_exactly() -> None:
    rng = np.random.default_rng(3)
    states = torch.from_numpy(rng.normal(size=(101, 2, 4)).astype(np.float16))
    states[0] = 0
    states[51:] = states[1:51]  # items 51..100 repeat items 1..50

    class Flat(nn.Module):
        def forward(self, given: dict[str, Tensor]) -> Tensor:
            return given["title"].float().flatten(1)

    model = Recommender(Flat(), LastItem())
    features = StoredStates({"title": StateTable.of(states)})
    catalogue = encode_catalogue(model, features, np.arange(1, 101, dtype=np.int32), device="cpu")
    assert len(catalogue.counts) == 50
    asked = evaluation(rng, 300, 100, can_repeat=True)
    asked = Evaluation(**{**vars(asked), "stops": asked.starts})  # nothing masked
    ranks = rank_targets(model, catalogue, asked)
    assert (ranks % 1 == 0.5).all()  # always tied with the twin
    assert (catalogue.embeddings[1:51] == catalogue.embeddings[51:]).all()


def test_scores_that_are_not_finite_are_refused() -> None:
    table = torch.ones(11, 4)
    table[7, 0] = float("nan")
    model, asked = recommender(table), evaluation(np.random.default_rng(0), 5, 10, can_repeat=True)
    catalogue: Catalogue = encode_catalogue(
        model, ItemNumbers(10), np.arange(1, 11, dtype=np.int32), device="cpu"
    )
    with pytest.raises(ValueError, match="not finite"):
        rank_targets(model, catalogue, asked)
