"""The ways to encode a sequence of item embeddings. `SEQUENCES` holds their declarations by name."""

from models.sequence.kind import SequenceKind
from models.sequence.sasrec import SASREC, SASRec

SEQUENCES: dict[str, SequenceKind] = {"sasrec": SASREC}

__all__ = ["SEQUENCES", "SASRec", "SequenceKind"]
