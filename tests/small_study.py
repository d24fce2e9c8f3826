"""A small study on predictable walks."""

from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "protocols": ["paper", "clean"],
    "trials": 2,
    "seeds": [1, 2],
    "epochs": 2,
    "methods": {
        "popularity": {"config": ["popularity"]},
        "ease": {
            "config": ["ease"],
            "search": {"recommender.regularisation": [1.0, 100.0]},
        },
        "id": {
            "config": ["id"],
            "settings": {"side.embedding_dim": 16, "train.batch_size": 64},
            "search": {"train.rates.base": {"low": 1e-3, "high": 1e-2, "log": True}},
        },
    },
}


def write_plan(folder: Path, content: dict[str, Any]) -> Path:
    """The file of a study."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
