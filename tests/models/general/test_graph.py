"""The graph of training interactions, and messages over its edges, against dense matrices."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from models.general import messages
from models.general.graph import InteractionGraph
from models.general.messages import Edges, dot_products, softmax_of_arriving, weighted_sums
from models.inputs.interactions import Interactions
from toolkit.errors import UserError

S, N, E = 5, 7, 3
V = S + N + 2
# User 5 and items 6 and 7 have no interactions; user 1 has item 2 twice, user 4 has item 5 three times.
PAIRS = [(1, 2), (1, 3), (1, 2), (2, 3), (3, 1), (3, 5), (4, 5), (4, 5), (4, 5), (2, 4)]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def interactions(pairs: list[tuple[int, int]] = PAIRS) -> Interactions:
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Interactions(users, items, np.zeros_like(users), user_count=S, item_count=N)


def graph(*, repeated: bool = False) -> InteractionGraph:
    made = InteractionGraph(users=S, items=N, repeated=repeated)
    made.observe(interactions())
    return made


def dense(pairs: list[tuple[int, int]]) -> Tensor:
    matrix = torch.zeros(V, V)
    for user, item in pairs:
        matrix[user, S + 1 + item] += 1
        matrix[S + 1 + item, user] += 1
    return matrix


def as_matrix(edges: Edges, values: Tensor) -> Tensor:
    matrix = torch.zeros(V, V)
    matrix[edges.destinations.long(), edges.sources.long()] = values
    return matrix


@pytest.mark.parametrize("repeated", [False, True])
def test_the_matrices_of_a_graph(repeated: bool) -> None:
    adjacency = graph(repeated=repeated).adjacency
    pairs = PAIRS if repeated else sorted(set(PAIRS))
    matrix = dense(pairs)
    torch.testing.assert_close(as_matrix(adjacency.edges, adjacency.entries), matrix)
    degrees = matrix.sum(1)
    torch.testing.assert_close(adjacency.degrees, degrees)
    assert adjacency.degrees.sum() == 2 * len(pairs) == 2 * len(graph(repeated=repeated))
    roots = degrees.clamp(min=1) ** -0.5
    symmetric = roots[:, None] * matrix * roots
    torch.testing.assert_close(as_matrix(adjacency.edges, adjacency.symmetric), symmetric)
    means = matrix / degrees.clamp(min=1)[:, None]
    torch.testing.assert_close(as_matrix(adjacency.edges, adjacency.means), means)


def test_edges_are_in_the_order_of_destination_and_source_and_know_their_reverse() -> None:
    edges = graph().adjacency.edges
    pairs = list(zip(edges.destinations.tolist(), edges.sources.tolist(), strict=True))
    assert pairs == sorted(pairs) and len(pairs) == len(edges) == 2 * len(set(PAIRS))
    assert [pairs[index] for index in edges.reverse.tolist()] == [(s, d) for d, s in pairs]


def test_messages_and_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = graph().adjacency.edges
    generator = torch.Generator().manual_seed(0)
    weights, x, y = (
        torch.randn(shape, generator=generator).requires_grad_(True)
        for shape in ((len(edges),), (V, E), (V, E))
    )
    mask = as_matrix(edges, torch.ones(len(edges)))

    def fast(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = dot_products(edges, x, y) * weights
        return weighted_sums(edges, softmax_of_arriving(edges, logits) + weights, x)

    def slow(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
        full = torch.zeros(V, V).index_put(
            (edges.destinations.long(), edges.sources.long()), weights
        )
        logits = (x @ y.T * full).masked_fill(mask == 0, -torch.inf)
        return (logits.softmax(1).nan_to_num() * mask + full) @ x

    torch.testing.assert_close(fast(weights, x, y), slow(weights, x, y))
    assert torch.autograd.gradcheck(fast, (weights, x, y))
    whole = fast(weights, x, y)
    monkeypatch.setattr(messages, "CHUNK_BYTES", 200)
    assert torch.equal(fast(weights, x, y), whole)


@pytest.mark.parametrize("threads", [1, 2])
def test_messages_have_the_same_bits_with_several_threads(threads: int) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, 301, 4000), rng.integers(1, 41, 4000)
    made = InteractionGraph(users=300, items=40)
    made.observe(Interactions(users, items, np.zeros_like(users), 300, 40))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(342, 16, generator=generator, dtype=torch.float32)
    results = []
    for count in (1, threads, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            leaf = x.clone().requires_grad_(True)
            edges = made.adjacency.edges
            weights = softmax_of_arriving(edges, dot_products(edges, leaf, leaf).tanh())
            total = weighted_sums(edges, weights, leaf)
            total.square().sum().backward()
            results.append((total.detach(), leaf.grad))
        finally:
            torch.set_num_threads(before)
    for total, gradient in results[1:]:
        assert torch.equal(total, results[0][0])
        assert torch.equal(gradient, results[0][1])  # type: ignore[arg-type]


def test_an_empty_graph_is_refused() -> None:
    with pytest.raises(UserError, match="the graph has no edges"):
        InteractionGraph(users=S, items=N).observe(interactions([]))
    with pytest.raises(UserError, match="the graph has no edges"):
        _ = InteractionGraph(users=S, items=N).adjacency


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((6, 1), "users 1 to 5, but a training interaction has user 6"),
        ((0, 1), "users 1 to 5, but a training interaction has user 0"),
        ((1, 8), "items 1 to 7, but a training interaction has item 8"),
        ((1, 0), "items 1 to 7, but a training interaction has item 0"),
    ],
)
def test_users_and_items_out_of_range_are_refused(pair: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        InteractionGraph(users=S, items=N).observe(interactions([(1, 1), pair]))


def test_degrees_that_do_not_sum_to_the_interactions_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InteractionGraph, "__len__", lambda self: 3)
    with pytest.raises(ValueError, match="degrees sum to 14, and 3 interactions have 6"):
        graph()


def test_loaded_and_moved_interactions_replace_the_matrix() -> None:
    saved = graph()
    loaded = InteractionGraph(users=S, items=N)
    loaded.observe(interactions([(5, item) for item in range(1, len(saved) + 1)]))
    before = loaded.adjacency
    loaded.load_state_dict(saved.state_dict())
    assert not torch.equal(before.degrees, saved.adjacency.degrees)
    assert torch.equal(loaded.adjacency.degrees, saved.adjacency.degrees)
    before = loaded.adjacency
    assert loaded.adjacency is before and loaded.to("cpu").adjacency is not before
