"""Fusions, which join the parts of an item into its embedding. `FUSIONS` maps their names to their declarations."""

from models.fusion.concat import CONCAT, Concat
from models.fusion.kind import FusionKind, MakeFusion
from models.fusion.sum import SUM, Sum

FUSIONS: dict[str, FusionKind] = {"concat": CONCAT, "sum": SUM}

__all__ = ["FUSIONS", "Concat", "FusionKind", "MakeFusion", "Sum"]
