"""Side towers level by level against each tower alone: the same results and gradients, from fewer operations."""

import pytest
import torch
from torch import Tensor

from benchmarks.operations import Operations
from models.items import SideNetwork, side_network
from toolkit import TowerSpec

LEVELS, WIDTH, ITEMS = 4, 12, 9
NAMES = ("title", "cover", "caption")


def make(
    towers: int = 2, *, dtype: torch.dtype = torch.float64, **settings: object
) -> tuple[SideNetwork, dict[str, Tensor]]:
    torch.manual_seed(0)
    specs = [TowerSpec(name, LEVELS, WIDTH) for name in NAMES[:towers]]
    network = SideNetwork(specs, embedding_dim=8, bottleneck=5, **settings).to(dtype)  # type: ignore[arg-type]
    for parameter in network.parameters():  # zeros, as at the start, would hide errors
        torch.nn.init.normal_(parameter, std=0.3)
    return network, {spec.name: torch.randn(ITEMS, LEVELS, WIDTH, dtype=dtype) for spec in specs}


def results(
    network: SideNetwork, states: dict[str, Tensor], *, stacked: bool
) -> dict[str, Tensor | None]:
    """The embeddings, and the gradient of each parameter for the sum of their squares."""
    assert network.equal
    network.equal = stacked
    network.zero_grad()
    embeddings = network(states)
    embeddings.square().sum().backward()
    network.equal = True
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"embeddings": embeddings.detach(), **gradients}


@pytest.mark.parametrize("mixing", ["gated", "sum"])
@pytest.mark.parametrize("parts", ["both", "intra", "inter"])
@pytest.mark.parametrize("towers", [1, 2, 3])
def test_results_are_those_of_each_tower_alone(towers: int, parts: str, mixing: str) -> None:
    if towers == 1 and parts == "inter":
        pytest.skip("an inter tower requires two towers")
    network, states = make(towers, parts=parts, mixing=mixing)
    alone = results(network, states, stacked=False)
    together = results(network, states, stacked=True)
    assert all(x is not None for x in together.values())
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_in_float32_results_differ_by_rounding() -> None:
    network, states = make(dtype=torch.float32)
    exact, _ = make()
    exact.load_state_dict(network.state_dict())
    half = {name: x.half() for name, x in states.items()}
    expected = results(exact, {name: x.double() for name, x in half.items()}, stacked=False)
    alone = results(network, half, stacked=False)
    for name, found in results(network, half, stacked=True).items():
        assert found is not None and found.dtype == torch.float32
        scale = expected[name].norm()  # type: ignore[union-attr]
        rounding = (alone[name] - expected[name]).norm()  # type: ignore[operator]
        assert (found - expected[name]).norm() < 1e-6 * scale + 2 * rounding, name


def test_a_gate_that_is_fully_open_or_closed_has_the_same_gradients() -> None:
    network, states = make()
    with torch.no_grad():
        network.intra["title"].gates.logits[1] = 9  # 1 - g is 0 in float64: no side state passes
        network.intra["cover"].gates.logits[2] = -90  # type: ignore[union-attr, operator, index]
    alone = results(network, states, stacked=False)
    torch.testing.assert_close(results(network, states, stacked=True), alone)
    assert all(torch.isfinite(x).all() for x in alone.values() if x is not None)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "gelu"},
        {"dropout": 0.1},
        {"inter_bottleneck": 7},
        {"bottleneck": {"title": 5, "cover": 6}},
        {"towers": [TowerSpec("title", 4, 12), TowerSpec("cover", 3, 12)]},
        {"towers": [TowerSpec("title", 4, 12), TowerSpec("cover", 4, 16)]},
        {"towers": [TowerSpec("title", 4, 12), TowerSpec("cover", 4, 12, widths=(6, 12, 12, 12))]},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_other_networks_run_each_tower_alone(
    settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(side_network, "run_levels")
    two = [TowerSpec("title", 4, 12), TowerSpec("cover", 4, 12)]
    network = SideNetwork(**{"towers": two, **settings})
    assert not network.equal
    states = {spec.name: torch.randn(3, spec.layers, spec.width) for spec in network.specs}
    network(states).sum().backward()
    with pytest.raises(NameError):  # towers of equal shape require it
        make()[0](make()[1])


def test_states_that_require_gradients_and_mixed_precision_run_each_tower_alone() -> None:
    network, states = make(dtype=torch.float32)
    alone = results(network, states, stacked=False)["embeddings"]
    states["cover"].requires_grad_()
    embeddings = network(states)
    embeddings.sum().backward()
    assert states["cover"].grad is not None and states["cover"].grad.abs().sum() > 0
    assert torch.equal(embeddings, alone)
    fixed = {name: x.detach() for name, x in states.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = network(fixed)
        network.equal = False
        assert torch.equal(found, network(fixed))
    assert found.dtype == torch.bfloat16


def test_operations_are_fewer() -> None:
    network, states = make()
    counts = []
    for stacked in (False, True):
        with Operations() as operations:
            results(network, states, stacked=stacked)
        counts.append(operations.total)
    # Per level 6 forward and 7 backward; the rest are gates, heads, fusion, stacked weights and the loss.
    assert counts[1] <= 13 * LEVELS + 85 < counts[0] / 2
