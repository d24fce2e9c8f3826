"""The top-k lists of the pass that ranks equal lists by sorting: ties, masks, short lists, blocks and appended targets."""

import numpy as np
import pytest
import torch
from catalogue_work import LastItem
from torch import Tensor, nn

from models import Recommender
from models.inputs.features import ItemNumbers, StoredStates
from models.ranking import top_k
from models.ranking.catalogue import Catalogue, encode_catalogue
from models.ranking.ranks import rank_and_list, rank_targets
from toolkit import Evaluation
from toolkit.states import StateTable


class Vectors(nn.Module):
    """An item encoder that is a given table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.table[features["id"]]


def asked(rng: np.random.Generator, users: int, items: int, *, can_repeat: bool) -> Evaluation:
    history = rng.integers(1, items + 1, size=(users, 8)).astype(np.int32)
    starts = np.arange(users) * 8
    return Evaluation(
        inputs=history[:, 4:7],
        targets=history[:, 7].copy(),
        history=history.ravel(),
        starts=starts,
        stops=starts + 7,
        target_can_repeat=can_repeat,
        user_ids=[f"u{user}" for user in range(users)],
        users=np.arange(users),
        rows=np.arange(users) + 1,
        catalogue=np.arange(1, items + 1, dtype=np.int32),
    )


def sorted_list(scores: np.ndarray, masked: set[int], items: list[int], k: int) -> list[int]:
    """Items by score, then by number, filled up with 0."""
    ranked = sorted((i for i in items if i not in masked), key=lambda i: (-scores[i], i))[:k]
    return ranked + [0] * (k - len(ranked))


@pytest.mark.parametrize("can_repeat", [True, False])
@pytest.mark.parametrize(("k", "group"), [(10, 64), (3, 4), (40, 64), (1, 1)])
def test_lists_equal_sorting(
    can_repeat: bool, k: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.ranking.top_k.GROUP", group)
    monkeypatch.setattr("models.ranking.tiles.TILE_BYTES_CPU", 32 * 7 * 4)  # seven columns
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.integers(-2, 3, size=(41, 3)).astype(np.float32))  # many ties
    evaluation = asked(rng, 100, 40, can_repeat=can_repeat)
    items = np.unique(np.concatenate([evaluation.targets, rng.integers(1, 41, 9)]))
    items = items[items != 17].astype(np.int32)
    evaluation.targets[evaluation.targets == 17] = items[0]
    model = Recommender(Vectors(table), LastItem())
    catalogue = encode_catalogue(model, ItemNumbers(40), items, device="cpu")
    found = rank_and_list(model, catalogue, evaluation, k=k)
    assert found.lists.shape == (100, k) and found.lists.dtype == np.int32
    for row, target in enumerate(evaluation.targets.tolist()):
        scores = (table @ table[evaluation.inputs[row, -1]]).numpy()
        masked = set(evaluation.masked(np.array([row]))[0].tolist())
        masked -= {target} if can_repeat else set()
        expected = sorted_list(scores, masked, items.tolist(), k)
        assert found.lists[row].tolist() == expected, f"user {row}"
        assert not masked & set(found.lists[row].tolist())
    assert (found.ranks == rank_targets(model, catalogue, evaluation)).all()


def test_items_of_equal_content_are_listed_by_number_and_masked_one_by_one() -> None:
    rng = np.random.default_rng(3)
    states = torch.from_numpy(rng.normal(size=(101, 1, 4)).astype(np.float16))
    states[0] = 0
    states[51:] = states[1:51]  # items 51..100 repeat items 1..50

    class Flat(nn.Module):
        def forward(self, given: dict[str, Tensor]) -> Tensor:
            return given["title"].float().flatten(1)

    model = Recommender(Flat(), LastItem())
    features = StoredStates({"title": StateTable.of(states)})
    everything = np.arange(1, 101, dtype=np.int32)
    catalogue = encode_catalogue(model, features, everything, device="cpu")
    evaluation = asked(rng, 60, 100, can_repeat=True)
    lists = rank_and_list(model, catalogue, evaluation, k=10).lists
    for row, target in enumerate(evaluation.targets.tolist()):
        masked = set(evaluation.masked(np.array([row]))[0].tolist()) - {target}
        state = catalogue.embeddings[int(evaluation.inputs[row, -1])]
        scores = (catalogue.vectors @ state)[catalogue.column].numpy()
        assert lists[row].tolist() == sorted_list(scores, masked, everything.tolist(), 10)


def test_a_target_that_is_appended_to_its_own_ranking_is_in_no_list() -> None:
    scores = torch.tensor([[5.0, 4.0, 9.0, 3.0], [1.0, 2.0, 9.0, 3.0]])
    appended = torch.tensor([False, False, False, True, False])
    catalogue = Catalogue(
        embeddings=torch.empty(0),
        vectors=torch.empty(0),
        counts=torch.tensor([1.0, 1.0, 0.0, 1.0]),
        column=torch.tensor([-1, 0, 1, 2, 3]),
        appended=appended,
    )
    masked = (torch.tensor([0]), torch.tensor([1]))
    found = top_k.select_top_k(scores.clone(), catalogue, masked, 2)
    assert found.items.tolist() == [2, 4, 4, 2]


def test_a_constant_model_lists_the_first_items_and_a_masked_catalogue_none() -> None:
    rng = np.random.default_rng(1)
    model = Recommender(Vectors(torch.ones(301, 2)), LastItem())
    evaluation = asked(rng, 5, 300, can_repeat=False)
    evaluation = Evaluation(**{**vars(evaluation), "stops": evaluation.starts})  # nothing masked
    everything = np.arange(1, 301, dtype=np.int32)
    catalogue = encode_catalogue(model, ItemNumbers(300), everything, device="cpu")
    lists = rank_and_list(model, catalogue, evaluation, k=10).lists
    assert (lists == np.arange(1, 11)).all()
    masked = torch.cartesian_prod(torch.arange(2), torch.arange(1, 301)).T
    nothing = top_k.select_top_k(torch.ones(2, 300), catalogue, (masked[0], masked[1]), 10)
    assert not len(nothing.items)
