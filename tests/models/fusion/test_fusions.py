"""Fusions against their equations, in the side network and as settings of a run."""

from pathlib import Path

import pytest
import torch

from models import (
    FUSIONS,
    FusionKind,
    Recommender,
    SASRec,
    SideNetwork,
    from_pretrained,
    save_pretrained,
)
from models.build import build
from models.config import parse_run_config
from models.fusion import Concat, Sum
from toolkit import TowerSpec, UserError, open_dataset

TOWERS = [TowerSpec("title", 3, 8), TowerSpec("cover", 4, 12, "image")]
PARTS = ("title", "cover", "inter")


def parts() -> dict[str, torch.Tensor]:
    return {name: torch.randn(5, 4) for name in reversed(PARTS)}  # the order given does not matter


def test_concat_is_one_linear_over_the_parts_in_their_order() -> None:
    fusion, given = Concat(PARTS, embedding_dim=4), parts()
    blocks = fusion.weight.split(4, dim=1)
    expected = fusion.bias + sum(given[name] @ w.T for name, w in zip(PARTS, blocks, strict=True))
    torch.testing.assert_close(fusion(given), expected)
    assert {name for name, _ in fusion.named_parameters()} == {"weight", "bias"}


def test_sum_adds_the_parts_and_has_no_parameters() -> None:
    fusion, given = Sum(PARTS, embedding_dim=4), parts()
    torch.testing.assert_close(fusion(given), given["title"] + given["cover"] + given["inter"])
    assert not list(fusion.parameters())


def test_the_fusion_changes_no_other_initial_weight() -> None:
    networks = []
    for fusion in (Concat, Sum):
        torch.manual_seed(0)
        networks.append(SideNetwork(TOWERS, embedding_dim=4, bottleneck=3, fusion=fusion))
    concat, added = networks
    states = {t.name: torch.randn(6, t.layers, t.width) for t in TOWERS}
    torch.testing.assert_close(added(states), sum(concat.parts(states).values()))
    assert added.settings()["fusion"] == {"kind": "sum"}


def test_a_network_with_another_fusion_comes_back_as_it_went(tmp_path: Path) -> None:
    network = SideNetwork(TOWERS, embedding_dim=4, bottleneck=3, fusion=Sum)
    save_pretrained(Recommender(network, SASRec(embedding_dim=4)), tmp_path)
    back = from_pretrained(tmp_path).item_encoder
    states = {t.name: torch.randn(6, t.layers, t.width) for t in TOWERS}
    assert torch.equal(back(states), network(states))


def test_a_fusion_that_is_not_registered_is_not_saved() -> None:
    class Mine(Sum):
        pass

    network = SideNetwork(TOWERS, embedding_dim=4, fusion=Mine)
    with pytest.raises(
        ValueError, match=r"fusion Mine cannot be saved, because it is not registered"
    ):
        network.settings()


def test_a_run_chooses_its_fusion(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config=raw-image", f"--data={dataset}", "--output=RUN", "--fusion.kind=sum"]
    config, data = parse_run_config(words), open_dataset(dataset)
    assert isinstance(build(config, data).item_encoder.fusion, Sum)
    tokens = FusionKind(FUSIONS["sum"].settings, Sum, joins="tokens")
    monkeypatch.setitem(FUSIONS, "sum", tokens)
    with pytest.raises(UserError, match=r"kind sum joins tokens, .* a side network are vectors"):
        build(config, data)
    with pytest.raises(UserError, match=r"fusion\.kind is 'mean'; known: concat, sum"):
        parse_run_config(["--data=D", "--output=RUN", "--fusion.kind=mean"])
