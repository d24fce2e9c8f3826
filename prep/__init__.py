"""From raw dumps to Arrow datasets: `ingest`, `media`, `encode`, all three as `build`, `check`, and `report`."""

from prep.build import build
from prep.check import check
from prep.config import EncodeConfig, MediaConfig, PrepConfig
from prep.encode import encode
from prep.ingest import ingest
from prep.media import media
from prep.report import report

__all__ = [
    "EncodeConfig",
    "MediaConfig",
    "PrepConfig",
    "build",
    "check",
    "encode",
    "ingest",
    "media",
    "report",
]
