"""The graph of users and items, with an edge for each training interaction.

S users, N items, P interactions, V = S + N + 2 nodes, K directed edges. Nodes are the rows of a table of users, 0..S,
followed by those of a table of items, 0..N. Both rows 0 are nodes without edges.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.general.messages import Edges, weighted_sums
from models.inputs.interactions import Interactions
from toolkit.errors import UserError


@dataclass(frozen=True)
class Adjacency:
    """The adjacency matrix A of a graph, (V, V), symmetric; its entries are the number of interactions per pair.

    Args:
        edges: K edges, the entries of A that are not 0.
        entries: (K,) their values.

    Raises:
        ValueError: if the degrees do not sum to the number of interactions, each at two nodes.
    """

    edges: Edges
    entries: Tensor

    @cached_property
    def degrees(self) -> Tensor:
        """(V,) interactions of each node, d."""
        return weighted_sums(
            self.edges, self.entries, self.entries.new_ones(len(self.edges.offsets), 1)
        ).squeeze(1)

    @cached_property
    def symmetric(self) -> Tensor:
        """(K,) entries of D^-1/2 A D^-1/2."""
        roots = self.degrees.clamp(min=1).sqrt()
        return self.entries / (roots[self.edges.destinations] * roots[self.edges.sources])

    @cached_property
    def means(self) -> Tensor:
        """(K,) entries of D^-1 A, the weights of a mean over the neighbours of a node."""
        return self.entries / self.degrees[self.edges.destinations]


class InteractionGraph(nn.Module):
    """The training interactions of a graph recommender. They are saved with the model; the adjacency matrix is not.

    Args:
        users: S.
        items: N.
        interactions: P of a saved model; 0 before `observe`.
        repeated: whether repeated interactions of a user with an item count each, as in the code of MicroLens, or once.
    """

    edges: Tensor

    def __init__(
        self, *, users: int, items: int, interactions: int = 0, repeated: bool = False
    ) -> None:
        super().__init__()
        self.users = users
        self.items = items
        self.repeated = repeated
        self.register_buffer("edges", torch.zeros(2, interactions, dtype=torch.int32))
        self._adjacency: Adjacency | None = None

    def __len__(self) -> int:
        """P."""
        return self.edges.shape[1]

    @property
    def nodes(self) -> int:
        """V."""
        return self.users + self.items + 2

    def observe(self, interactions: Interactions) -> None:
        """Takes the training interactions.

        Raises:
            UserError: if there is none, or if one has a user or an item outside of the model's.
        """
        pairs = np.stack([interactions.users, interactions.items])
        for noun, numbers, count in zip(
            ("user", "item"), pairs, (self.users, self.items), strict=True
        ):
            outside = numbers[(numbers < 1) | (numbers > count)]
            if len(outside):
                raise UserError(
                    f"the graph has {noun}s 1 to {count}, but a training interaction has {noun} {outside[0]}"
                )
        if not self.repeated:
            pairs = np.unique(pairs, axis=1)
        self.edges = torch.from_numpy(pairs.astype(np.int32)).to(self.edges.device)
        self._adjacency = None
        _ = self.adjacency

    @property
    def adjacency(self) -> Adjacency:
        """A, on the device of the module; kept until the interactions change or the module moves.

        Raises:
            UserError: if there are no interactions.
        """
        if self._adjacency is None:
            self._adjacency = self._build()
        return self._adjacency

    def divide(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Tables of users, (S + 1, E), and items, (N + 1, E), from the vectors of all nodes, (V, E)."""
        users, items = nodes.split([self.users + 1, self.items + 1])
        return users, items

    def _build(self) -> Adjacency:
        if not len(self):
            raise UserError(
                "the graph has no edges; a graph recommender needs at least one training interaction"
            )
        users, items = self.edges.long()
        pairs, counts = torch.unique(users * (self.items + 1) + items, return_counts=True)
        users, items = pairs // (self.items + 1), pairs % (self.items + 1) + self.users + 1
        edges = Edges.between(users, items, nodes=self.nodes)
        # Edges that arrive at users are in the order of pairs; their reverses arrive at items.
        entries = torch.cat([counts, counts.new_empty(len(counts))])
        entries[len(counts) :] = entries[edges.reverse[len(counts) :]]
        adjacency = Adjacency(edges, entries.to(torch.get_default_dtype()))
        total = int(adjacency.degrees.double().sum())
        if total != 2 * len(self):
            raise ValueError(
                f"degrees sum to {total}, and {len(self)} interactions have {2 * len(self)}"
            )
        return adjacency

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "InteractionGraph":
        self._adjacency = None
        super()._apply(fn, recurse)
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._adjacency = None
        super()._load_from_state_dict(*arguments, **options)
