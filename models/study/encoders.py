"""The encoders behind the towers of a run, whose sizes a study shows beside its metric."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.dataset import Dataset


def encoders_of(dataset: Dataset, towers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By stored tower: its `encoder`, the encoder's number of `weights` (None if it is not recorded) and its `width`."""
    steps = dataset.manifest.get("steps", {})
    stored, found = dataset.towers(), {}
    for tower in towers:
        if tower not in stored:
            continue
        metadata = dataset.states_metadata(tower)
        found[tower] = {
            "encoder": metadata["encoder"],
            "weights": steps.get(f"encode:{tower}", {}).get("encoder_parameters"),
            "width": int(metadata["width"]),
        }
    return found


def weights_of(encoders: Mapping[str, Mapping[str, Any]]) -> int | None:
    """The number of weights of all encoders of a method; None if it has none, or if one is not recorded."""
    sizes = [encoder["weights"] for encoder in encoders.values()]
    return None if not sizes or None in sizes else sum(sizes)
