"""MMGCN (Wei et al., ACM MM 2019, doi 10.1145/3343031.3351034): a graph convolution per modality, with shared ids.

B users, S training users, N items, V nodes, D width of a tower's nodes, E width of a vector, R rows of a batch.
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
from models.general.graph import Adjacency, InteractionGraph
from models.general.kind import GeneralKind
from models.general.messages import weighted_sums
from models.general.rows import rows_of_users
from models.inputs.batch import Batch
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class MMGCNSettings:
    """MMGCN.

    Args:
        kind: name of the recommender.
        layers: graph convolutions per tower; the public code has always 3.
        latent: width of a linear map of each tower's features; 0 for features without a map.
        latent_of: `latent` of towers that differ, by name.
        reg_weight: weight of the penalty, the mean square of the id vectors of each row, and of the preferences of users.
        penalised: towers whose preferences are in the penalty; empty for all. The public code has the visual tower alone.
        learn_ids: whether id vectors and preferences train; false as in the public code, whose optimizer omits them.
    """

    kind: str = "mmgcn"
    layers: int = 3
    latent: int = 64
    latent_of: dict[str, int] = field(default_factory=dict)
    reg_weight: float = 0.01
    penalised: list[str] = field(default_factory=list)
    learn_ids: bool = True


class MMGCN(nn.Module):
    """Multimodal graph convolution network, in the form of MMRec.

    Per tower: x^(0) = [preference of each user; (mapped) features of each item], each row of norm 1, and
    h = φ(mean over neighbours of W x), r = φ(W_l x + b_l) + e, x' = φ(G [h; r] + b_g) in each layer, with the id vectors e
    that the towers share and φ the leaky ReLU of slope 0.01. The vectors of users and items are the means of the x^(n)
    over towers. Scores are dot products. The penalty of a batch is reg_weight · (the mean square of the id vectors of its
    rows + the mean squares of all preferences of each tower in `penalised`).

    Args:
        users: S.
        items: N.
        embedding_dim: E.
        layers: n, at least 1.
        latent: D of each tower; 0 for the width of its features.
        latent_of: D of towers that differ, by name.
        reg_weight: weight of the penalty.
        penalised: towers whose preferences are in the penalty; empty for all.
        learn_ids: whether id vectors and preferences train.
        interactions: number of interactions of a saved model.
        widths: width of the features of each tower of a saved model, by name.
        initial_std: standard deviation of initial ids and preferences; by default they are Xavier normal.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        users: int,
        items: int,
        embedding_dim: int = 64,
        layers: int = 3,
        latent: int = 64,
        latent_of: Mapping[str, int] | None = None,
        reg_weight: float = 0.01,
        penalised: Sequence[str] = (),
        learn_ids: bool = True,
        interactions: int = 0,
        widths: Mapping[str, int] | None = None,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 1 or reg_weight < 0:
            raise ValueError(
                f"layers is {layers} and reg_weight {reg_weight}; expected at least 1 layer, and no negative weight"
            )
        self.layers = layers
        self.reg_weight = reg_weight
        self.penalised = list(penalised)
        self.learn_ids = learn_ids
        self.graph = InteractionGraph(users=users, items=items, interactions=interactions)
        self.users = id_table(users, embedding_dim, initial_std)
        self.items = id_table(items, embedding_dim, initial_std)
        self.contents = Contents(
            users=users,
            items=items,
            latent=latent,
            latent_of=latent_of,
            widths=widths,
            initial_std=initial_std,
        )
        self.convolutions = nn.ModuleDict()
        self._make_convolutions()

    def _make_convolutions(self) -> None:
        width = self.items.embedding_dim
        for name in self.contents:
            nodes = self.contents[name]
            self.convolutions[name] = Convolutions(nodes.width, width, layers=self.layers)
            nodes.preferences.weight.requires_grad_(self.learn_ids)
        for table in (self.users, self.items):
            table.weight.requires_grad_(self.learn_ids)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`MMGCN(**settings)`), as a JSON object."""
        return {
            "users": self.graph.users,
            "items": self.graph.items,
            "embedding_dim": self.items.embedding_dim,
            "layers": self.layers,
            "latent": self.contents.latent,
            "latent_of": self.contents.latent_of,
            "reg_weight": self.reg_weight,
            "penalised": self.penalised,
            "learn_ids": self.learn_ids,
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
        self._make_convolutions()
        self.to(self.items.weight.device)

    def tables(self, vectors: Tensor | None = None) -> Tables:
        """The vectors of all items, (N + 1, E), and users, (S + 1, E); `vectors` are not read."""
        ids = torch.cat([self.users.weight, self.items.weight])
        nodes = [self._nodes_of(name, ids) for name in self.contents]
        return tables_of_nodes(torch.stack(nodes).mean(0), self.graph)

    def _nodes_of(self, name: str, ids: Tensor) -> Tensor:
        """(V, E) vectors of all nodes from one tower."""
        nodes = F.normalize(torch.cat(self.contents[name]()))
        # Recomputed in the backward pass, so that memory does not grow with the number of towers.
        layers = self.convolutions[name]
        return checkpoint(layers, nodes, ids, self.graph.adjacency, use_reentrant=False)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) rows of the table of users.

        Raises:
            ValueError: without rows of users.
        """
        return rows_of_users(users, tables)

    def penalty(self, batch: Batch) -> Tensor:
        """The penalty of a batch, a scalar."""
        penalty = mean_squares_of_rows(batch, self.users.weight, self.items.weight)
        for name in check_penalised(self.penalised, self.contents):
            penalty = penalty + self.contents[name].preferences.weight[1:].square().mean()
        return self.reg_weight * penalty


class Convolutions(nn.Module):
    """The layers of one tower.

    Args:
        width: D of the tower's nodes.
        out: E.
        layers: n.
    """

    def __init__(self, width: int, out: int, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Convolution(inner, out) for inner in (width, *[out] * (layers - 1))
        )

    def forward(self, nodes: Tensor, ids: Tensor, adjacency: Adjacency) -> Tensor:
        """(V, D) nodes, (V, E) id vectors -> (V, E)."""
        for layer in self.layers:
            nodes = layer(nodes, ids, adjacency)
        return nodes


class Convolution(nn.Module):
    """A layer of MMGCN: h = φ(mean over neighbours of W x), r = φ(W_l x + b_l) + e, φ(G [h; r] + b_g).

    Args:
        width: D of x.
        out: E.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.neighbours = nn.Linear(width, width, bias=False)
        self.own = nn.Linear(width, out)
        self.combine = nn.Linear(width + out, out)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_normal_(parameter)

    def forward(self, nodes: Tensor, ids: Tensor, adjacency: Adjacency) -> Tensor:
        """(V, D) x, (V, E) e -> (V, E)."""
        means = weighted_sums(adjacency.edges, adjacency.means, self.neighbours(nodes))
        heard = F.leaky_relu(means, inplace=True)
        own = F.leaky_relu(self.own(nodes), inplace=True) + ids
        of_heard, of_own = self.combine.weight.split([heard.shape[1], own.shape[1]], dim=1)
        # G [h; r] without a copy of h and r, which autograd would keep.
        combined = F.linear(heard, of_heard, self.combine.bias) + F.linear(own, of_own)
        return F.leaky_relu(combined, inplace=True)


def _about(settings: MMGCNSettings) -> str:
    return f"MMGCN, {settings.layers} layers per tower, over the graph of training interactions"


MMGCN_KIND = GeneralKind(
    settings=MMGCNSettings,
    module=MMGCN,
    noun="an MMGCN model",
    about=_about,
    reads="features",
    needs_user=True,
)
