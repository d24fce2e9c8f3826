"""GRCN (arXiv 2111.02036): a graph convolution of ids over edges that the content of items weighs.

B users, S training users, N items, V nodes, K directed edges, T towers, W width of a tower's nodes, E width of an id
vector, R rows of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.general.contents import (
    Contents,
    check_penalised,
    id_table,
    mean_squares_of_rows,
    tables_of_nodes,
)
from models.general.graph import InteractionGraph
from models.general.kind import GeneralKind
from models.general.messages import Edges, dot_products, softmax_of_arriving, weighted_sums
from models.general.rows import ids_of_rows, rows_of_users
from models.inputs.batch import Batch
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class GRCNSettings:
    """GRCN.

    Args:
        kind: name of the recommender.
        layers: graph convolutions of the id vectors.
        routing: iterations that move the preferences of users towards the features of their items; 0 has the effect of the
            public code, whose messages do not arrive at users.
        latent: width of the linear map of each tower's features.
        reg_weight: weight of the penalty, the mean square of the id vectors of each row, and of the preferences of users.
        penalised: towers whose preferences of all users are in the penalty; empty for all. The public code has the visual
            tower alone.
    """

    kind: str = "grcn"
    layers: int = 2
    routing: int = 3
    latent: int = 64
    reg_weight: float = 0.01
    penalised: list[str] = field(default_factory=list)


class GRCN(nn.Module):
    """Graph-refined convolutional network.

    Per tower, with the vectors x of all nodes of norm 1: x_i = φ(W f_i + b) of items, φ the leaky ReLU of slope 0.01, and
    x_u = p_u, the preferences of users; then `routing` times x_u ← x_u + Σ_i α_ui x_i, again of norm 1. α_de is the softmax
    over the edges e → d that arrive at a node of x_d · x_e. The content vector of a node is x_d + Σ_e α_de x_e.

    The edges of the graph of ids weigh w_de = max(0, max over towers of α_de c_e), with a learned confidence c per node and
    tower: an edge that no tower supports is pruned. With z^(0) the id vectors, each of norm 1, and
    z^(k+1)_d = Σ_e w_de z^(k)_e, the vector of a node is the concatenation of Σ_k z^(k) and the content vectors. Scores are
    dot products.

    The penalty of a batch is reg_weight · (the mean square of the id vectors of its rows + the mean squares of all
    preferences of each tower in `penalised` + the mean over rows of the summed squares of all towers' preferences of the
    row's user, divided by W).

    Args:
        users: S.
        items: N.
        embedding_dim: E.
        layers: graph convolutions of the id vectors.
        routing: iterations of routing.
        latent: W.
        reg_weight: weight of the penalty.
        penalised: towers whose preferences of all users are in the penalty; empty for all.
        interactions: number of interactions of a saved model.
        widths: width of the features of each tower of a saved model, by name.
        initial_std: standard deviation of initial ids and preferences; by default they are Xavier normal. Confidences are
            initially 1: an edge weighs its attention.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        users: int,
        items: int,
        embedding_dim: int = 64,
        layers: int = 2,
        routing: int = 3,
        latent: int = 64,
        reg_weight: float = 0.01,
        penalised: Sequence[str] = (),
        interactions: int = 0,
        widths: Mapping[str, int] | None = None,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if latent < 1 or min(layers, routing, reg_weight) < 0:
            raise ValueError(
                f"layers is {layers}, routing {routing}, latent {latent} and reg_weight {reg_weight}; expected a positive "
                "latent, and no negative numbers"
            )
        self.layers = layers
        self.routing = routing
        self.reg_weight = reg_weight
        self.penalised = list(penalised)
        self.graph = InteractionGraph(users=users, items=items, interactions=interactions)
        self.users = id_table(users, embedding_dim, initial_std)
        self.items = id_table(items, embedding_dim, initial_std)
        self.contents = Contents(
            users=users, items=items, latent=latent, widths=widths, initial_std=initial_std
        )
        self.confidence = nn.ParameterDict()
        self._make_confidence()

    def _make_confidence(self) -> None:
        for name in self.contents:
            self.confidence[name] = nn.Parameter(torch.ones(self.graph.nodes))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`GRCN(**settings)`), as a JSON object."""
        return {
            "users": self.graph.users,
            "items": self.graph.items,
            "embedding_dim": self.items.embedding_dim,
            "layers": self.layers,
            "routing": self.routing,
            "latent": self.contents.latent,
            "reg_weight": self.reg_weight,
            "penalised": self.penalised,
            "interactions": len(self.graph),
            "widths": self.contents.widths,
        }

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Takes the training interactions, and the features of each tower, (N + 1, width), row 0 zeros.

        Raises:
            UserError: if there are no interactions or no features, or if settings name other towers.
        """
        self.graph.observe(interactions)
        self.contents.observe(features)
        check_penalised(self.penalised, self.contents)
        self._make_confidence()
        self.to(self.items.weight.device)

    def tables(self, vectors: Tensor | None = None) -> Tables:
        """The vectors of all items, (N + 1, E + T · W), and users, (S + 1, E + T · W); `vectors` are not read."""
        edges = self.graph.adjacency.edges
        contents, weights = [], []
        for name in self.contents:
            nodes, attention = self._attend(name, edges)
            contents.append(nodes + weighted_sums(edges, attention, nodes))
            confidence = self.confidence[name][:, None]
            weights.append(attention * dot_products(edges, torch.ones_like(confidence), confidence))
        weight = torch.stack(weights).max(0).values.relu()
        layer = total = F.normalize(torch.cat([self.users.weight, self.items.weight]))
        for _ in range(self.layers):
            layer = weighted_sums(edges, weight, layer)
            total = total + layer
        return tables_of_nodes(torch.cat([total, *contents], 1), self.graph)

    def _attend(self, name: str, edges: Edges) -> tuple[Tensor, Tensor]:
        """(V, W) vectors of all nodes of one tower after routing, and (K,) the attention α of each edge."""
        preferences, features = self.contents[name]()
        users, items = F.normalize(preferences), F.normalize(F.leaky_relu(features))
        for _ in range(self.routing):
            # Recomputed in the backward pass, so that memory does not grow with the iterations.
            users = checkpoint(self._route, users, items, edges, use_reentrant=False)
        nodes = torch.cat([users, items])
        return nodes, _attention(nodes, edges)

    def _route(self, users: Tensor, items: Tensor, edges: Edges) -> Tensor:
        """One iteration of routing: (S + 1, W) vectors of users, (N + 1, W) of items -> (S + 1, W) of users."""
        nodes = torch.cat([users, items])
        messages, _ = self.graph.divide(weighted_sums(edges, _attention(nodes, edges), nodes))
        return F.normalize(users + messages)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E + T · W) rows of the table of users.

        Raises:
            ValueError: without rows of users.
        """
        return rows_of_users(users, tables)

    def penalty(self, batch: Batch) -> Tensor:
        """The penalty of a batch, a scalar."""
        users = ids_of_rows(batch).users
        penalty = mean_squares_of_rows(batch, self.users.weight, self.items.weight)
        for name in check_penalised(self.penalised, self.contents):
            penalty = penalty + self.contents[name].preferences.weight[1:].square().mean()
        for name in self.contents:
            of_users = self.contents[name].preferences(users).square().mean(1)
            penalty = penalty + (of_users * batch.weights).sum()
        return self.reg_weight * penalty


def _attention(nodes: Tensor, edges: Edges) -> Tensor:
    """(K,) α: at each node the softmax, over the edges that arrive, of the dot products of (V, W) vectors."""
    return softmax_of_arriving(edges, dot_products(edges, nodes, nodes))


def _about(settings: GRCNSettings) -> str:
    return (
        f"GRCN, {settings.layers} layers and {settings.routing} iterations of routing, over the graph of training "
        "interactions"
    )


GRCN_KIND = GeneralKind(
    settings=GRCNSettings,
    module=GRCN,
    noun="a GRCN model",
    about=_about,
    reads="features",
    needs_user=True,
)
