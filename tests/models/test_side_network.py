"""The side network against its equations in slow form (arXiv 2404.02059, 2411.02992)."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models import SideNetwork
from models.items.side_blocks import SANB
from models.items.side_towers import InterTower, IntraTower
from models.parameters import rate_groups
from toolkit import TowerSpec

SHAPES = {
    "one": [TowerSpec("title", 4, 12)],
    "two equal": [TowerSpec("title", 4, 12), TowerSpec("cover", 4, 12, "image")],
    "two wide text": [TowerSpec("title", 4, 20), TowerSpec("cover", 4, 12, "image")],
    "two deep image": [TowerSpec("title", 3, 12), TowerSpec("cover", 5, 16, "image")],
    "two, stages": [TowerSpec("title", 4, 12), TowerSpec("cover", 3, 16, "image", (6, 12, 16))],
    "one, stages": [TowerSpec("cover", 3, 12, "image", (6, 12, 12))],
    "three": [TowerSpec("title", 3, 12), TowerSpec("cover", 5, 16, "image"), TowerSpec("c", 4, 10)],
}


def build(shape: str) -> tuple[SideNetwork, dict[str, Tensor]]:
    torch.manual_seed(0)
    specs = SHAPES[shape]
    network = SideNetwork(specs, embedding_dim=8, bottleneck=5)
    for (
        parameter
    ) in network.parameters():  # gates and biases start at zero, which would hide errors
        torch.nn.init.normal_(parameter, std=0.3)
    states = {s.name: torch.randn(6, s.layers, s.width) for s in specs}
    for spec in specs:
        for level, width in enumerate(spec.widths or ()):
            states[spec.name][:, level, width:] = 0  # as they are stored
    return network, states


def slow_widening(network: SideNetwork, spec: TowerSpec, h: Tensor) -> Tensor:
    """Every narrower state through a Linear of its own, before any tower reads it."""
    widening = network.widenings[spec.name]
    levels = []
    for level in range(spec.layers):
        x = h[:, level]
        if spec.widths and spec.widths[level] < spec.width:
            linear = widening.projections[level]
            x = x[:, : spec.widths[level]] @ linear.weight.T + linear.bias
        levels.append(x)
    return torch.stack(levels, 1)


def slow_block(block: SANB, x: Tensor) -> Tensor:
    inner = torch.relu(x @ block.down.weight.T + block.down.bias)
    return x + inner @ block.up.weight.T + block.up.bias


def slow_intra(tower: IntraTower, h: Tensor) -> Tensor:
    assert tower.gates is not None
    s = torch.zeros_like(h[:, 0])
    for i, block in enumerate(tower.blocks):
        g = 1 / (1 + torch.exp(-tower.gates.logits[i] / 0.1))
        s = slow_block(block, g * h[:, i] + (1 - g) * s)  # type: ignore[arg-type]
    return tower.project(tower.head(s))


def slow_inter(tower: InterTower, states: list[Tensor]) -> Tensor:
    levels = min(h.shape[1] for h in states)
    width = min(h.shape[2] for h in states)
    s = torch.zeros(len(states[0]), width)
    assert tower.gates is not None
    projections = list(tower.projections.values())
    for i in range(levels):
        mu = tower.gates.logits[i] / 0.1
        if len(states) == 2:
            g = 1 / (1 + torch.exp(-mu))
            weights = [1 - g, g]
        else:
            weights = list(torch.exp(mu) / torch.exp(mu).sum())
        for t, h in enumerate(states):
            level = h[:, h.shape[1] - levels + i]  # aligned from the top
            if h.shape[2] > width:
                level = projections[t][i](level)  # type: ignore[index]
            s = s + weights[t] * level
        s = slow_block(tower.blocks[i], s)  # type: ignore[arg-type]
    return tower.project(tower.head(s))


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_equals_the_equations(shape: str) -> None:
    network, states = build(shape)
    ordered = [slow_widening(network, spec, states[spec.name]) for spec in network.specs]
    parts = [slow_intra(t, h) for t, h in zip(network.intra.values(), ordered, strict=True)]  # type: ignore[arg-type]
    if network.inter is not None:
        parts.append(slow_inter(network.inter, ordered))
    expected = F.linear(torch.cat(parts, 1), network.fusion.weight, network.fusion.bias)
    torch.testing.assert_close(network(states), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_parameter_learns_and_items_do_not_mix(shape: str) -> None:
    network, states = build(shape)
    network(states).square().sum().backward()
    unused = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert unused == []
    alone = network({name: tensor[2:3] for name, tensor in states.items()})
    torch.testing.assert_close(alone[0], network(states)[2])


def test_one_tower_has_no_inter_tower() -> None:
    assert build("one")[0].inter is None


def test_only_narrower_states_are_projected() -> None:
    network, states = build("two, stages")
    shapes = {n: tuple(p.shape) for n, p in network.widenings.named_parameters()}
    assert shapes == {
        "cover.projections.0.weight": (16, 6),
        "cover.projections.0.bias": (16,),
        "cover.projections.1.weight": (16, 12),
        "cover.projections.1.bias": (16,),
    }
    widened = network.widenings["cover"](states["cover"])
    assert torch.equal(widened[:, 2], states["cover"][:, 2])  # full width: as it is
    groups = {id(parameter): group for group, parameter in rate_groups(network)}
    assert {groups[id(p)] for p in network.widenings.parameters()} == {"base"}


def test_a_tower_of_one_width_is_as_before_whether_or_not_it_says_so() -> None:
    networks = []
    for widths in (None, (12,) * 4):
        torch.manual_seed(0)
        towers = [TowerSpec("title", 4, 12, widths=widths), TowerSpec("cover", 4, 12, "image")]
        networks.append(SideNetwork(towers, embedding_dim=8, bottleneck=5))
    before, after = (network.state_dict() for network in networks)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("widening" in name for name in before)


def test_learning_rate_groups_are_those_of_the_public_code() -> None:
    network, _ = build("two wide text")
    names = {id(p): n for n, p in network.named_parameters()}
    groups: dict[str, set[str]] = {}
    for group, parameter in rate_groups(network):
        groups.setdefault(group, set()).add(names[id(parameter)])
    blocks = {n for n in names.values() if ".blocks." in n}
    assert groups["side_block"] == blocks
    assert groups["text_head"] == {"intra.title.head.weight", "intra.title.head.bias"}
    assert groups["image_head"] == {"intra.cover.head.weight", "intra.cover.head.bias"}
    assert groups["image_gate"] == {"intra.cover.gates.logits"}
    assert {
        "intra.title.gates.logits",
        "inter.gates.logits",
        "inter.head.weight",
        "fusion.weight",
        "intra.cover.project.weight",
        "inter.projections.title.0.weight",
    } <= groups["base"]
    assert sorted(itertools.chain(*groups.values())) == sorted(names.values())  # each once


def test_initial_gates_are_even_and_blocks_nearly_the_identity() -> None:
    network = SideNetwork(SHAPES["three"], embedding_dim=8)
    assert network.inter is not None
    torch.testing.assert_close(network.inter.weights(), torch.full((3, 3), 1 / 3))
    block = SANB(32, 16)
    assert 0.008 < block.down.weight.std() < 0.012
    x = torch.randn(4, 32)
    assert (block(x) - x).abs().max() < 0.05


def test_half_precision_states_are_read_as_they_are_stored() -> None:
    network, states = build("two equal")
    half = {name: tensor.half() for name, tensor in states.items()}
    torch.testing.assert_close(network(half), network({n: t.float() for n, t in half.items()}))


def test_ablations_keep_what_their_name_says() -> None:
    both, states = build("three")
    for parts, towers, joined in (("intra", 3, 3 * 8), ("inter", 0, 8), ("both", 3, 4 * 8)):
        network = SideNetwork(SHAPES["three"], embedding_dim=8, bottleneck=5, parts=parts)  # type: ignore[arg-type]
        assert (len(network.intra), network.fusion.in_features) == (towers, joined)
        assert (network.inter is None) == (parts == "intra")
        ours = network.state_dict()
        network.load_state_dict({n: t for n, t in both.state_dict().items() if n in ours}
                                | {n: t for n, t in ours.items() if n.startswith("fusion")})  # fmt: skip
        every = list(both.parts(states).values())
        kept = {"intra": every[:3], "inter": every[3:], "both": every}[parts]
        torch.testing.assert_close(list(network.parts(states).values()), kept)
        network(states).sum().backward()
        assert all(p.grad is not None for p in network.parameters())  # nothing is built in vain


@pytest.mark.parametrize("shape", ["one", "two wide text", "three"])
def test_without_gates_states_are_added(shape: str) -> None:
    torch.manual_seed(0)
    specs = SHAPES[shape]
    network = SideNetwork(specs, embedding_dim=8, mixing="sum")
    assert not any("gates" in name for name, _ in network.named_parameters())
    assert network.gates() == {}
    # With the blocks' second layers at 0 each SANB is the identity: what reaches a head is a plain sum.
    for name, parameter in network.named_parameters():
        if ".up." in name:
            torch.nn.init.zeros_(parameter)
    states = {s.name: torch.randn(6, s.layers, s.width) for s in specs}
    parts = list(network.parts(states).values())
    for tower, spec, part in zip(network.intra.values(), specs, parts, strict=False):
        expected = tower.project(tower.head(states[spec.name].sum(dim=1)))  # type: ignore[operator]
        torch.testing.assert_close(part, expected)
    if network.inter is not None:
        total: Tensor | int = 0
        for spec in specs:
            top = states[spec.name][:, spec.layers - network.inter.levels :].unbind(dim=1)
            total = total + sum(
                network.inter.projections[spec.name][i](h) for i, h in enumerate(top)
            )  # type: ignore[index]
        expected = network.inter.project(network.inter.head(total))
        torch.testing.assert_close(parts[-1], expected)


def test_gates_can_be_read() -> None:
    network = SideNetwork(SHAPES["two deep image"], embedding_dim=8)
    assert network.inter is not None and network.inter.gates is not None
    with torch.no_grad():
        network.intra["title"].gates.logits[1] = 0.1 * np.log(3)  # type: ignore[union-attr, operator, index]
        network.inter.gates.logits[2] = -0.1 * np.log(4)
    gates = network.gates()
    assert list(gates) == ["title", "cover", "inter"]
    torch.testing.assert_close(gates["title"], torch.tensor([1 / 2, 3 / 4, 1 / 2]))
    torch.testing.assert_close(gates["cover"], torch.full((5,), 1 / 2))
    torch.testing.assert_close(
        gates["inter"], torch.tensor([[1 / 2, 1 / 2], [1 / 2, 1 / 2], [4 / 5, 1 / 5]])
    )
    assert not any(gate.requires_grad for gate in gates.values())
    shares = SideNetwork(SHAPES["three"], embedding_dim=8).gates()["inter"]
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))
    assert list(SideNetwork(SHAPES["three"], parts="intra").gates()) == ["title", "cover", "c"]
    assert list(SideNetwork(SHAPES["three"], parts="inter").gates()) == ["inter"]


def test_dropout_drops_inner_values_while_training_only() -> None:
    torch.manual_seed(0)
    block = SANB(6, 4000, dropout=0.25)
    torch.nn.init.ones_(block.up.weight)
    x = torch.randn(1, 6)
    inner = torch.relu(block.down(x))
    kept = (block(x) - x)[
        0, 0
    ] / inner.sum()  # a kept value is divided by 1 - 0.25, so the mean stays
    assert 0.9 < kept < 1.1 and kept != 1
    dropped = SANB(6, 50, dropout=0.999999)
    torch.testing.assert_close(dropped(x), x)  # the residual path is not dropped
    assert torch.equal(block.eval()(x), x + block.up(inner))


def test_each_tower_may_have_a_bottleneck_of_its_own() -> None:
    network = SideNetwork(
        SHAPES["two wide text"], bottleneck={"title": 3, "cover": 7}, inter_bottleneck=9
    )
    widths = {
        n.split(".blocks")[0]: len(p) for n, p in network.named_parameters() if "down.bias" in n
    }
    assert widths == {"intra.title": 3, "intra.cover": 7, "inter": 9}
    narrowest = SideNetwork(SHAPES["two wide text"], bottleneck={"title": 3, "cover": 7})
    assert narrowest.inter_bottleneck == 7  # the cover's, which is the narrower tower


def test_bad_towers_and_states_are_named() -> None:
    with pytest.raises(ValueError, match="the only one is 'title'"):
        SideNetwork(SHAPES["one"], parts="inter")
    with pytest.raises(ValueError, match="named 'inter'"):
        SideNetwork([TowerSpec("inter", 2, 4)])
    with pytest.raises(ValueError, match=r"mixing 'add' is unknown; use one of \['gated', 'sum'\]"):
        SideNetwork(SHAPES["one"], mixing="add")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected one or more with distinct names"):
        SideNetwork([])
    with pytest.raises(ValueError, match=r"\['title', 'title'\]"):
        SideNetwork([TowerSpec("title", 2, 4)] * 2)
    with pytest.raises(ValueError, match="bottleneck has the keys"):
        SideNetwork(SHAPES["one"], bottleneck={"cover": 4})
    network, states = build("two equal")
    with pytest.raises(ValueError, match="'cover' are missing"):
        network({"title": states["title"]})
    with pytest.raises(ValueError, match=r"\(6, 3, 12\), expected \(U, 4, 12\)"):
        network({**states, "title": states["title"][:, 1:]})
