"""The common base of prep and models: tables, stores, ids, splits, metrics, towers, backbones."""

# ruff: noqa: E402
from toolkit.console.starting import guard

guard()  # before the imports below, which take seconds

from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.splits import Evaluation, Splits
from toolkit.towers import TowerSpec, select_layers

__all__ = [
    "Dataset",
    "Evaluation",
    "Splits",
    "TowerSpec",
    "UserError",
    "open_dataset",
    "select_layers",
]
