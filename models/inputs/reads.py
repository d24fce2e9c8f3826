"""The parts of a dataset that a run reads. Its identity and its provenance depend on them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from toolkit.backbones import EncoderSpec

States = Literal["stored", "live"]


@dataclass(frozen=True)
class Reads:
    """The parts of a dataset that a run reads.

    Args:
        towers: names of its towers.
        states: `stored` for the hidden states that prep stored, `live` for those of encoders that the run calls.
        encoders: by tower, the encoders that the run trains; it reads no hidden states of these towers.
        tokens: the towers of `encoders` whose encoders run on stored token states.
        times: whether it reads the times of interactions.
    """

    towers: Sequence[str] = ()
    states: States = "stored"
    encoders: Mapping[str, EncoderSpec] = field(default_factory=dict)
    tokens: Collection[str] = ()
    times: bool = False
