"""Every method over every family of encoders: the start, what trains, its learning-rate groups, refusals."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny_encoders import ALL, MORE, payloads_of, source_of, write_model
from torch import Tensor, nn

from models.adaptation import ADAPTATIONS, adapt, check_gradients, method_settings
from models.adaptation.bottlenecks import HoulsbySettings, PfeifferSettings
from models.adaptation.compacter import CompacterSettings
from models.adaptation.k_adapter import KAdapterSettings
from models.adaptation.low_rank import LoraSettings
from models.adaptation.prompts import PromptSettings
from models.parameters import rate_groups
from models.sequence import SASRec
from toolkit import UserError
from toolkit.backbones import EncoderSpec, load_encoder

METHODS = [name if name != "top-K" else "top-1" for name in ADAPTATIONS]
NEVER = {  # what a family cannot take
    "llama": {"bitfit"},
    "t5": {"bitfit", "prompt", "prefix"},
    "swin": {"k-adapter", "prompt", "prefix"},
    "resnet": set(METHODS) - {"frozen", "full", "top-1", "bitfit"},
    "videomae": {"prompt"},
    "x-clip": {"prompt"},
    "open_clip text": {"lora", "dora", "ia3", "prompt", "prefix"},
    "open_clip image": {"lora", "dora", "ia3", "prompt", "prefix"},
    "user": {"prompt", "prefix"},
    "deberta": {"prompt", "prefix"},
    "mpnet": {"prompt", "prefix"},
    "modernbert": {"bitfit", "ia3", "prompt", "prefix"},
    "gpt2": {"ia3", "prompt", "prefix"},
    "timesformer": {"ia3", "prompt", "prefix"},
    "timm": {"ia3", "prompt", "prefix"},
}
ALIKE = ("vit of frames", "clip image", "mae")  # of the same build as others
SMALL = {"k-adapter": KAdapterSettings(width=8, heads=2)}
REAL = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6, [0, 0, 0, 0, 1, 1]]).bool()

Compute = Callable[[nn.Module], Tensor]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Compute]]:
    """A family's encoder, loaded once and copied, and what computes its outputs."""
    kept: dict[str, tuple[nn.Module, Compute]] = {}

    def load(family: str) -> tuple[nn.Module, Compute]:
        if family not in kept:
            kept[family] = user_encoder() if family == "user" else item_encoder(family)
        encoder, compute = kept[family]
        return deepcopy(encoder), compute

    def item_encoder(family: str) -> tuple[nn.Module, Compute]:
        name = write_model(tmp_path_factory.mktemp("encoder"), family)
        encoder = load_encoder(EncoderSpec(name, source=source_of(family), pooling="mean"))
        inputs = encoder.prepare(payloads_of(family))
        return encoder, lambda encoder: encoder(inputs)

    return load


def user_encoder() -> tuple[nn.Module, Compute]:
    torch.manual_seed(0)
    encoder = SASRec(embedding_dim=16, max_len=6).eval()
    items = torch.randn(3, 6, 16)
    return encoder, lambda encoder: encoder(items, REAL) * REAL.unsqueeze(-1)


