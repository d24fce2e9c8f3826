"""Every fusion against its equation, written for one item with loops; initial weights, gradients, settings."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import FUSIONS
from models.fusion.kind import describe_fusion, load_fusion
from toolkit.backbones.token_states import TokenStates

E = 6
LENGTHS = {"title": (5, 2, 1), "cover": (3, 3, 1)}  # real tokens of three items by part
Vectors = dict[str, NDArray[np.float64]]
Weights = dict[str, NDArray[np.float64]]
# Settings of every fusion, beside its defaults.
CASES: dict[str, list[dict[str, Any]]] = {
    "concat": [{}, {"norm": True, "initial_weights": "xavier"}, {"mlp": 1, "mlp_activation": "none"}],
    "sum": [{}, {"maps": True}, {"maps": True, "norm": True, "mlp": 3}],
    "film": [{}, {"norm": True, "mlp": 3}, {"condition": "cover"}],
    "gated": [{}, {"norm": True, "mlp": 3}, {"condition": "cover"}],
    "co-attention": [{}, {"layers": 2, "heads": 3, "inner_width": 5}, {"token_types": False}],
    "merge-attention": [{}, {"layers": 2, "heads": 3, "inner_width": 5}, {"token_types": False}],
}  # fmt: skip
EVERY = [(kind, settings) for kind, cases in CASES.items() for settings in cases]
OF_TOKENS = [kind for kind, one in FUSIONS.items() if one.joins == "tokens"]


def make(kind: str, *, parts: tuple[str, ...] = ("title", "cover"), **settings: Any) -> nn.Module:
    """A fusion in float64; its weights, LayerNorms too, are random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = FUSIONS[kind].make(FUSIONS[kind].settings(**settings))
        fusion = built(parts=parts, embedding_dim=E).double().eval()
        for parameter in fusion.parameters():
            nn.init.normal_(parameter, std=0.5)
    return fusion


def vectors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(3, E, generator=generator).double() for n in ("cover", "title")}


def tokens(seed: int = 2, **more: int) -> dict[str, TokenStates]:
    """Three items; `more` has further padding by part. Values of real tokens do not depend on the seed."""
    generator, other = (torch.Generator().manual_seed(s) for s in (1, seed))
    made = {}
    for name, lengths in LENGTHS.items():
        real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        states = torch.randn(3, max(lengths), E, generator=generator).double()
        padding = 9 * torch.randn(3, max(lengths) + more.get(name, 0), E, generator=other).double()
        real = nn.functional.pad(real, (0, more.get(name, 0)))
        states = torch.where(
            real[..., None], nn.functional.pad(states, (0, 0, 0, more.get(name, 0))), padding
        )
        made[name] = TokenStates(states, real)
    return made


