"""From raw dumps to Arrow datasets: `ingest`, `comments`, `media`, `encode`, all as `build`; `check`, `report`."""

from prep.build import build
from prep.check import check
from prep.comments import comments
from prep.config import EncodeConfig, FeaturesConfig, MediaConfig, PrepConfig
from prep.encode import encode
from prep.ingest import ingest
from prep.media import media
from prep.report import report

__all__ = [
    "EncodeConfig",
    "FeaturesConfig",
    "MediaConfig",
    "PrepConfig",
    "build",
    "check",
    "comments",
    "encode",
    "ingest",
    "media",
    "report",
]
