"""Fusions, which join the parts of an item into its embedding. `FUSIONS` maps their names to their declarations."""

from models.fusion.co_attention import CO_ATTENTION, CoAttention
from models.fusion.concat import CONCAT, Concat
from models.fusion.film import FILM, FiLM
from models.fusion.gated import GATED, Gated
from models.fusion.kind import FusionKind, MakeFusion
from models.fusion.merge_attention import MERGE_ATTENTION, MergeAttention
from models.fusion.sum import SUM, Sum

FUSIONS: dict[str, FusionKind] = {
    "concat": CONCAT,
    "sum": SUM,
    "film": FILM,
    "gated": GATED,
    "co-attention": CO_ATTENTION,
    "merge-attention": MERGE_ATTENTION,
}

__all__ = [
    "FUSIONS",
    "CoAttention",
    "Concat",
    "FiLM",
    "FusionKind",
    "Gated",
    "MakeFusion",
    "MergeAttention",
    "Sum",
]
