"""The ground prep and models stand on: tables, stores, ids, splits, metrics, towers, backbones."""

from toolkit.starting import guard

guard()  # before imports that take seconds

from toolkit.dataset import Dataset, open_dataset  # noqa: E402
from toolkit.errors import UserError  # noqa: E402
from toolkit.splits import Evaluation, Splits  # noqa: E402
from toolkit.towers import TowerSpec, select_layers  # noqa: E402

__all__ = [
    "Dataset",
    "Evaluation",
    "Splits",
    "TowerSpec",
    "UserError",
    "open_dataset",
    "select_layers",
]
