"""The learned gates of an item encoder, by level.

T towers, K kept states.
"""

from typing import Any

from models.config import RunConfig
from models.items.kind import Gated
from models.items.side_network import INTER
from models.runs.trained import TrainedRecommender

EMBEDDING = "emb."  # label of the embedding output, below the first layer


def describe_gates(trained: TrainedRecommender) -> dict[str, Any]:
    """Gates of a run's item encoder.

    Returns:
        `towers`: by name, `layers`, K labels from the bottom, and `gates`, K weights of the kept state against the
        side state; `inter`: `towers`, `layers` and `weights`, T weights per level, or None; `why_not`: the reason if
        the encoder has no gates.
    """
    encoder = trained.model.item_encoder
    gates = encoder.gates() if isinstance(encoder, Gated) else {}
    if not isinstance(encoder, Gated) or not gates:
        return {"towers": {}, "inter": None, "why_not": _without_gates(trained.config)}
    tower_gates = {name: values.cpu().tolist() for name, values in gates.items()}
    labels = {spec.name: _labels(trained, spec.name, spec.layers) for spec in encoder.specs}
    weights = tower_gates.pop(INTER, None)
    towers = {
        name: {"layers": labels[name], "gates": values} for name, values in tower_gates.items()
    }
    return {
        "towers": towers,
        "inter": weights and _inter(list(labels), labels, weights),
        "why_not": None,
    }


def _without_gates(config: RunConfig) -> str:
    if config.encodes_items:
        return config.item_kind.without_gates
    return f"{config.noun} has no item encoder, so it has no gates"


def _inter(
    towers: list[str], labels: dict[str, list[str]], weights: list[list[float]]
) -> dict[str, Any]:
    """Weights between towers. Towers of unequal depth are aligned at the top layer."""
    tops = [labels[name][-len(weights) :] for name in towers]
    levels = [
        names[0] if len(set(names)) == 1 else "/".join(names) for names in zip(*tops, strict=True)
    ]
    return {"towers": towers, "layers": levels, "weights": weights}


def _labels(trained: TrainedRecommender, tower: str, layers: int) -> list[str]:
    """Labels of the kept states: the encoder's layers, from 0, if the metadata record them; else indices from 1."""
    kept = trained.dataset.states_metadata(tower).get("kept", "")
    numbers = [int(number) for number in kept.split(",") if number]
    if len(numbers) != layers:
        return [f"#{index}" for index in range(1, layers + 1)]
    return [EMBEDDING if number == 0 else str(number - 1) for number in numbers]
