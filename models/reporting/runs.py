"""The facts of one run: settings, environment, model and training."""

from dataclasses import asdict
from typing import Any

import numpy as np

from models.parameters import count_trainable
from models.reporting.buckets import describe_bias, describe_warmth
from models.reporting.curves import describe_curves
from models.reporting.gates import describe_gates
from models.results.evaluations import Evaluated
from models.runs.files import read_environment
from models.runs.trained import TrainedRecommender
from models.training.log import flat
from toolkit.histories import Ints

COMMAND_KEYS = ("data", "output", "resume")  # settings that do not describe the model
ENVIRONMENT = (
    "started",
    "device",
    "processes",
    "threads",
    "mixed_precision",
    "versions",
    "git_commit",
)


def describe_run(
    name: str, trained: TrainedRecommender, evaluated: Evaluated, targets: Ints, lists: Ints
) -> dict[str, Any]:
    """All facts of a run.

    Args:
        name: name of the run.
        trained: the loaded run.
        evaluated: its evaluation.
        targets: (R,) item numbers.
        lists: (R, k) recommended items.
    """
    counts, catalogue = trained.splits.train_counts, trained.splits.known
    environment = read_environment(evaluated.run)
    return {
        "name": name,
        "path": str(evaluated.run),
        "item": trained.config.item,
        "towers": describe_towers(trained),
        "dataset": trained.dataset.name,
        **evaluated.report,
        "settings": flat_settings(asdict(trained.config)),
        "environment": {key: environment.get(key) for key in ENVIRONMENT},
        "trainable_parameters": count_trainable(trained.model),
        "curves": describe_curves(evaluated.run),
        "gates": describe_gates(trained),
        "warmth": describe_warmth(
            np.asarray(evaluated.ranks.column("rank")), targets, counts, evaluated.users
        ),
        "bias": describe_bias(lists, targets, catalogue, counts),
    }


def describe_towers(trained: TrainedRecommender) -> dict[str, str]:
    """The encoder and source of each tower."""
    encoders = trained.config.reads.encoders
    towers = {
        name: vars(encoders[name]) if name in encoders else trained.dataset.states_metadata(name)
        for name in trained.config.content
    }
    return {name: f"{tower['encoder']} over {tower['source']}" for name, tower in towers.items()}


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, without those that do not describe the model.

    >>> flat_settings({"data": "d", "towers": ["title"], "train": {"seed": 1}})
    {'towers': ['title'], 'train.seed': 1}
    """
    return {key: value for key, value in flat(settings).items() if key not in COMMAND_KEYS}
