"""The gradient cache: items are encoded in chunks without a graph, and each chunk again in the backward pass.

GradCache (Gao et al. 2021, arXiv 2101.06983), as one operation of autograd: whatever takes the loss, accumulates
gradients or synchronises them between processes sees an item encoder like any other. Only one chunk has a graph at a
time, so that activations take memory by the size of a chunk, not by that of a step.

U items, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.machine.parallel import most


@dataclass(frozen=True)
class Chunks:
    """What an item encoder reads of U items, in parts of a few items, in their order.

    Args:
        parts: features of the items of each.
    """

    parts: tuple[Any, ...]


def encode_in_chunks(encoder: nn.Module, chunks: Chunks) -> Tensor:
    """Embeddings of all items, (U, E), with the gradients of encoding each chunk in the graph.

    Each chunk is encoded again with its own state of the random generators, so that dropout is the same, and in the
    same mixed precision. Buffers that a forward pass changes, as the statistics of BatchNorm, are changed twice.

    Args:
        encoder: from the features of a chunk to its embeddings.
        chunks: at least one.
    """
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    embeddings: Tensor = _Recomputed.apply(encoder, chunks.parts, *trained)
    return embeddings


class Deferred:
    """The gradient cache of a sharded encoder: its chunks are encoded again after the backward pass, not in it.

    FSDP2 keeps all weights of an encoder whole from its forward pass on if it is called within a backward pass.

    Args:
        encoder: from the features of a chunk to its embeddings.
        chunks: at least one.
        device: of the embeddings.
    """

    def __init__(self, encoder: nn.Module, chunks: Chunks, *, device: torch.device) -> None:
        self.encoder = encoder
        # Processes encode equally many chunks; nothing depends on those that are repeated.
        repeated = most(len(chunks.parts), device=device) - len(chunks.parts)
        self.parts = chunks.parts + chunks.parts[-1:] * repeated
        self.gpu = device if device.type == "cuda" else None
        self.precision = _Precision(device.type)
        self.states, self.leaves = [], []
        for part in self.parts:
            self.states.append(_random_states(self.gpu))
            with torch.no_grad():
                encoded = encoder(part)
            self.leaves.append(encoded.requires_grad_(torch.is_grad_enabled()))
        self.embeddings = torch.cat(self.leaves[: len(chunks.parts)])

    def backward(self) -> None:
        """Adds up the gradients of the encoder's parameters, after the backward pass of the loss."""
        with torch.random.fork_rng([self.gpu] if self.gpu else []):
            for part, state, leaf in zip(self.parts, self.states, self.leaves, strict=True):
                _set_random_states(state, self.gpu)
                with torch.enable_grad(), self.precision.again():
                    encoded = self.encoder(part)
                encoded.backward(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, encode: Callable[[Any], Tensor], parts: Sequence[Any], *trained: Tensor
    ) -> Tensor:
        ctx.encode, ctx.parts, ctx.trained = encode, parts, trained
        ctx.gpu = next((x.device for x in trained if x.is_cuda), None)
        ctx.precision = _Precision("cuda" if ctx.gpu else "cpu")
        ctx.states, encoded = [], []
        for part in parts:
            ctx.states.append(_random_states(ctx.gpu))
            encoded.append(encode(part))
        ctx.sizes = [len(one) for one in encoded]
        return torch.cat(encoded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        total: list[Tensor | None] = [None] * len(ctx.trained)
        chunks = zip(ctx.parts, ctx.states, gradient.split(ctx.sizes), strict=True)
        with torch.random.fork_rng([ctx.gpu] if ctx.gpu else []):
            for part, state, of_chunk in chunks:
                _set_random_states(state, ctx.gpu)
                with torch.enable_grad(), ctx.precision.again():
                    encoded = ctx.encode(part)
                found = list(torch.autograd.grad(encoded, ctx.trained, of_chunk, allow_unused=True))
                _add_up(total, found)
                del encoded, found  # before the next chunk is encoded
        return None, None, *total


def _add_up(total: list[Tensor | None], found: list[Tensor | None]) -> None:
    """Adds gradients to a total, and frees each once it is added. Not in place: two parameters may share a gradient."""
    for index, before in enumerate(total):
        one, found[index] = found[index], None
        if one is not None:
            total[index] = one if before is None else before + one


class _Precision:
    """The mixed precision that is in force now, to be entered again."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.enabled = torch.is_autocast_enabled(device)
        self.dtype = torch.get_autocast_dtype(device)

    def again(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)


def _random_states(gpu: torch.device | None) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(gpu) if gpu else None


def _set_random_states(states: tuple[Tensor, Tensor | None], gpu: torch.device | None) -> None:
    torch.set_rng_state(states[0])
    if gpu and states[1] is not None:
        torch.cuda.set_rng_state(states[1], gpu)
