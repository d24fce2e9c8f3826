"""Packed attention against torch's own, with padding and with the same dropout."""

import pytest
import torch
from sequence_data import E, L, real_of
from torch import Tensor, nn

from models.sequence.attention import Dropout, attend, attention_bias, side_by_side
from models.sequence.positions import Positions

LENGTHS = (L, 3, 0, 1)


def states_and_gradients(
    *, packed: bool, causal: bool, dropout: float
) -> tuple[Tensor, list[Tensor]]:
    """Contexts at real positions, and the gradient of all projected values, from equal values and masks."""
    real = real_of(*LENGTHS)
    generator = torch.Generator().manual_seed(1)
    projected = torch.randn(len(LENGTHS), L, 3 * E, generator=generator).double().requires_grad_()
    wanted = torch.randn(len(LENGTHS), L, E, generator=generator).double() * real[..., None]
    positions = Positions(real, skip_padding=packed)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        found = attend(
            positions.pick(projected),
            attention_bias(real, causal=causal),
            positions,
            heads=2,
            dropout=dropout,
        )
    contexts = positions.spread(found)
    return contexts[real], list(torch.autograd.grad((contexts * wanted).sum(), [projected]))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("causal", [True, False])
def test_packed_attention_is_torchs_attention(causal: bool, dropout: float) -> None:
    plain = states_and_gradients(packed=False, causal=causal, dropout=dropout)
    packed = states_and_gradients(packed=True, causal=causal, dropout=dropout)
    assert packed[1][0].any()
    torch.testing.assert_close(packed, plain)


def test_a_batch_of_padding_has_no_contexts() -> None:
    real = real_of(0, 0)
    positions = Positions(real, skip_padding=True)
    bias = attention_bias(real, causal=True)
    assert attend(torch.zeros(0, 3 * E), bias, positions, heads=2, dropout=0.0).shape == (0, E)


@pytest.mark.parametrize("biases", [True, False])
def test_layers_side_by_side_are_the_layers_one_by_one(biases: bool) -> None:
    torch.manual_seed(0)
    layers, x = [nn.Linear(6, 4, bias=biases) for _ in range(3)], torch.randn(5, 6)
    weights = [weight for layer in layers for weight in layer.parameters()]
    joined, apart = side_by_side(layers, x), torch.cat([layer(x) for layer in layers], 1)
    torch.testing.assert_close(joined, apart)
    gradients = [torch.autograd.grad(y.square().sum(), weights) for y in (joined, apart)]
    torch.testing.assert_close(*gradients)


def test_a_layer_that_an_adaptation_changed_is_called() -> None:
    layers, x = [nn.Linear(6, 4) for _ in range(3)], torch.randn(5, 6)
    layers[1].register_forward_hook(lambda layer, given, output: output + 1)
    torch.testing.assert_close(side_by_side(layers, x)[:, 4:8], layers[1](x))


def test_dropout_is_torchs_with_the_same_mask() -> None:
    x = torch.randn(50, 7)
    for ours, torchs in ((Dropout(0.3), nn.Dropout(0.3)), (Dropout(0.0), nn.Dropout(0.0))):
        found = []
        for module in (ours, torchs):
            torch.manual_seed(3)
            found.append(module(x))
        assert torch.equal(*found)
        assert torch.equal(ours.eval()(x), x)
