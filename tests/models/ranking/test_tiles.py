"""Tiles of any size have equal ranks and lists, in bounded memory: ties, masks, equal contents and appended targets."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.losses.loss import Scores
from models.ranking import tiles
from models.ranking.catalogue import Catalogue, make_catalogue
from models.ranking.counting import RankCounter
from models.ranking.tiles import Tile, score_tiles, tiles_for, users_at_once
from models.ranking.top_k import TopK, TopLists

ITEMS, USERS, WIDTH, K = 300, 45, 8, 6


def tile_bytes(columns: int) -> int:
    """Of a tile of this many columns for `USERS`."""
    return 4 * 64 * columns


def appended_catalogue(rng: np.random.Generator, embeddings: Tensor, **more: Any) -> Catalogue:
    """200 items in the catalogue and 40 appended ones; every fifth item has the content of the one before it."""
    same_as = torch.arange(ITEMS + 1)
    same_as[5::5] = same_as[4::5][: len(same_as[5::5])]
    numbers = rng.permutation(np.arange(1, ITEMS + 1, dtype=np.int32))
    catalogue, new = np.sort(numbers[:200]), np.sort(numbers[200:240])
    return make_catalogue(embeddings[same_as], same_as, catalogue, appended=new, **more)


def whole_numbers(rng: np.random.Generator, *shape: int) -> Tensor:
    """Vectors with exact scores, most of which are tied."""
    return torch.from_numpy(rng.integers(-2, 3, size=shape).astype(np.float32))


def ranked(
    catalogue: Catalogue, users: Tensor, targets: Tensor, masked: tuple[Tensor, Tensor]
) -> tuple[Tensor, TopK]:
    """Ranks and lists of one pass over the tiles."""
    tiling = tiles_for(len(users), catalogue)
    counter = RankCounter(targets, masked, catalogue, tiling)
    lists = TopLists(len(users), catalogue, masked, K, tiling)
    for tile in score_tiles(users, catalogue, tiling, catalogue.column[targets]):
        lists.add(tile)
        counter.add(tile)
    return counter.ranks(), lists.top_k()


def by_sorting(
    catalogue: Catalogue, users: Tensor, targets: Tensor, masked: tuple[Tensor, Tensor]
) -> tuple[list[float], list[tuple[int, int, int, float]]]:
    """Mid-ranks and lists, item by item."""
    items = torch.arange(len(catalogue.column))
    items = items[catalogue.ranks(items)].tolist()
    ranks, lists = [], []
    for row, target in enumerate(targets.tolist()):
        scores = (catalogue.embeddings @ users[row]).tolist()
        hidden = set(masked[1][masked[0] == row].tolist())
        left = [item for item in items if item not in hidden]
        values = [scores[item] for item in {*left, target}]
        above = sum(value > scores[target] for value in values)
        tied = sum(value == scores[target] for value in values)
        ranks.append(np.inf if target in hidden else 1 + above + (tied - 1) / 2)
        order = sorted(left, key=lambda item: (-scores[item], item))[:K]
        lists += [(row, 1 + at, item, scores[item]) for at, item in enumerate(order)]
    return ranks, lists


@pytest.mark.parametrize("columns", [64, 128, 192, 1 << 12])
@pytest.mark.parametrize("group", [1, 16, 64])
def test_tiles_of_any_size_rank_and_list_as_sorting(
    monkeypatch: pytest.MonkeyPatch, columns: int, group: int
) -> None:
    monkeypatch.setattr(tiles, "TILE_BYTES_CPU", tile_bytes(columns))
    monkeypatch.setattr("models.ranking.top_k.GROUP", group)
    rng = np.random.default_rng(0)
    catalogue = appended_catalogue(rng, whole_numbers(rng, ITEMS + 1, 3))
    users = whole_numbers(rng, USERS, 3)
    ranked_items = (catalogue.column >= 0).nonzero()[:, 0]
    targets = ranked_items[torch.from_numpy(rng.integers(0, len(ranked_items), USERS))]
    pairs = np.unique(
        np.stack([rng.integers(0, USERS, 4000), rng.integers(1, ITEMS + 1, 4000)]), axis=1
    )
    pairs = pairs[
        :, pairs[0] != 3
    ]  # nothing is masked for one user, and all but 4 items for another
    others = np.stack([np.full(ITEMS - 4, 4), np.arange(5, ITEMS + 1)])
    masked = tuple(torch.from_numpy(np.unique(np.hstack([pairs, others]), axis=1)))
    assert len(tiles_for(USERS, catalogue).edges) - 1 == -(-len(catalogue.vectors) // columns)
    ranks, lists = ranked(catalogue, users, targets, masked)
    expected, expected_lists = by_sorting(catalogue, users, targets, masked)
    assert ranks.tolist() == expected
    assert list(zip(*(part.tolist() for part in lists), strict=True)) == expected_lists
    assert np.isinf(expected).any() and catalogue.appended[targets].any()


def test_ranks_and_lists_do_not_depend_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    embeddings = torch.from_numpy(rng.normal(size=(ITEMS + 1, WIDTH)).astype(np.float32))
    embeddings[201:250] = embeddings[1]  # equal vectors of other contents, in several tiles
    everything = np.arange(1, ITEMS + 1, dtype=np.int32)
    catalogue = make_catalogue(embeddings, torch.arange(ITEMS + 1), everything)
    users = torch.from_numpy(rng.normal(size=(USERS, WIDTH)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(1, ITEMS + 1, USERS))
    targets[:9] = torch.arange(201, 210)
    masked = torch.arange(USERS), torch.from_numpy(rng.integers(1, ITEMS + 1, USERS))
    masked[1][:9] = 100
    found = []
    for columns in (64, 128, 192, 1 << 12):
        monkeypatch.setattr(tiles, "TILE_BYTES_CPU", tile_bytes(columns))
        whole = ranked(catalogue, users, targets, masked)
        alone = [
            ranked(catalogue, users[r : r + 1], targets[r : r + 1], (masked[0][:1], masked[1][r : r + 1]))
            for r in range(3)
        ]  # fmt: skip
        assert torch.cat([ranks for ranks, _ in alone]).tolist() == whole[0][:3].tolist()
        assert (
            np.concatenate([top.items for _, top in alone]).tolist()
            == whole[1].items[: 3 * K].tolist()
        )
        found.append(whole)
    for ranks, lists in found[1:]:
        assert ranks.tolist() == found[0][0].tolist()
        assert lists.items.tolist() == found[0][1].items.tolist()
    assert (found[0][0][:9] % 1 == 0.5).all()  # 50 tied items


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is not among given ones."""

    def __init__(self, *given: Tensor) -> None:
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outcome = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(outcome):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.given:
                self.bytes = max(self.bytes, storage.nbytes())
        return outcome


