"""Sequence encoders. `SEQUENCES` maps their names to their declarations."""

from models.sequence.bert4rec import BERT4REC, BERT4Rec
from models.sequence.gru4rec import GRU4REC, GRU4Rec
from models.sequence.hstu import HSTU, HSTU_KIND
from models.sequence.kind import SequenceKind
from models.sequence.ligr import LIGR, LiGR
from models.sequence.nextitnet import NEXTITNET, NextItNet
from models.sequence.sasrec import SASREC, SASRec

SEQUENCES: dict[str, SequenceKind] = {
    "sasrec": SASREC,
    "gru4rec": GRU4REC,
    "nextitnet": NEXTITNET,
    "bert4rec": BERT4REC,
    "ligr": LIGR,
    "hstu": HSTU_KIND,
}

__all__ = [
    "HSTU",
    "SEQUENCES",
    "BERT4Rec",
    "GRU4Rec",
    "LiGR",
    "NextItNet",
    "SASRec",
    "SequenceKind",
]
