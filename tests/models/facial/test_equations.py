"""Stem, refinement, classifier and losses against their equations, written with loops."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models.facial.losses import AU_LOSSES
from models.facial.per_au import PerAULinear
from models.facial.refinement import Refinement
from models.facial.stem import Stem

B, A, D, H, W = 2, 3, 4, 5, 6


def randomly(module: nn.Module) -> nn.Module:
    """In float64, with random weights."""
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.3)
    return module.double().eval()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_stem():
    stem = randomly(Stem([2, 3], width=D, grid_stage=1))
    stages = [torch.rand(B, 2, 4, 4).double(), torch.rand(B, 3, 2, 2).double()]
    stem.norm.running_var.abs_()
    w = {name: tensor.numpy() for name, tensor in stem.state_dict().items()}
    resized = []
    for index, stage in enumerate(stages):
        kernel = w[f"projections.{index}.weight"][:, :, 0, 0]
        projected = np.einsum("oc,bchw->bohw", kernel, stage.numpy())
        projected += w[f"projections.{index}.bias"][:, None, None]
        resized.append(projected)
    # Bilinear from 2 to 4 cells: the centre of cell i is at (i + 1/2) / 2 - 1/2, clipped to the grid.
    mix = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    resized[1] = np.einsum("ih,jw,bchw->bcij", mix, mix, resized[1])
    joined = np.einsum("oc,bchw->bohw", w["combine.weight"][:, :, 0, 0], np.concatenate(resized, 1))
    mean, var = w["norm.running_mean"], w["norm.running_var"]
    scale = w["norm.weight"] / np.sqrt(var + stem.norm.eps)
    normed = (joined - mean[:, None, None]) * scale[:, None, None] + w["norm.bias"][:, None, None]
    np.testing.assert_allclose(stem(stages).detach().numpy(), np.maximum(normed, 0), atol=1e-12)


def test_refinement():
    refinement = randomly(Refinement(A, width=D, reduction=2, kernel=3))
    stem = torch.rand(B, D, H, W).double()
    w = {name: tensor.numpy() for name, tensor in refinement.state_dict().items()}
    refined = refinement(stem)

    def mlp(a, x):
        inner = w["channel.reduce.weight"][a] @ x + w["channel.reduce.bias"].reshape(A, -1)[a]
        outer = w["channel.expand.bias"].reshape(A, -1)[a]
        return w["channel.expand.weight"][a] @ np.maximum(inner, 0) + outer

    for b in range(B):
        x = stem[b].numpy()
        for a in range(A):
            channel = sigmoid(mlp(a, x.mean((1, 2))) + mlp(a, x.max((1, 2))))
            weighted = channel[:, None, None] * x
            pooled = np.pad(np.stack([weighted.mean(0), weighted.max(0)]), ((0, 0), (1, 1), (1, 1)))
            spatial = np.empty((H, W))
            for i in range(H):
                for j in range(W):
                    window = pooled[:, i : i + 3, j : j + 3]
                    value = (w["spatial.convolution.weight"][a] * window).sum()
                    spatial[i, j] = sigmoid(value + w["spatial.convolution.bias"][a])
            np.testing.assert_allclose(refined.attention[b, a].detach(), spatial, atol=1e-12)
            expected = x + spatial * weighted
            np.testing.assert_allclose(refined.maps()[b, a].detach(), expected, atol=1e-12)
            means = expected.mean((1, 2))
            np.testing.assert_allclose(refined.means()[b, a].detach(), means, atol=1e-12)


def test_gradients_of_the_refinement_are_those_of_its_equations():
    refinement = randomly(Refinement(A, width=D, reduction=2, kernel=3))
    stem = torch.rand(B, D, H, W).double().requires_grad_()
    channel = refinement.channel(stem)
    weighted = channel[..., None, None] * stem[:, None]
    pooled = torch.stack([weighted.mean(2), weighted.amax(2)], dim=2).flatten(1, 2)
    attention = refinement.spatial.convolution(pooled).sigmoid()[:, :, None]
    maps = stem[:, None] + attention * weighted
    inputs = [stem, *refinement.parameters()]
    plain = torch.autograd.grad((maps.mean((3, 4)) ** 2).sum(), inputs)
    found = torch.autograd.grad((refinement(stem).means() ** 2).sum(), inputs)
    torch.testing.assert_close(found, plain)


def test_each_au_has_a_linear_layer():
    layer = randomly(PerAULinear(A, D, 2))
    x = torch.rand(B, A, D).double()
    for a in range(A):
        expected = F.linear(x[:, a], layer.weight[a], layer.bias.view(A, 2)[a])
        torch.testing.assert_close(layer(x)[:, a], expected)


def asymmetric(p, y):
    return -math.log(p) if y else -p * math.log(1 - p)


def bce_dice(p, y):
    entropy = -math.log(p) if y else -math.log(1 - p)
    return entropy + 1 - (2 * y * p + 1) / (y * y + p * p + 1)


SLOW = {"asymmetric": asymmetric, "bce-dice": bce_dice}
LABELS = torch.tensor([[1, 0, 9], [0, 9, 1]])
WEIGHTS = [0.5, 1.5, 1.0]


def test_losses():
    assert set(AU_LOSSES) == set(SLOW)
    logits = torch.tensor([[0.3, -1.2, 50.0], [2.0, -60.0, -0.4]]).double()
    for name, loss in AU_LOSSES.items():
        terms = [
            WEIGHTS[a] * SLOW[name](sigmoid(float(logits[b, a])), int(LABELS[b, a]))
            for b in range(2)
            for a in range(3)
            if LABELS[b, a] != 9
        ]
        found = loss(logits, LABELS, torch.tensor(WEIGHTS))
        assert abs(found.item() - sum(terms) / 4) < 1e-6


def test_the_asymmetric_factor_has_no_gradient():
    logits = torch.tensor([[0.3, -1.2]], requires_grad=True)
    AU_LOSSES["asymmetric"](logits, torch.tensor([[1, 0]]), torch.ones(2)).backward()
    p = torch.sigmoid(logits.detach())
    # d(-log p)/dz = p - 1; with p constant, d(-p log(1 - p'))/dz = p · p.
    expected = torch.tensor([[p[0, 0] - 1, p[0, 1] * p[0, 1]]]) / 2
    torch.testing.assert_close(logits.grad, expected)


def test_missing_labels_are_masked():
    for loss in AU_LOSSES.values():
        logits = torch.randn(2, 3, requires_grad=True)
        loss(logits, LABELS, torch.ones(3)).backward()
        assert torch.equal(logits.grad == 0, LABELS == 9)
        others = torch.where(LABELS == 9, -80 * logits.detach(), logits.detach())
        assert torch.equal(loss(logits, LABELS, torch.ones(3)), loss(others, LABELS, torch.ones(3)))
        nothing = loss(logits, torch.full((2, 3), 9), torch.ones(3))
        assert nothing == 0 and nothing.requires_grad


def test_losses_stay_finite_for_certain_mistakes():
    for loss in AU_LOSSES.values():
        logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
        found = loss(logits, torch.tensor([[1, 0]]), torch.ones(2))
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(logits.grad).all()
