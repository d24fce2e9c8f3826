"""Sequence encoders against slow references, written from the equations position by position."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sequence_data import E, L, real_of
from torch import Tensor, nn

from models.sequence import HSTU, BERT4Rec, GRU4Rec, LiGR, NextItNet

LENGTHS = (L, 3, 1)


def randomised(encoder: nn.Module) -> nn.Module:
    """Every weight away from its start, biases and gains included."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return encoder.double().eval()


def random_items() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(len(LENGTHS), L, E, generator=generator).double()


def compare(encoder: nn.Module, slow: Any, *masked: Tensor, **more: Tensor) -> None:
    """The states of each row equal those of its items alone, without padding."""
    items, real = random_items(), real_of(*LENGTHS)
    states = encoder(items, real, *masked, **more)
    weights = dict(encoder.named_parameters())
    for row, length in enumerate(LENGTHS):
        arguments = [mask[row, L - length :] for mask in masked]
        expected = slow(weights, items[row, L - length :], *arguments)
        torch.testing.assert_close(states[row, L - length :], torch.stack(expected))


@pytest.mark.parametrize("layers", [1, 2])
def test_gru4rec(layers: int) -> None:
    encoder = GRU4Rec(embedding_dim=E, layers=layers, hidden=10, output_layer=True)

    def slow(weights: dict[str, Tensor], items: Tensor) -> list[Tensor]:
        sequence = list(items)
        for layer in range(layers):
            state, states = torch.zeros(10).double(), []
            for x in sequence:
                w_r, w_z, w_n = weights[f"gru.weight_ih_l{layer}"].chunk(3)
                u_r, u_z, u_n = weights[f"gru.weight_hh_l{layer}"].chunk(3)
                r = torch.sigmoid(w_r @ x + u_r @ state)
                z = torch.sigmoid(w_z @ x + u_z @ state)
                n = torch.tanh(w_n @ x + r * (u_n @ state))
                state = (1 - z) * n + z * state
                states.append(state)
            sequence = states
        return [weights["output.weight"] @ x + weights["output.bias"] for x in sequence]

    compare(randomised(encoder), slow)


