"""What one run tells about itself: settings, environment, model and course."""

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
from toolkit.splits import Ints

PLACES = ("data", "output", "resume")  # settings that say where, not what
ABOUT = ("started", "device", "processes", "threads", "mixed_precision", "versions", "git_commit")


def describe_run(
    name: str, trained: TrainedRecommender, found: Evaluated, targets: Ints, lists: Ints
) -> dict[str, Any]:
    """All facts of a run.

    Args:
        name: of the run.
        trained: the run, opened.
        found: its evaluation.
        targets: (S,) item numbers.
        lists: (S, k) what it recommends.
    """
    counts, catalogue = trained.splits.train_counts, trained.splits.catalogue
    environment = read_environment(found.run)
    return {
        "name": name,
        "path": str(found.run),
        "item": trained.config.item,
        "towers": describe_towers(trained),
        "dataset": trained.dataset.name,
        **found.report,
        "settings": flat_settings(asdict(trained.config)),
        "environment": {key: environment.get(key) for key in ABOUT},
        "trainable_parameters": count_trainable(trained.model),
        "curves": describe_curves(found.run),
        "gates": describe_gates(trained),
        "warmth": describe_warmth(np.asarray(found.ranks.column("rank")), targets, counts),
        "bias": describe_bias(lists, targets, catalogue, counts),
    }


def describe_towers(trained: TrainedRecommender) -> dict[str, str]:
    """What reads each tower, and what of."""
    encoders = trained.config.reads["encoders"]
    about = {
        name: vars(encoders[name]) if name in encoders else trained.dataset.states_metadata(name)
        for name in trained.config.content
    }
    return {name: f"{told['encoder']} over {told['source']}" for name, told in about.items()}


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, but for those that say where.

    >>> flat_settings({"data": "d", "towers": ["title"], "train": {"seed": 1}})
    {'towers': ['title'], 'train.seed': 1}
    """
    return {key: value for key, value in flat(settings).items() if key not in PLACES}
