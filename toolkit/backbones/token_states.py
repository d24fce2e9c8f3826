"""States of the tokens of items, and which of them are padding.

U items, S tokens, D width.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class TokenStates(NamedTuple):
    """States of tokens. Each item has at least one real token.

    Args:
        states: (U, S, D). Values at padding are meaningless.
        real: (U, S), false at padding.
    """

    states: Tensor
    real: Tensor

    def mean(self) -> Tensor:
        """The mean over the real tokens of each item, (U, D)."""
        kept = self.states.masked_fill(~self.real[..., None], 0)
        return kept.sum(dim=1) / self.real.sum(dim=1, keepdim=True)


def single_tokens(vectors: Tensor) -> TokenStates:
    """Vectors (U, D) as items of one token each."""
    return TokenStates(
        vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
    )


def concatenate(parts: Iterable[TokenStates]) -> TokenStates:
    """The tokens of each item in several parts, one part after the other."""
    states, real = zip(*parts, strict=True)
    return TokenStates(torch.cat(states, dim=1), torch.cat(real, dim=1))
