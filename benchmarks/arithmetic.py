"""The arithmetic of a training step, counted and not timed: operations, and the bytes that must be held.

Operations are those of matrix products, convolutions and attention, as torch's FlopCounterMode counts them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.prepare import Training


@dataclass(frozen=True)
class Arithmetic:
    """Of one step, whose gradients are taken and not applied.

    Args:
        items: distinct items of the step.
        steps: steps of an epoch.
        flops: forward and backward, the frozen encoders of live states included.
        parameter_bytes: weights of the model and of the encoders of live states.
        gradient_bytes: of what trains.
        optimizer_bytes: both moments of Adam.
        activation_bytes: what autograd keeps from the forward pass for the backward pass, weights left out.
    """

    items: int
    steps: int
    flops: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int

    @property
    def held_bytes(self) -> int:
        """All bytes that must be held at once."""
        return (
            self.parameter_bytes
            + self.gradient_bytes
            + self.optimizer_bytes
            + self.activation_bytes
        )


def count(training: Training) -> Arithmetic:
    """Counts the first step of an epoch. The weights stay as they are; gradients are cleared."""
    model, features = training.model, training.features
    batch = next(iter(training.batches.epoch(1)))
    encoders = [frozen.encoder for frozen in getattr(features, "encoders", {}).values()]
    weights = list({id(x): x for part in (model, *encoders) for x in part.parameters()}.values())
    trained = sum(x.numel() * x.element_size() for x in weights if x.requires_grad)
    saved = _Saved(weights)
    step: Any = training.step
    with FlopCounterMode(display=False) as counter:
        if not features.prefetch:  # live states are computed where the batch is gathered
            features.gather(batch.items)
        with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
            loss = step.model(batch)
        loss.backward()
    model.zero_grad(set_to_none=True)
    return Arithmetic(
        items=len(batch.items),
        steps=len(training.batches),
        flops=counter.get_total_flops(),
        parameter_bytes=sum(x.numel() * x.element_size() for x in weights),
        gradient_bytes=trained,
        optimizer_bytes=2 * trained,
        activation_bytes=saved.nbytes,
    )


class _Saved:
    """Adds up the storages that autograd saves, each once.

    Args:
        weights: whose storages are left out.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = {x.untyped_storage().data_ptr() for x in weights}
        self.storages: dict[
            int, torch.UntypedStorage
        ] = {}  # held, so that no address is used twice

    def keep(self, tensor: Tensor) -> Tensor:
        """Called with each saved tensor."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage
        return tensor

    @property
    def nbytes(self) -> int:
        """Their size."""
        return sum(storage.nbytes() for storage in self.storages.values())
