"""Features joined from several sources, for item encoders that read more than one kind.

N items, numbered 1..N; U items of a batch.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.inputs.features import Features
from models.machine.residency import Residency


class JoinedFeatures:
    """The features of several sources in one mapping. The sources must have distinct feature names.

    Args:
        sources: at least one.
    """

    def __init__(self, sources: Sequence[Features]) -> None:
        self.sources = list(sources)

    @property
    def residency(self) -> Residency | None:
        """Residency of the stored features; None if no source is stored."""
        return next((source.residency for source in self.sources if source.residency), None)

    @property
    def prefetch(self) -> bool:
        """Whether any source asks for prefetch."""
        return any(source.prefetch for source in self.sources)

    def gather(self, items: Tensor) -> Mapping[str, Any]:
        """(U,) -> the features of all sources by name."""
        return {
            name: value for source in self.sources for name, value in source.gather(items).items()
        }

    def missing(self) -> dict[str, int]:
        """By tower of raw content, how many items have no source."""
        return {name: n for source in self.sources for name, n in source.missing().items()}

    @property
    def broken(self) -> Mapping[str, set[int]]:
        """By tower of raw content, the items seen so far whose source cannot be read."""
        return {name: items for source in self.sources for name, items in source.broken.items()}

    def same_as(self) -> Tensor:
        """(N + 1,): equal features in every source."""
        return self._same_as

    @cached_property
    def _same_as(self) -> Tensor:
        each = torch.stack([source.same_as() for source in self.sources])
        _, group = torch.unique(each, dim=1, return_inverse=True)
        first = torch.full((each.shape[1],), each.shape[1])
        first.scatter_reduce_(0, group, torch.arange(each.shape[1]), reduce="amin")
        return first[group]