@pytest.mark.parametrize(("kernel", "dilations"), [(3, [1, 4]), (2, [1, 2, 3])])
def test_nextitnet(kernel: int, dilations: list[int]) -> None:
    encoder = NextItNet(
        embedding_dim=E, blocks=2, dilations=dilations, kernel=kernel, output_layer=True
    )

    def convolved(
        weights: dict[str, Tensor], name: str, sequence: list[Tensor], dilation: int
    ) -> list[Tensor]:
        found = []
        for position in range(len(sequence)):
            y = weights[f"{name}.convolution.bias"].clone()
            for k in range(kernel):
                source = position - (kernel - 1 - k) * dilation
                if source >= 0:
                    y = y + weights[f"{name}.convolution.weight"][:, :, k] @ sequence[source]
            norm = (weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"])
            found.append(F.relu(F.layer_norm(y, (E,), *norm, eps=1e-8)))
        return found

    def slow(weights: dict[str, Tensor], items: Tensor) -> list[Tensor]:
        sequence = list(items)
        for block, dilation in enumerate(dilations * 2):
            inner = convolved(weights, f"blocks.{block}.first", sequence, dilation)
            outer = convolved(weights, f"blocks.{block}.second", inner, 2 * dilation)
            sequence = [x + y for x, y in zip(sequence, outer, strict=True)]
        return [weights["output.weight"] @ x + weights["output.bias"] for x in sequence]

    compare(randomised(encoder), slow)


def attended(
    weights: dict[str, Tensor], name: str, x: list[Tensor], *, causal: bool
) -> list[Tensor]:
    """Softmax attention of two heads, query by query."""

    def dense(part: str, z: Tensor) -> Tensor:
        return weights[f"{name}.{part}.weight"] @ z + weights[f"{name}.{part}.bias"]

    contexts = []
    for position in range(len(x)):
        visible = range(position + 1) if causal else range(len(x))
        heads = []
        for head in (slice(0, E // 2), slice(E // 2, E)):
            query = dense("query", x[position])[head]
            scores = [query @ dense("key", x[j])[head] / (E // 2) ** 0.5 for j in visible]
            shares = torch.softmax(torch.stack(scores), 0)
            heads.append(
                sum(s * dense("value", x[j])[head] for s, j in zip(shares, visible, strict=True))
            )
        contexts.append(dense("output", torch.cat(heads)))  # type: ignore[arg-type]
    return contexts


def norm(weights: dict[str, Tensor], name: str, z: Tensor, eps: float) -> Tensor:
    return F.layer_norm(z, (E,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def test_bert4rec() -> None:
    """With masks at the first item and, in a longer row, at the last; the mask vector stands in their place."""
    encoder = BERT4Rec(embedding_dim=E, max_len=L - 1, inner=2, output_layer=True)
    masked = torch.zeros(len(LENGTHS), L, dtype=torch.bool)
    masked[0, 0] = masked[0, -1] = masked[1, -1] = True

    def slow(weights: dict[str, Tensor], items: Tensor, hidden: Tensor) -> list[Tensor]:
        x = []
        for position, item in enumerate(items):
            vector = weights["mask.weight"][0] if hidden[position] else item
            place = weights["positions.weight"][L - len(items) + position]
            x.append(norm(weights, "norm", vector + place, 1e-6))
        for block in range(2):
            name = f"blocks.{block}.feed_forward"
            context = attended(weights, f"blocks.{block}.attention", x, causal=False)
            for position in range(len(x)):
                z = x[position] + context[position]
                z = norm(weights, f"blocks.{block}.attention.norm", z, 1e-6)
                inner = weights[f"{name}.expand.weight"] @ z + weights[f"{name}.expand.bias"]
                outer = weights[f"{name}.contract.weight"] @ F.gelu(inner)
                z = z + outer + weights[f"{name}.contract.bias"]
                x[position] = norm(weights, f"{name}.norm", z, 1e-6)
        dense = [weights["output.0.weight"] @ z + weights["output.0.bias"] for z in x]
        return [norm(weights, "output.2", F.gelu(z), 1e-6) for z in dense]

    compare(randomised(encoder), slow, masked)


def test_hstu() -> None:
    """With gaps of 0 to years between items; the bias of equal times is that of one second."""
    encoder = HSTU(embedding_dim=E, max_len=L)
    times = 1_600_000_000_000 + torch.tensor([0, 0, 999, 60_000, 4_000_000, 90_000_000_000])
    moments = times.expand(len(LENGTHS), L)

    def slow(weights: dict[str, Tensor], items: Tensor) -> list[Tensor]:
        count, half = len(items), E // 2
        own = times[L - count :].tolist()
        x = [a + b for a, b in zip(items, weights["positions.weight"][L - count :], strict=True)]
        for block in range(2):
            inside = f"blocks.{block}"
            parts = [
                F.silu(weights[f"{inside}.project.weight"] @ F.layer_norm(z, (E,), eps=1e-6))
                for z in x
            ]
            u, v, q, k = zip(*(part.split(E) for part in parts), strict=True)
            attended = []
            for query in range(count):
                heads = []
                for head in (slice(0, half), slice(half, E)):
                    context = torch.zeros(half).double()
                    for key in range(query + 1):
                        seconds = max(1, (own[query] - own[key]) // 1000)
                        bucket = min(128, math.floor(math.log(seconds) / 0.301))
                        bias = weights[f"{inside}.bias.of_position.weight"][query - key]
                        bias = bias + weights[f"{inside}.bias.of_time.weight"][bucket]
                        score = F.silu(q[query][head] @ k[key][head] + bias) / L
                        context = context + score * v[key][head]
                    heads.append(context)
                normed = F.layer_norm(torch.cat(heads), (E,), eps=1e-6)
                outer = weights[f"{inside}.output.weight"] @ (normed * u[query])
                attended.append(x[query] + outer + weights[f"{inside}.output.bias"])
            x = attended
        return [norm(weights, "norm", z, 1e-6) for z in x]

    compare(randomised(encoder), slow, times=moments)


def test_ligr() -> None:
    encoder = LiGR(embedding_dim=E, max_len=L, inner=3)

    def slow(weights: dict[str, Tensor], items: Tensor) -> list[Tensor]:
        places = weights["positions.weight"][L - len(items) :]
        x = [item + place for item, place in zip(items, places, strict=True)]
        for block in range(2):
            inside = f"blocks.{block}"

            def gate(part: str, z: Tensor, inside: str = inside) -> Tensor:
                name = f"{inside}.{part}_gate"
                return torch.sigmoid(weights[f"{name}.weight"] @ z + weights[f"{name}.bias"])

            normed = [norm(weights, f"{inside}.attention_norm", z, 1e-5) for z in x]
            context = attended(weights, f"{inside}.attention", normed, causal=True)
            x = [z + gate("attention", z) * c for z, c in zip(x, context, strict=True)]
            name = f"{inside}.feed_forward"
            for position, z in enumerate(x):
                y = norm(weights, f"{inside}.feed_forward_norm", z, 1e-5)
                inner = F.silu(weights[f"{name}.gate.weight"] @ y)
                inner = inner * (weights[f"{name}.expand.weight"] @ y)
                outer = weights[f"{name}.contract.weight"] @ inner
                x[position] = z + gate("feed_forward", z) * outer
        return x

    compare(randomised(encoder), slow)
