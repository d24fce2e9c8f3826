"""The common base of prep and models: tables, stores, ids, splits, metrics, towers, backbones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.console.starting import guard

if TYPE_CHECKING:
    from toolkit.dataset import Dataset, open_dataset
    from toolkit.errors import UserError
    from toolkit.protocols import Protocol
    from toolkit.splits import Evaluation, Splits
    from toolkit.towers import TowerSpec, select_layers

__all__ = [
    "Dataset",
    "Evaluation",
    "Protocol",
    "Splits",
    "TowerSpec",
    "UserError",
    "open_dataset",
    "select_layers",
]

# Imported on first use, so that `python -m models --help` waits for neither NumPy nor pyarrow.
_MODULES = {
    "Dataset": "toolkit.dataset",
    "Evaluation": "toolkit.splits",
    "Protocol": "toolkit.protocols",
    "Splits": "toolkit.splits",
    "TowerSpec": "toolkit.towers",
    "UserError": "toolkit.errors",
    "open_dataset": "toolkit.dataset",
    "select_layers": "toolkit.towers",
}


guard()  # before imports that take seconds


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
