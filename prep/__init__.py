"""From raw dumps to Arrow datasets: `ingest`, `comments`, `media`, `caption`, `encode`, all as `build`; `check`, `check_sources`, `export_tower`, `report`, `estimate`."""

# ruff: noqa: E402
from toolkit.console.starting import guard

guard()  # before imports that take seconds

from prep.build import build
from prep.caption import caption
from prep.captioners.sampled import Sample
from prep.check import check
from prep.checks.sources import check_sources
from prep.comments import comments
from prep.config import CaptionConfig, EncodeConfig, FeaturesConfig, MediaConfig, PrepConfig
from prep.encode import encode
from prep.estimate import Estimate, estimate
from prep.export import export_tower
from prep.ingest import ingest
from prep.media import media
from prep.report import report
from prep.sample import sample_captions

__all__ = [
    "CaptionConfig",
    "EncodeConfig",
    "Estimate",
    "FeaturesConfig",
    "MediaConfig",
    "PrepConfig",
    "Sample",
    "build",
    "caption",
    "check",
    "check_sources",
    "comments",
    "encode",
    "estimate",
    "export_tower",
    "ingest",
    "media",
    "report",
    "sample_captions",
]
