"""Sequence encoders. `SEQUENCES` maps their names to their declarations."""

from models.sequence.kind import SequenceKind
from models.sequence.sasrec import SASREC, SASRec

SEQUENCES: dict[str, SequenceKind] = {"sasrec": SASREC}

__all__ = ["SEQUENCES", "SASRec", "SequenceKind"]
