"""What the gates of an item encoder have come to, level by level.

T towers, K kept states.
"""

from typing import Any

from models.items.kind import Gated
from models.items.side_network import INTER
from models.runs.trained import TrainedRecommender

EMBEDDING = "emb."  # the embedding output, which stands before the layers


def describe_gates(trained: TrainedRecommender) -> dict[str, Any]:
    """Gates of a run's item encoder.

    Returns:
        `towers`: by name, `layers`, K labels from the bottom, and `gates`, K numbers: how much of each kept
        state goes in, the rest being the side state; `inter`: `towers`, `layers` and `weights`, a list of T for
        each level, or None; `why_not`: in words, where there are no gates at all.
    """
    encoder = trained.model.item_encoder
    gates = encoder.gates() if isinstance(encoder, Gated) else {}
    if not isinstance(encoder, Gated) or not gates:
        return {"towers": {}, "inter": None, "why_not": trained.config.item_kind.without_gates}
    found = {name: values.cpu().tolist() for name, values in gates.items()}
    labels = {spec.name: _labels(trained, spec.name, spec.layers) for spec in encoder.specs}
    weights = found.pop(INTER, None)
    towers = {name: {"layers": labels[name], "gates": gates} for name, gates in found.items()}
    return {
        "towers": towers,
        "inter": weights and _inter(list(labels), labels, weights),
        "why_not": None,
    }


def _inter(
    towers: list[str], labels: dict[str, list[str]], weights: list[list[float]]
) -> dict[str, Any]:
    """Towers of unequal depth are aligned from the top, so a level is a layer of each."""
    tops = [labels[name][-len(weights) :] for name in towers]
    levels = [
        names[0] if len(set(names)) == 1 else "/".join(names) for names in zip(*tops, strict=True)
    ]
    return {"towers": towers, "layers": levels, "weights": weights}


def _labels(trained: TrainedRecommender, tower: str, layers: int) -> list[str]:
    """The encoder's layers, counted from 0, where the states' metadata tell; else the kept states' places."""
    kept = trained.dataset.states_metadata(tower).get("kept", "")
    numbers = [int(number) for number in kept.split(",") if number]
    if len(numbers) != layers:
        return [f"#{place}" for place in range(1, layers + 1)]
    return [EMBEDDING if number == 0 else str(number - 1) for number in numbers]
