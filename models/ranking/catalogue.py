"""Every item of a catalogue, encoded once, and the scores of users over it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.features import Features
from models.machine.parallel import gather_shares, share
from models.machine.prefetch import make_each
from models.recommender import Recommender
from toolkit.errors import UserError

ITEMS_AT_ONCE = 1024


@dataclass(frozen=True)
class Catalogue:
    """The items that are ranked. Items of equal content share a column, so they tie exactly.

    Args:
        embeddings: (N + 1, E) of all items, row 0 zeros.
        vectors: (E, R) their distinct ones, as the matrix product reads them fastest.
        counts: (R,) catalogue items behind each column, float32.
        column: (N + 1,) column of each catalogue item, -1 for the others.
    """

    embeddings: Tensor
    vectors: Tensor
    counts: Tensor
    column: Tensor


@torch.no_grad()
def encode_catalogue(
    model: Recommender, features: Features, items: NDArray[np.int32], *, device: torch.device | str
) -> Catalogue:
    """Encodes all items, each distinct content once, the work shared between processes.

    Args:
        model: in evaluation mode.
        features: what the item encoder reads.
        items: (C,) numbers of the catalogue.
        device: where embeddings are wanted.
    """
    table = encode_all(model, features, device=device)
    return make_catalogue(table, features.same_as(), items)


@torch.no_grad()
def encode_all(model: Recommender, features: Features, *, device: torch.device | str) -> Tensor:
    """Embeddings of all items, (N + 1, E), row 0 zeros; the arguments are those of `encode_catalogue`."""
    same_as = features.same_as()
    distinct = torch.unique(same_as[1:])
    mine = distinct[share(len(distinct))]
    gathered = make_each(
        features.gather, mine.split(ITEMS_AT_ONCE), prefetch=features.ahead, device=device
    )
    chunks = [model.encode_items(chunk).to(device) for chunk in gathered]
    encoded = gather_shares(torch.cat(chunks), len(distinct))
    table = torch.zeros(len(same_as), encoded.shape[1], device=device)
    table[1:] = encoded[torch.searchsorted(distinct, same_as[1:]).to(device)]
    return table


def make_catalogue(embeddings: Tensor, same_as: Tensor, items: NDArray[np.int32]) -> Catalogue:
    """The catalogue of some items.

    Args:
        embeddings: (N + 1, E) of all items.
        same_as: (N + 1,) from `Features.same_as`.
        items: (C,) numbers of those in the catalogue.
    """
    device = embeddings.device
    numbers = torch.from_numpy(items.astype(np.int64))
    representatives, columns, counts = torch.unique(
        same_as[numbers], return_inverse=True, return_counts=True
    )
    column = torch.full((len(same_as),), -1)
    column[numbers] = columns
    return Catalogue(
        embeddings=embeddings,
        vectors=embeddings[representatives.to(device)].T.contiguous(),
        counts=counts.float().to(device),
        column=column.to(device),
    )


def score(users: Tensor, catalogue: Catalogue) -> Tensor:
    """Scores of every distinct item for (B, E) user states, (B, R).

    Raises:
        UserError: if a score is not finite.
    """
    scores = users @ catalogue.vectors
    if not torch.isfinite(torch.stack(scores.aminmax())).all():  # in one pass over them
        broken = int((~torch.isfinite(scores)).any(dim=1).sum())
        raise UserError(
            f"scores of {broken} of {len(scores)} users are not finite; the model has diverged "
            "(lower the learning rate, or go back to an earlier checkpoint)"
        )
    return scores
