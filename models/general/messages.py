"""Message passing over the edges of a graph, differentiable, with memory linear in edges and the same bits in every run.

V nodes, K directed edges, E width of a vector.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 1 << 26  # of the gathered vectors of edges per chunk


@dataclass(frozen=True)
class Edges:
    """The edges of a graph that has each edge in both directions, in the order of destination and source.

    Args:
        offsets: (V,) index of the first edge that arrives at each node.
        sources: (K,) node that an edge leaves.
        destinations: (K,) node that it arrives at.
        reverse: (K,) index of the edge in the other direction.
    """

    offsets: Tensor
    sources: Tensor
    destinations: Tensor
    reverse: Tensor

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def between(cls, left: Tensor, right: Tensor, *, nodes: int) -> "Edges":
        """Both directions of the edges between two sets of nodes.

        Args:
            left: (P,) node of each pair.
            right: (P,) the other node; a pair occurs once.
            nodes: V.
        """
        sources, destinations = torch.cat([right, left]), torch.cat([left, right])
        order = torch.argsort(destinations.long() * nodes + sources)
        sources, destinations = sources[order].int(), destinations[order].int()
        first = torch.searchsorted(destinations, torch.arange(nodes, device=left.device).int())
        # In the order of source and destination, edge k is the reverse of edge k in the order of destination and source.
        reverse = torch.argsort(sources, stable=True)
        return cls(first.int(), sources, destinations, reverse.int())


def weighted_sums(edges: Edges, weights: Tensor, vectors: Tensor) -> Tensor:
    """The sum at each node of the vectors of its neighbours, y_d = Σ over edges s → d of w · x_s.

    Args:
        edges: K edges.
        weights: (K,) w, a weight per edge.
        vectors: (V, E) x, a vector per node.

    Returns:
        (V, E) in float32, or float64 if an argument is; zeros at a node without edges.
    """
    weights, vectors = _same_type(weights, vectors)
    return cast(Tensor, _WeightedSums.apply(edges, weights, vectors))


def dot_products(edges: Edges, destinations: Tensor, sources: Tensor) -> Tensor:
    """The dot product of the two vectors of each edge, w = x_d · y_s.

    Args:
        edges: K edges.
        destinations: (V, E) x.
        sources: (V, E) y.

    Returns:
        (K,) in float32, or float64 if an argument is.
    """
    destinations, sources = _same_type(destinations, sources)
    return cast(Tensor, _DotProducts.apply(edges, destinations, sources))


def softmax_of_arriving(edges: Edges, logits: Tensor) -> Tensor:
    """The softmax over the edges that arrive at each node, (K,) -> (K,).

    Args:
        edges: K edges.
        logits: (K,) numbers whose exponentials are finite, such as cosines.
    """
    ones = logits.new_ones(len(edges.offsets), 1)
    powers = logits.exp()
    sums = weighted_sums(edges, powers, ones)
    return powers / dot_products(edges, sums, ones)


def _same_type(*tensors: Tensor) -> list[Tensor]:
    """In float32, or float64 if a tensor is, whatever the precision of autocast."""
    kind = torch.float32
    for tensor in tensors:
        kind = torch.promote_types(kind, tensor.dtype)
    return [tensor.to(kind) for tensor in tensors]


def _sums(edges: Edges, weights: Tensor, vectors: Tensor) -> Tensor:
    # One thread sums the edges of a node in their order, so the number of threads does not affect the result. On a CPU
    # this takes a third of the time of a product with a sparse CSR matrix, and half of its memory for indices.
    return F.embedding_bag(
        edges.sources, vectors, edges.offsets, mode="sum", per_sample_weights=weights
    )


def _dots(edges: Edges, destinations: Tensor, sources: Tensor) -> Tensor:
    size = max(1, CHUNK_BYTES // (2 * destinations.element_size() * destinations.shape[1]))
    parts = [
        (destinations.index_select(0, to) * sources.index_select(0, out)).sum(1)
        for to, out in zip(edges.destinations.split(size), edges.sources.split(size), strict=True)
    ]
    return torch.cat(parts)


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, weights: Tensor, vectors: Tensor) -> Tensor:
        ctx.edges = edges
        _, learned, _ = ctx.needs_input_grad
        ctx.save_for_backward(weights, vectors if learned else None)
        return _sums(edges, weights.detach(), vectors.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        weights, vectors = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_weights = of_vectors = None
        if ctx.needs_input_grad[1]:
            of_weights = _dots(ctx.edges, gradient, vectors)
        if ctx.needs_input_grad[2]:
            of_vectors = _sums(ctx.edges, weights[ctx.edges.reverse], gradient)
        return None, of_weights, of_vectors


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, destinations: Tensor, sources: Tensor) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(destinations, sources)
        return _dots(edges, destinations, sources)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        destinations, sources = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_destinations = of_sources = None
        if ctx.needs_input_grad[1]:
            of_destinations = _sums(ctx.edges, gradient, sources)
        if ctx.needs_input_grad[2]:
            of_sources = _sums(ctx.edges, gradient[ctx.edges.reverse], destinations)
        return None, of_destinations, of_sources
