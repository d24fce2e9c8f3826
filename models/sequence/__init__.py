"""The ways to encode a sequence of item embeddings."""

from models.sequence.sasrec import SASRec

__all__ = ["SASRec"]