def linear(w: Weights, name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    dot = f"{name}." if name else ""
    found: NDArray[np.float64] = w[f"{dot}weight"] @ x + w[f"{dot}bias"]
    return found


def norm(w: Weights, name: str, x: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    if f"{name}.weight" not in w:
        return x
    scaled = (x - x.mean()) / math.sqrt(x.var() + eps)
    found: NDArray[np.float64] = scaled * w[f"{name}.weight"] + w[f"{name}.bias"]
    return found


def mlp(w: Weights, x: NDArray[np.float64], settings: dict[str, Any]) -> NDArray[np.float64]:
    for layer in range(settings.get("mlp", 0)):
        x = linear(w, f"mlp.{3 * layer + 1}", x)
        x = x if settings.get("mlp_activation") == "none" else np.maximum(x, 0)
    return x


def concat(w: Weights, v: Vectors) -> NDArray[np.float64]:
    return linear(w, "", np.concatenate([v["title"], v["cover"]]))


def total(w: Weights, v: Vectors) -> NDArray[np.float64]:
    if "maps.0.weight" not in w:
        return v["title"] + v["cover"]
    return linear(w, "maps.0", v["title"]) + linear(w, "maps.1", v["cover"])


def film(w: Weights, v: Vectors) -> NDArray[np.float64]:
    both = linear(w, "scale_and_shift", v["x"])
    return linear(w, "output", both[:E] * v["y"] + both[E:])


def gated(w: Weights, v: Vectors) -> NDArray[np.float64]:
    gate = 1 / (1 + np.exp(-linear(w, "gate", v["x"])))
    return linear(w, "output", gate * linear(w, "value", v["y"]))


OF_VECTORS: dict[str, Callable[[Weights, Vectors], NDArray[np.float64]]] = {
    "concat": concat, "sum": total, "film": film, "gated": gated,
}  # fmt: skip


def attend(w: Weights, name: str, x: Any, y: Any, heads: int) -> list[NDArray[np.float64]]:
    """Every token of x attends to all of y."""
    found = []
    for token in x:
        asked = np.split(linear(w, f"{name}.query", token), heads)
        keys = [np.split(linear(w, f"{name}.key", other), heads) for other in y]
        values = [np.split(linear(w, f"{name}.value", other), heads) for other in y]
        read = []
        for head in range(heads):
            scores = [asked[head] @ key[head] / math.sqrt(E / heads) for key in keys]
            shares = np.exp(scores) / np.exp(scores).sum()
            read.append(sum(s * value[head] for s, value in zip(shares, values, strict=True)))
        output = linear(w, f"{name}.output", np.concatenate(read))
        found.append(norm(w, f"{name}.norm", token + output, 1e-12))
    return found


def feed(w: Weights, name: str, x: Any) -> list[NDArray[np.float64]]:
    found = []
    for token in x:
        inner = linear(w, f"{name}.expand", token)
        inner = np.array([0.5 * h * (1 + math.erf(h / math.sqrt(2))) for h in inner])
        found.append(norm(w, f"{name}.norm", token + linear(w, f"{name}.contract", inner), 1e-12))
    return found


def co_attention(w: Weights, x: Any, y: Any, settings: dict[str, Any]) -> NDArray[np.float64]:
    heads = settings.get("heads", 2)
    for n in range(settings.get("layers", 1)):
        layer = f"layers.{n}"
        x, y = (attend(w, f"{layer}.cross", one, two, heads) for one, two in ((x, y), (y, x)))
        x, y = (attend(w, f"{layer}.own.{i}", one, one, heads) for i, one in enumerate((x, y)))
        x, y = (feed(w, f"{layer}.feed_forward.{i}", one) for i, one in enumerate((x, y)))
    return linear(w, "output", np.concatenate([np.mean(x, axis=0), np.mean(y, axis=0)]))


def merge_attention(w: Weights, x: Any, y: Any, settings: dict[str, Any]) -> NDArray[np.float64]:
    both = [*x, *y]
    for layer in range(settings.get("layers", 1)):
        both = attend(w, f"attention.{layer}", both, both, settings.get("heads", 2))
        both = feed(w, f"feed_forward.{layer}", both)
    found: NDArray[np.float64] = np.mean(both, axis=0)
    return found


def of_vectors(kind: str, fusion: nn.Module, settings: dict[str, Any], item: int) -> Any:
    w = {name: x.detach().numpy() for name, x in fusion.named_parameters()}
    given = {name: norm(w, "norm", x[item].numpy(), 1e-6) for name, x in vectors().items()}
    condition = settings.get("condition", "title")
    (other,) = given.keys() - {condition}
    given |= {"x": given[condition], "y": given[other]}
    return mlp(w, OF_VECTORS[kind](w, given), settings)


def of_tokens(kind: str, fusion: nn.Module, settings: dict[str, Any], item: int) -> Any:
    w = {name: x.detach().numpy() for name, x in fusion.named_parameters()}
    types = w.get("types.vectors.weight", np.zeros((2, E)))
    given = [
        [state + types[i] for state in tokens()[name].states[item, :length].numpy()]
        for i, (name, length) in enumerate((n, LENGTHS[n][item]) for n in ("title", "cover"))
    ]
    return (co_attention if kind == "co-attention" else merge_attention)(w, *given, settings)


def test_every_fusion_is_tested() -> None:
    built_in = {n for n, kind in FUSIONS.items() if kind.fusion.__module__.startswith("models.")}
    assert built_in == CASES.keys()  # other tests register kinds of their own


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_a_fusion_is_its_equation(kind: str, settings: dict[str, Any]) -> None:
    fusion = make(kind, **settings)
    found = fusion(tokens() if kind in OF_TOKENS else vectors()).detach()
    reference = of_tokens if kind in OF_TOKENS else of_vectors
    expected = np.stack([reference(kind, fusion, settings, item) for item in range(3)])
    assert found.shape == (3, E) and np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_padding_tokens_change_nothing(kind: str) -> None:
    """Neither their values, to the bit, nor their number, to rounding."""
    fusion = make(kind, layers=2)
    before = fusion(tokens())
    assert torch.equal(before, fusion(tokens(seed=5)))
    torch.testing.assert_close(fusion(tokens(title=2, cover=3)), before, rtol=1e-12, atol=1e-12)
    given = tokens()
    leaf = given["title"].states.requires_grad_()
    fusion({**given, "title": given["title"]._replace(states=leaf)}).sum().backward()
    real = given["title"].real
    assert leaf.grad is not None and leaf.grad[real].all() and not leaf.grad[~real].any()


@pytest.mark.parametrize(("kind", "settings"), [case for case in EVERY if case != ("sum", {})])
def test_every_weight_is_trained(kind: str, settings: dict[str, Any]) -> None:
    fusion = make(kind, **settings)
    found = fusion(tokens() if kind in OF_TOKENS else vectors())
    target = torch.randn(3, E, generator=torch.Generator().manual_seed(4))
    (found * target).sum().backward()
    idle = [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in idle if not n.endswith("key.bias")] == []  # softmax ignores a shift


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_a_fusion_is_described_by_what_differs_from_the_defaults(
    kind: str, settings: dict[str, Any]
) -> None:
    fusion = make(kind, **settings)
    described = describe_fusion(fusion, FUSIONS)
    assert described == {"kind": kind, **settings}
    back = load_fusion(described, FUSIONS)(parts=("title", "cover"), embedding_dim=E).double()
    back.load_state_dict(fusion.state_dict())
    given = tokens() if kind in OF_TOKENS else vectors()
    assert torch.equal(back.eval()(given), fusion(given))


def test_fusions_of_any_number_of_parts() -> None:
    """Three parts: the sum of the maps, and merge attention over all tokens."""
    fusion = make("sum", parts=("a", "b", "c"), maps=True)
    given = {name: torch.randn(2, E).double() for name in "abc"}
    expected = sum(m(given[name]) for m, name in zip(fusion.maps, "abc", strict=True))  # type: ignore[arg-type, operator]
    torch.testing.assert_close(fusion(given), expected)
    merged = make("merge-attention", parts=("title", "cover", "id"))
    assert merged.types.vectors.weight.shape == (3, E)  # type: ignore[union-attr]
    alone = TokenStates(torch.randn(3, 1, E).double(), torch.ones(3, 1, dtype=torch.bool))
    assert merged({**tokens(), "id": alone}).shape == (3, E)


@pytest.mark.parametrize("kind", ["concat", "sum", "film", "gated"])
def test_xavier_and_uniform_initial_weights(kind: str) -> None:
    """Xavier normal: std √(2 / (in + out)). Torch's Linear: uniform in ±1/√in."""
    width = 64
    for weights in ("xavier", "uniform"):
        settings = {"maps": True} if kind == "sum" else {}
        built = FUSIONS[kind].settings(initial_weights=weights, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            fusion = FUSIONS[kind].make(built)(parts=("a", "b"), embedding_dim=width)
        matrices = {n: p.detach() for n, p in fusion.named_parameters() if p.ndim > 1}
        for matrix in matrices.values():
            out, inside = matrix.shape
            std = (2 / (out + inside)) ** 0.5 if weights == "xavier" else (3 * inside) ** -0.5
            assert abs(float(matrix.std()) - std) < 4 * std / (2 * matrix.numel()) ** 0.5
            assert (float(matrix.abs().max()) <= inside**-0.5) == (weights == "uniform")
        biases = [p for n, p in fusion.named_parameters() if n.endswith("bias")]
        assert all(bool(bias.any()) == (weights == "uniform") for bias in biases)


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_attention_begins_as_in_bert(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fusion = FUSIONS[kind].make(FUSIONS[kind].settings())(parts=("a", "b"), embedding_dim=64)
    for name, parameter in fusion.named_parameters():
        if parameter.ndim > 1:
            limit = 4 * 0.02 / (2 * parameter.numel()) ** 0.5
            assert abs(float(parameter.detach().std()) - 0.02) < limit
        elif name.endswith("bias"):
            assert not parameter.any()


def test_concat_with_its_defaults_begins_as_a_linear_layer_of_torch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fusion = FUSIONS["concat"].fusion(("a", "b"), embedding_dim=E)
        torch.manual_seed(0)
        expected = nn.Linear(2 * E, E)
    assert fusion.state_dict().keys() == expected.state_dict().keys()
    assert torch.equal(fusion.weight, expected.weight)
    assert torch.equal(fusion.bias, expected.bias)
