"""EASE: a linear model of items in closed form.

B users, L inputs, C items, N items of a dataset, T items with training interactions, r rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.general.histories import newest_occurrences
from models.general.kind import GeneralKind
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from toolkit.errors import UserError

_MATRICES = 3  # of T x T, which the inverse takes at once


@dataclass
class EaseSettings:
    """The recommender.

    Args:
        kind: name of the recommender.
        regularisation: λ.
        rank: number of singular vectors of the training matrix that approximate it, for catalogues whose T x T weights do
            not fit into memory; 0 is exact.
    """

    kind: str = "ease"
    regularisation: float = 100.0
    rank: int = 0

    def __post_init__(self) -> None:
        if not self.regularisation > 0:
            raise UserError(
                f"recommender.regularisation is {self.regularisation}; it must be above 0"
            )
        if self.rank < 0:
            raise UserError(f"recommender.rank is {self.rank}; it must be at least 0")


class Ease(nn.Module):
    """s(u, j) = Σ_i B_ij over the distinct items i of a history, with B_jj = 0 (arXiv 1905.03375).

    With the binary training matrix X (S, T), P = (XᵀX + λI)⁻¹ and B_ij = -P_ij / P_jj. With the r largest singular values
    σ and right singular vectors V of X, P ≈ (I - V D Vᵀ) / λ with D = σ² / (σ² + λ), so B_ij ≈ (V D Vᵀ)_ij / (λ P_jj).
    Items without training interactions have score 0.

    Args:
        items: N.
        regularisation: λ.
        rank: r; 0 keeps B itself.
        known: T.
    """

    numbers: Tensor
    weights: Tensor
    columns: Tensor | None
    values_per_score = 3
    scores_all_items = True

    def __init__(
        self, *, items: int, regularisation: float = 100.0, rank: int = 0, known: int = 0
    ) -> None:
        super().__init__()
        self.items = items
        self.regularisation = regularisation
        self.rank = rank
        self.register_buffer("numbers", torch.zeros(known, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(known, rank or known))
        self.register_buffer("columns", torch.zeros(known, rank) if rank else None)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module, as a JSON object."""
        return {
            "items": self.items,
            "regularisation": self.regularisation,
            "rank": self.rank,
            "known": len(self.numbers),
        }

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Computes the weights.

        Raises:
            UserError: if they do not fit into memory, or the rank exceeds the size of the training matrix.
        """
        numbers = np.unique(interactions.items)
        matrix = interactions.matrix()[1:, numbers]
        if not self.rank:
            self.solve(numbers, matrix)
            return
        if self.rank >= min(matrix.shape):
            raise UserError(
                f"recommender.rank is {self.rank}, but the training matrix is {matrix.shape[0]:,} x {matrix.shape[1]:,}; "
                "lower it, or leave it out"
            )
        self.numbers = torch.from_numpy(numbers)
        self.weights, self.columns = _low_rank(matrix, self.regularisation, self.rank)

    def solve(self, numbers: NDArray[np.int64], matrix: Any, added: Tensor | None = None) -> None:
        """Computes B from P = (XᵀX + A + λI)⁻¹.

        Args:
            numbers: (T,) item numbers of the columns of X.
            matrix: X, (S, T), sparse.
            added: (T, D) a matrix C with A = C·Cᵀ; None for A = 0.

        Raises:
            UserError: if the weights do not fit into memory.
        """
        size = len(numbers)
        needed, free = 4 * _MATRICES * size**2, psutil.virtual_memory().available
        if needed > free:
            raise UserError(
                f"linear weights between {size:,} items take {needed / 2**30:,.1f} GiB while they are computed, and "
                f"{free / 2**30:,.1f} GiB are free; use a machine with more memory, or --recommender.kind ease "
                "--recommender.rank 512"
            )
        gram = torch.from_numpy((matrix.T @ matrix).astype(np.float32).toarray())
        if added is not None:
            gram.addmm_(added, added.T)
        gram.diagonal().add_(self.regularisation)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram, out=gram))
        self.numbers = torch.from_numpy(numbers)
        self.weights = inverse.div_(-inverse.diagonal().clone())
        self.weights.diagonal().zero_()

    def tables(self, vectors: Tensor | None) -> Tables:
        """(N + 1, 1): the item numbers."""
        return Tables(torch.arange(self.items + 1, device=self.numbers.device)[:, None])

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, L): the inputs; repeated items are padding."""
        return users.inputs * newest_occurrences(users.inputs)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(B, L) histories, (C, 1) item numbers -> (B, C)."""
        rows = torch.full((self.items + 1,), -1, device=users.device)
        rows[self.numbers] = torch.arange(len(self.numbers), device=users.device)
        history, columns = rows[users], rows[items[:, 0]]
        real = (history >= 0).to(self.weights.dtype)
        summed = F.embedding_bag(
            history.clamp(min=0), self.weights, mode="sum", per_sample_weights=real
        )
        if self.columns is not None:
            summed = summed @ self.columns.T
            own = (self.weights * self.columns).sum(1)  # B_jj, which is 0
            at = history.clamp(min=0)
            summed.scatter_add_(1, at, -own[at] * real)
        # The last column is that of items without training interactions.
        return F.pad(summed, (0, 1)).index_select(1, columns % (len(self.numbers) + 1))


def _low_rank(matrix: Any, regularisation: float, rank: int) -> tuple[Tensor, Tensor]:
    """(T, r) V D and (T, r) V / (λ P_jj), from X. Their product is B but for the diagonal."""
    from scipy.sparse.linalg import svds  # type: ignore[import-untyped]

    start = np.ones(min(matrix.shape))  # svds draws a random one otherwise
    _, values, vectors = svds(matrix.astype(np.float64), k=rank, v0=start)
    shares = values**2 / (values**2 + regularisation)
    vectors = vectors.T
    diagonal = 1 - (vectors**2) @ shares  # λ P_jj
    return tuple(
        torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        for x in (vectors * shares, vectors / diagonal[:, None])
    )  # type: ignore[return-value]


EASE = GeneralKind(
    settings=EaseSettings,
    module=Ease,
    noun="an EASE model",
    about=lambda settings: (
        "Items are ranked by linear weights between items (EASE), summed over the items of a history."
    ),
    trains=False,
)