def backward(outputs: Tensor) -> None:
    torch.manual_seed(1)
    (outputs * torch.randn(outputs.shape)).sum().backward()


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ())
        for name in (*ALL, *MORE, "timm", "user")
    ],
)
def test_each_method_starts_as_the_identity_and_trains_what_it_declares(
    family: str, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    frozen, compute = loaded(family)
    outputs = compute(frozen).detach()
    for method in METHODS:
        encoder, _ = loaded(family)
        if method in NEVER.get(family, ()):
            with pytest.raises(
                UserError, match=f"adapt {method} needs .* take one of frozen, full"
            ):
                adapt(encoder, method)
            continue
        adapted = adapt(encoder, method, SMALL.get(method), prefix="text")
        started = compute(encoder).detach()
        assert started.shape == outputs.shape
        if ADAPTATIONS[method.replace("-1", "-K")].identity:
            torch.testing.assert_close(started, outputs, atol=1e-6, rtol=1e-6)
        groups = {group for group, _ in rate_groups(encoder)}
        assert groups <= set(adapted.groups), method
        assert bool(groups) == (method != "frozen")
        if method != "frozen":
            encoder.train()
            backward(compute(encoder))
        check_gradients(encoder)
        flags = {name for name, x in encoder.named_parameters() if x.requires_grad}
        assert flags == set(adapted.trainable), method
        if method != "frozen":
            assert_an_update_changes_what_trains_alone(encoder, compute, started)


def assert_an_update_changes_what_trains_alone(
    encoder: nn.Module, compute: Compute, before: Tensor
) -> None:
    weights = {name: x.clone() for name, x in encoder.named_parameters()}
    torch.optim.SGD([x for x in encoder.parameters() if x.requires_grad], lr=1.0).step()
    for name, x in encoder.named_parameters():
        assert x.requires_grad or torch.equal(x, weights[name]), name
    assert not torch.allclose(compute(encoder.eval()), before, atol=1e-6)


def test_after_an_update_every_factor_has_a_gradient(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    for method in (
        "lora",
        "dora",
        "houlsby",
        "parallel",
        "pfeiffer",
        "compacter",
        "prompt",
        "prefix",
    ):
        encoder, compute = loaded("bert")
        adapt(encoder, method)
        optimizer = torch.optim.Adam([x for x in encoder.parameters() if x.requires_grad])
        for first in (True, False):
            optimizer.zero_grad()
            backward(compute(encoder))
            check_gradients(encoder, first=first)
            optimizer.step()


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("top-1", "encoder.layer.1."),
        ("bitfit", "bias"),
        ("layernorm", "LayerNorm"),
        ("lora", "lora_"),
    ],
)
def test_names_of_what_trains(
    method: str, part: str, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    encoder, _ = loaded("bert")
    adapted = adapt(encoder, method)
    assert adapted.trainable
    assert all(part in name for name in adapted.trainable)
    flags = {name for name, x in encoder.named_parameters() if x.requires_grad}
    assert flags == set(adapted.trainable)


def test_what_the_kept_states_do_not_depend_on_is_frozen(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, _ = loaded("bert")
    encoder.kept = (0, 1)  # type: ignore[assignment]
    adapted = adapt(encoder, "full")
    assert not any("layer.1." in name or "pooler" in name for name in adapted.trainable)
    assert any("layer.0." in name for name in adapted.trainable)


def test_frozen_parts_stay_in_evaluation_mode(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, compute = loaded("bert")
    adapt(encoder, "lora")
    encoder.train()
    compute(encoder)
    layer = encoder.model.encoder.layer[0]  # type: ignore[union-attr]
    assert layer.attention.self.dropout.training  # beside query and value, which train
    assert not layer.output.dropout.training
    assert not encoder.model.embeddings.dropout.training  # type: ignore[union-attr]


def test_batch_norm_keeps_its_statistics(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, compute = loaded("resnet")
    outputs = compute(encoder)
    adapt(encoder, "full")
    encoder.train()
    torch.testing.assert_close(compute(encoder), outputs)


def test_activation_checkpointing_keeps_the_gradients(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder, compute = loaded("vit")
        adapt(encoder, "parallel")
        with torch.no_grad():
            for x in encoder.adapters.parameters():  # type: ignore[union-attr]
                x.fill_(0.01)
        if checkpointing:
            encoder.model.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator, union-attr]
        encoder.train()
        backward(compute(encoder))
        check_gradients(encoder)
        gradients.append([x.grad for x in encoder.adapters.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients)


def test_a_copy_has_adapters_of_its_own(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, compute = loaded("bert")
    adapt(encoder, "compacter")
    copied = deepcopy(encoder)
    before = compute(encoder)
    with torch.no_grad():
        for x in copied.adapters.parameters():  # type: ignore[union-attr]
            x.fill_(0.5)
        copied.adapter_rule.weight.fill_(0.5)  # type: ignore[operator, union-attr]
    assert torch.equal(compute(encoder), before)
    assert not torch.allclose(compute(copied), before)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("houlsby", HoulsbySettings(width=8)), ("pfeiffer", PfeifferSettings(width=8, places="both"))],
)
def test_an_adapter_in_a_pre_norm_encoder_learns(
    method: str, settings: Any, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    """adapter-hub/adapters, issue 764: a bottleneck in a ViT that did not learn."""
    encoder, compute = loaded("vit")
    before = compute(encoder).detach()
    goal = torch.randn(before[:, -1].shape, generator=torch.Generator().manual_seed(0))
    adapt(encoder, method, settings)
    torch.testing.assert_close(compute(encoder), before, atol=1e-6, rtol=0)
    optimizer = torch.optim.Adam([x for x in encoder.parameters() if x.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (compute(encoder)[:, -1] - goal).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.75 * losses[0]


def test_biases_of_low_rank_layers_train_with_the_encoder(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, compute = loaded("bert")
    adapt(encoder, "lora", LoraSettings(layers="all", biases=True))
    groups = {id(x): group for group, x in rate_groups(encoder)}
    for name, x in encoder.named_parameters():
        if x.requires_grad:
            assert groups[id(x)] == ("encoder" if name.endswith("base_layer.bias") else "adapter")
    backward(compute(encoder))
    check_gradients(encoder)


def test_a_user_encoder_with_a_side_stack_sees_no_later_item() -> None:
    encoder, _ = user_encoder()
    adapt(encoder, "k-adapter", KAdapterSettings(width=8, heads=2))
    items, real = torch.randn(1, 6, 16), torch.ones(1, 6, dtype=torch.bool)
    changed = items.clone()
    changed[:, -1] += 1
    torch.testing.assert_close(encoder(items, real)[:, :-1], encoder(changed, real)[:, :-1])


@pytest.mark.parametrize("method", ["prompt", "prefix"])
@pytest.mark.parametrize("family", ["bert", "llama", "vit", "clip text"])
def test_learned_tokens_are_read_once_their_gates_open(
    method: str, family: str, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    frozen, compute = loaded(family)
    encoder, _ = loaded(family)
    adapt(encoder, method)
    with torch.no_grad():
        encoder.adapters.gates.weight.fill_(1.0)  # type: ignore[operator, union-attr]
    before, after = compute(frozen), compute(encoder)
    torch.testing.assert_close(after[:, 0], before[:, 0])  # the embeddings of its own tokens
    assert not torch.allclose(after[:, 1], before[:, 1], atol=1e-4)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_learned_tokens_do_not_depend_on_padding(
    method: str, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    encoder, _ = loaded("bert")
    adapt(encoder, method)
    with torch.no_grad():
        encoder.adapters.gates.weight.fill_(1.0)  # type: ignore[operator, union-attr]
    both, alone = encoder.prepare(["a", "a much longer title"]), encoder.prepare(["a"])  # type: ignore[operator]
    torch.testing.assert_close(encoder(both)[:1], encoder(alone))


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("top-3", None, "depend on 2 layers .* choose top-1 to top-2, or full"),
        ("top-0", None, "choose top-1 to top-2"),
        ("top-K", None, "unknown; expected one of frozen, full, top-1, top-2"),
        ("lorra", None, "adapt 'lorra' is unknown; expected one of frozen, full"),
        ("houlsby", HoulsbySettings(width=0), "must be at least 1"),
        ("lora", LoraSettings(rank=0), "must be at least 1"),
        ("prompt", PromptSettings(tokens=0), "at least 1 token"),
        ("compacter", CompacterSettings(width=6), "width 6 is not divisible by terms 4"),
        ("k-adapter", KAdapterSettings(width=10, heads=4), "not divisible by heads 4"),
        ("k-adapter", KAdapterSettings(width=8, heads=2, layers=[2]), "choose from 0 to 1"),
    ],
)
def test_refusals(
    method: str, settings: Any, message: str, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    encoder, _ = loaded("bert")
    with pytest.raises(UserError, match=message):
        adapt(encoder, method, settings)


def test_a_second_method_is_refused(
    loaded: Callable[[str], tuple[nn.Module, Compute]],
) -> None:
    encoder, _ = loaded("bert")
    trainable = adapt(encoder, "houlsby").trainable
    for method in ("lora", "houlsby"):
        with pytest.raises(
            UserError, match=f"^adapt {method}: the encoder is adapted already, by houlsby; .*$"
        ):
            adapt(encoder, method)
    flags = {name for name, x in encoder.named_parameters() if x.requires_grad}
    assert flags == set(trainable)


def test_peft_is_an_extra(
    monkeypatch: pytest.MonkeyPatch, loaded: Callable[[str], tuple[nn.Module, Compute]]
) -> None:
    encoder, _ = loaded("bert")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="lora needs the package peft"):
        adapt(encoder, "lora")


class TestCheckGradients:
    def test_a_lost_gradient(self) -> None:
        encoder, compute = user_encoder()
        adapt(encoder, "houlsby")
        backward(compute(encoder))
        list(encoder.adapters.parameters())[-1].grad = None  # type: ignore[union-attr]
        with pytest.raises(UserError, match=r"adapters.*should train and got no gradient"):
            check_gradients(encoder)

    def test_a_zero_gradient(self) -> None:
        encoder, compute = user_encoder()
        adapt(encoder, "layernorm")
        backward(compute(encoder) * 0)
        with pytest.raises(UserError, match="and 7 more should train and got no gradient"):
            check_gradients(encoder)

    def test_factors_behind_a_zero_are_asked_for_later(self) -> None:
        encoder, compute = user_encoder()
        adapt(encoder, "houlsby")
        backward(compute(encoder))
        check_gradients(encoder, first=True)
        with pytest.raises(UserError, match="down"):
            check_gradients(encoder, first=False)

    def test_a_gradient_of_a_frozen_part(self) -> None:
        encoder, compute = user_encoder()
        adapt(encoder, "houlsby")
        encoder.positions.weight.requires_grad_(True)  # type: ignore[union-attr]
        backward(compute(encoder))
        encoder.positions.weight.requires_grad_(False)  # type: ignore[union-attr]
        with pytest.raises(UserError, match=r"positions\.weight are frozen and got a gradient"):
            check_gradients(encoder)


@pytest.mark.parametrize(
    ("method", "chosen", "message"),
    [
        ("lora", {"rank": 2.5}, "rank of adapt lora is 2.5; expected a whole number"),
        ("lora", {"rank": True}, "rank of adapt lora is True; expected a whole number"),
        ("lora", {"alpha": "much"}, "alpha of adapt lora is 'much'; expected a number"),
        ("lora", {"layers": "some"}, "is 'some'; expected one of query-value, attention, all"),
        ("houlsby", {"norms": 1}, "norms of adapt houlsby is 1; expected true or false"),
        ("k-adapter", {"layers": 3}, "layers of adapt k-adapter is 3; expected a list"),
        ("top-2", {"layers": 3}, "adapt_settings names layers, and adapt top-2 has no settings"),
    ],
)
def test_settings_of_other_types_are_refused(
    method: str, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        method_settings(method, chosen)


def test_settings_are_taken() -> None:
    assert method_settings("lora", {"alpha": 8}) == LoraSettings(alpha=8)
    assert method_settings("k-adapter", {"layers": [0, 1]}) == KAdapterSettings(layers=[0, 1])
    assert method_settings("top-2").layers == 2
