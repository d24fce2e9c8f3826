"""From raw dumps to Arrow datasets: `ingest`, `comments`, `media`, `caption`, `encode`, all as `build`; `check`, `check_sources`, `export_tower`, `permute_items`, `audit`, `report`, `estimate`; `faces`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from toolkit.console.starting import guard

if TYPE_CHECKING:
    from prep.audit import audit
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
    from prep.faces.config import FacesConfig
    from prep.faces.store import faces
    from prep.ingest import ingest
    from prep.media import media
    from prep.permute import permute_items
    from prep.report import report
    from prep.sample import sample_captions

__all__ = [
    "CaptionConfig",
    "EncodeConfig",
    "Estimate",
    "FacesConfig",
    "FeaturesConfig",
    "MediaConfig",
    "PrepConfig",
    "Sample",
    "audit",
    "build",
    "caption",
    "check",
    "check_sources",
    "comments",
    "encode",
    "estimate",
    "export_tower",
    "faces",
    "ingest",
    "media",
    "permute_items",
    "report",
    "sample_captions",
]

# Imported on first use: a decoding process imports only what it decodes with.
_MODULES = {
    "CaptionConfig": "prep.config",
    "EncodeConfig": "prep.config",
    "Estimate": "prep.estimate",
    "FacesConfig": "prep.faces.config",
    "FeaturesConfig": "prep.config",
    "MediaConfig": "prep.config",
    "PrepConfig": "prep.config",
    "Sample": "prep.captioners.sampled",
    "audit": "prep.audit",
    "build": "prep.build",
    "caption": "prep.caption",
    "check": "prep.check",
    "check_sources": "prep.checks.sources",
    "comments": "prep.comments",
    "encode": "prep.encode",
    "estimate": "prep.estimate",
    "export_tower": "prep.export",
    "faces": "prep.faces.store",
    "ingest": "prep.ingest",
    "media": "prep.media",
    "permute_items": "prep.permute",
    "report": "prep.report",
    "sample_captions": "prep.sample",
}


guard()  # before imports that take seconds


class _Package(ModuleType):
    """This package. The function `build` keeps its name when Python sets the module `prep.build` in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
