"""Embeddings of a catalogue's items, each distinct content encoded once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.features import Features
from models.inputs.tables import Tables
from models.losses.loss import Scores
from models.machine.autocast import autocast
from models.machine.parallel import gather_shares, rank_and_world, share
from models.machine.precision import Precision
from models.machine.prefetch import make_each
from models.ranking.scorer import Scorer

ITEMS_AT_ONCE = 512


@dataclass(frozen=True)
class Catalogue:
    """The items that are ranked. Items with equal content share a column, so their scores are exactly equal.

    Args:
        embeddings: (N + 1, E) embeddings of all items, row 0 zeros.
        vectors: (R, E) distinct embeddings of the catalogue.
        counts: (R,) number of catalogue items per column, float32; 0 for a column of appended items alone.
        column: (N + 1,) column of each catalogue item and each appended item, -1 for all other items.
        users: (S + 1, E) vectors of the training users; None if a model computes them from histories.
        scores: computes scores that are no dot products; None for dot products.
        appended: (N + 1,) whether an item is outside the catalogue and is added to the rankings alone whose target it is;
            None if no item is.
    """

    embeddings: Tensor
    vectors: Tensor
    counts: Tensor
    column: Tensor
    users: Tensor | None = None
    scores: Scores | None = None
    appended: Tensor | None = None

    @property
    def tables(self) -> Tables:
        """The tables of all items and of the training users."""
        return Tables(self.embeddings, self.users)

    def ranks(self, items: Tensor) -> Tensor:
        """Which items every ranking contains, unless they are masked."""
        inside = self.column[items] >= 0
        return inside if self.appended is None else inside & ~self.appended[items]

    @cached_property
    def longest(self) -> float:
        """The largest norm of a vector; NaN if a vector is not finite."""
        return (
            float(torch.linalg.vector_norm(self.vectors, dim=1).amax())
            if len(self.vectors)
            else 0.0
        )

    @cached_property
    def listed(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(C,) items that every ranking contains, by column and number, and (R + 1,) the first of each column in it."""
        every = torch.arange(len(self.column), device=self.column.device)
        items = every[self.ranks(every)]
        columns, order = self.column[items].sort(stable=True)
        edges = torch.arange(len(self.counts) + 1, device=columns.device)
        return items[order].cpu().numpy(), torch.searchsorted(columns, edges).cpu().numpy()


@torch.no_grad()
def encode_catalogue(
    model: Scorer,
    features: Features,
    items: NDArray[np.int32],
    *,
    device: torch.device | str,
    precision: Precision = "no",
    appended: NDArray[np.int32] | None = None,
) -> Catalogue:
    """Encodes all items. Each distinct content is encoded once; processes divide the work.

    Args:
        model: in evaluation mode.
        features: inputs of the item encoder.
        items: (C,) item numbers of the catalogue.
        device: device of the returned tensors.
        appended: numbers of items outside the catalogue that are ranked as targets.
        precision: in which the item encoder computes: that of the run. Embeddings and scores are float32.
    """
    vectors = None
    if model.item_encoder is not None:
        vectors = encode_all(model, features, device=device, precision=precision)
    tables = model.tables(vectors)
    return make_catalogue(
        tables.items, features.same_as(), items, users=tables.users, model=model, appended=appended
    )


@torch.no_grad()
def encode_all(
    model: Scorer,
    features: Features,
    *,
    device: torch.device | str,
    precision: Precision = "no",
) -> Tensor:
    """Embeddings of all items, (N + 1, E), row 0 zeros. The arguments are those of `encode_catalogue`."""
    same_as = features.same_as()
    distinct = torch.unique(same_as[1:])
    gathered = make_each(
        features.gather, _chunks(distinct), prefetch=features.prefetch, device=device
    )
    with autocast(precision, device):
        chunks = [model.encode_items(chunk).to(device, torch.float32) for chunk in gathered]
    encoded = gather_shares(torch.cat(chunks), len(distinct))
    table = torch.zeros(len(same_as), encoded.shape[1], device=device)
    table[1:] = encoded[torch.searchsorted(distinct, same_as[1:]).to(device)]
    return table


def _chunks(distinct: Tensor) -> list[Tensor]:
    """The item numbers that this process encodes, in chunks; as many chunks in each process.

    Striding over the catalogue gives each process long and short texts alike. An item that pads a share is left out,
    unless its chunk would be empty.
    """
    rank, world = rank_and_world()
    mine = distinct[share(len(distinct))]
    chunks = list(mine.split(ITEMS_AT_ONCE))
    own = len(range(rank, len(distinct), world))
    if own < len(mine) and len(chunks[-1]) > 1:
        chunks[-1] = chunks[-1][:-1]
    return chunks


def make_catalogue(
    embeddings: Tensor,
    same_as: Tensor,
    items: NDArray[np.int32],
    *,
    users: Tensor | None = None,
    model: Scorer | None = None,
    appended: NDArray[np.int32] | None = None,
) -> Catalogue:
    """Builds the catalogue of the given items.

    Args:
        embeddings: (N + 1, E) embeddings of all items.
        same_as: (N + 1,) from `Features.same_as`.
        items: (C,) item numbers of the catalogue.
        users: (S + 1, E) vectors of the training users, if the model has them.
        model: computes scores; None for dot products.
        appended: numbers of items outside the catalogue that are ranked as targets.
    """
    device = embeddings.device
    more = np.zeros(0, dtype=np.int32) if appended is None else appended
    numbers = torch.from_numpy(np.concatenate([items, more]).astype(np.int64))
    representatives, columns = torch.unique(same_as[numbers], return_inverse=True)
    counts = torch.bincount(columns[: len(items)], minlength=len(representatives))
    column = torch.full((len(same_as),), -1)
    column[numbers] = columns
    is_appended = torch.zeros(len(same_as), dtype=torch.bool)
    is_appended[numbers[len(items) :]] = True
    return Catalogue(
        embeddings=embeddings,
        vectors=embeddings[representatives.to(device)],
        counts=counts.float().to(device),
        column=column.to(device),
        users=users,
        scores=None if model is None else model.own_scores,
        appended=is_appended.to(device) if len(more) else None,
    )