@pytest.mark.parametrize("own", [False, True])
def test_the_largest_tensor_is_a_tile(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setattr(tiles, "TILE_BYTES_CPU", tile_bytes(64))
    scores = Scores(lambda users, items: users @ items.T, values_per_score=2) if own else None
    rng = np.random.default_rng(2)
    embeddings = whole_numbers(rng, 6001, 2)
    catalogue = Catalogue(
        embeddings, embeddings[1:], torch.ones(6000), torch.arange(-1, 6000), scores=scores
    )
    users = whole_numbers(rng, min(64, users_at_once(catalogue)), 2)
    targets = torch.from_numpy(rng.integers(1, 6001, len(users)))
    none = torch.zeros(0, dtype=torch.long)
    tiling = tiles_for(len(users), catalogue)
    counter = RankCounter(targets, (none, none), catalogue, tiling)
    assert catalogue.longest > 0  # once per catalogue
    with Largest(catalogue.vectors, catalogue.column, catalogue.counts, users, targets) as largest:
        for tile in score_tiles(users, catalogue, tiling, catalogue.column[targets]):
            counter.add(tile)
    assert 4 * len(users) * 64 <= largest.bytes <= tile_bytes(64)
    assert counter.ranks().tolist() == by_sorting(catalogue, users, targets, (none, none))[0]


def test_a_model_that_computes_all_items_is_asked_once() -> None:
    asked: list[int] = []

    def compute(users: Tensor, items: Tensor) -> Tensor:
        asked.append(len(items))
        return users @ items.T

    rng = np.random.default_rng(3)
    embeddings = whole_numbers(rng, 3001, 2)
    catalogue = Catalogue(
        embeddings,
        embeddings[1:],
        torch.ones(3000),
        torch.arange(-1, 3000),
        scores=Scores(compute, all_items=True),
    )
    users, targets = whole_numbers(rng, 9, 2), torch.arange(1, 10)
    masked = torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    ranks, _ = ranked(catalogue, users, targets, masked)
    assert asked == [3000]
    assert ranks.tolist() == by_sorting(catalogue, users, targets, masked)[0]
    assert users_at_once(catalogue) == tiles.TILE_BYTES_CPU // (4 * 3000)


def test_scores_that_may_overflow_are_looked_at() -> None:
    largest = torch.finfo(torch.float32).max
    for value, is_finite in ((largest / 4, True), (largest / 1.5, False)):
        vectors = torch.tensor([[0.0, 0.0], [value, value]])
        catalogue = Catalogue(vectors, vectors[1:], torch.ones(1), torch.tensor([-1, 0]))
        tiling = tiles_for(1, catalogue)
        if is_finite:
            (tile,) = score_tiles(torch.ones(1, 2), catalogue, tiling)
            assert isinstance(tile, Tile) and float(tile.scores) == 2 * value
            continue
        with pytest.raises(ValueError, match="scores of 1 of 1 users are not finite"):
            list(score_tiles(torch.ones(1, 2), catalogue, tiling))
