"""From raw dumps to Arrow datasets: `ingest`, `media`, `encode`, all three as `build`, `check` and `estimate`."""

from prep.build import build
from prep.check import check
from prep.config import EncodeConfig, MediaConfig, PrepConfig
from prep.encode import encode
from prep.estimate import Estimate, estimate
from prep.ingest import ingest
from prep.media import media

__all__ = [
    "EncodeConfig",
    "Estimate",
    "MediaConfig",
    "PrepConfig",
    "build",
    "check",
    "encode",
    "estimate",
    "ingest",
    "media",
]
