"""The forms of adapters against their equations, written slowly: BERT's and ViT's feed-forward networks, Kronecker products."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from models.adaptation.anatomy import BERT, VIT
from models.adaptation.attached import Attached, Normed, Parallel, Serial
from models.adaptation.bottlenecks import Bottleneck
from models.adaptation.compacter import KroneckerLinear, Rule

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
FORMS = ["serial", "parallel", "normed", "own norm"]


def randomise(module: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for x in module.parameters():
            x.copy_(torch.randn(x.shape, generator=generator) * 0.3)


def attached(form: str) -> tuple[Attached, Bottleneck]:
    core = Bottleneck(16, 4, "relu")
    randomise(core, 1)
    kinds = {"serial": Serial, "parallel": Parallel, "normed": Normed, "own norm": Normed}
    if form == "own norm":
        return Normed(core, 1.5, second_norm=True), core
    return kinds[form](core, 1.5), core


def slow(core: Bottleneck, z: Tensor) -> Tensor:
    inner = F.relu(z @ core.down.weight.T + core.down.bias)
    return 1.5 * (inner @ core.up.weight.T + core.up.bias)


def dense(layer: nn.Module, z: Tensor) -> Tensor:
    """A Linear without its hooks."""
    return F.linear(z, layer.weight, layer.bias)  # type: ignore[arg-type]


def norm(layer: nn.Module, z: Tensor) -> Tensor:
    return F.layer_norm(z, (16,), layer.weight, layer.bias, layer.eps)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_feed_forward_of_a_post_norm_layer(form: str) -> None:
    model = BertModel(BertConfig(**SIZE, intermediate_size=24, vocab_size=10)).eval()
    randomise(model)
    layer = model.encoder.layer[0]
    adapter, core = attached(form)
    adapter.attach(BERT.block(layer).feed_forward)
    states = torch.randn(2, 3, 16)
    x = layer.attention(states)[0]
    h = dense(layer.output.dense, F.gelu(dense(layer.intermediate.dense, x)))
    own = layer.output.LayerNorm
    wanted = {
        "serial": lambda: norm(own, h + slow(core, h) + x),
        "parallel": lambda: norm(own, h + slow(core, x) + x),
        "normed": lambda: norm(own, slow(core, norm(own, h + x)) + h + x),
    }
    wanted["own norm"] = wanted["normed"]  # the new norm begins as a copy
    torch.testing.assert_close(layer(states), wanted[form]())


@pytest.mark.parametrize("form", FORMS[:3])
def test_feed_forward_of_a_pre_norm_layer(form: str) -> None:
    model = ViTModel(ViTConfig(**SIZE, intermediate_size=24, image_size=8, patch_size=4)).eval()
    randomise(model)
    layer = model.layers[0]
    adapter, core = attached(form)
    entered: list[Tensor] = []
    layer.layernorm_after.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    adapter.attach(VIT.block(layer).feed_forward)
    output = layer(torch.randn(2, 5, 16))
    (x,) = entered
    inner = dense(layer.mlp.fc1, norm(layer.layernorm_after, x))
    h = dense(layer.mlp.fc2, F.gelu(inner))
    wanted = {
        "serial": lambda: h + slow(core, h) + x,
        "parallel": lambda: h + slow(core, x) + x,
        "normed": lambda: h + slow(core, h + x) + x,
    }
    torch.testing.assert_close(output, wanted[form]())


def test_an_own_norm_is_another_set_of_weights() -> None:
    model = BertModel(BertConfig(**SIZE, intermediate_size=24, vocab_size=10)).eval()
    randomise(model)
    adapter, _ = attached("own norm")
    adapter.attach(BERT.block(model.encoder.layer[0]).feed_forward)
    assert isinstance(adapter, Normed)
    assert adapter.norm is not None
    states = torch.randn(2, 3, 16)
    before = model.encoder.layer[0](states)
    with torch.no_grad():
        adapter.norm.bias += 1  # type: ignore[operator]
    torch.testing.assert_close(model.encoder.layer[0](states), before + 1)


def test_a_kronecker_layer_is_the_sum_of_kronecker_products() -> None:
    rule = Rule(3)
    layer = KroneckerLinear(12, 6, rule=rule, rank=2)
    randomise(rule)
    randomise(layer, 1)
    z = torch.randn(2, 5, 12)
    weight = sum(
        torch.kron(rule.weight[k].detach(), layer.left[k] @ layer.right[k]) for k in range(3)
    )
    torch.testing.assert_close(layer(z), z @ weight + layer.bias)
