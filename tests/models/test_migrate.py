"""Older records and weights, as this Versa reads them: numbers of towers' parts become their names."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import IdEmbedding, Recommender, SASRec, SideNetwork, from_pretrained, save_pretrained
from models.items.part_names import part_name
from models.machine.parallel import rank_and_world
from models.migrate import named_by_tower
from models.training import checkpoints as module
from models.training.checkpoints import Checkpoints, Place
from toolkit import TowerSpec

TOWERS = [
    TowerSpec("title", 3, 8),
    TowerSpec("clip.large", 4, 12, "image", (4, 12, 12, 12)),
    TowerSpec("values", 3, 10),
]
OLD = {  # prefixes of format 2, written out
    "item_encoder.intra.title.": "item_encoder.intra.0.",
    "item_encoder.intra.clip%2Elarge.": "item_encoder.intra.1.",
    "item_encoder.intra.%76alues.": "item_encoder.intra.2.",
    "item_encoder.widenings.clip%2Elarge.": "item_encoder.widenings.1.",
    "item_encoder.inter.projections.clip%2Elarge.": "item_encoder.inter.projections.1.",
    "item_encoder.inter.projections.%76alues.": "item_encoder.inter.projections.2.",
}


def recommender() -> Recommender:
    return Recommender(
        SideNetwork(TOWERS, embedding_dim=8, bottleneck=4), SASRec(embedding_dim=8, blocks=1)
    )


def numbered(name: str) -> str:
    """A name as format 2 had it."""
    new = next((prefix for prefix in OLD if name.startswith(prefix)), None)
    return name if new is None else OLD[new] + name.removeprefix(new)


def test_towers_whose_names_modules_cannot_have_are_read_and_learn() -> None:
    network = SideNetwork(TOWERS, embedding_dim=8, bottleneck=4)
    assert list(network.intra) == ["title", "clip%2Elarge", "%76alues"]
    assert all("." not in part_name(name) for name in ("a.b", ".", "training", "keys"))
    states = {t.name: torch.randn(5, t.layers, t.width) for t in TOWERS}
    network(states).sum().backward()
    assert list(network.gates()) == ["title", "clip.large", "values", "inter"]


@pytest.mark.parametrize("form", [0, 1, 2])
def test_a_model_folder_of_an_older_format_is_read(tmp_path: Path, form: int) -> None:
    model = recommender()
    save_pretrained(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert sum(name != numbered(name) for name in weights) > 40
    save_file(
        {numbered(name): value for name, value in weights.items()}, tmp_path / "model.safetensors"
    )
    config = json.loads((tmp_path / "config.json").read_text())
    del config["item_encoder"]["fusion"], config["weights_sha256"]
    config = {**config, "format": form, "weights_sha256": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    back = from_pretrained(tmp_path).state_dict()
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_a_model_without_towers_keeps_its_names() -> None:
    model = Recommender(IdEmbedding(5, embedding_dim=8), SASRec(embedding_dim=8))
    assert list(named_by_tower(model.state_dict(), model)) == list(model.state_dict())


def test_a_checkpoint_of_an_older_format_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rank_and_world() == (0, 1)
    model = recommender()
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    made = Checkpoints(tmp_path, keep=1, model=model, optimizer=optimizer)
    with monkeypatch.context() as patch:  # as the older Versa wrote it
        state, name_all = model.state_dict(), made._optimized
        patch.setattr(module, "_FORMAT", "2")
        older = {numbered(name): value for name, value in state.items()}
        patch.setattr(model, "state_dict", lambda **options: older)
        patch.setattr(made, "_optimized", lambda: [numbered(name) for name in name_all()])
        made.save(Place(step=1))
    names = load_file(made.paths()[0])
    assert "optimizer/item_encoder.intra.0.head.weight/exp_avg" in names
    assert not any("intra.title" in name for name in names)

    fresh = recommender()
    other = torch.optim.Adam(fresh.parameters())
    assert Checkpoints(tmp_path, keep=1, model=fresh, optimizer=other).resume() == Place(step=1)
    for mine, theirs in zip(fresh.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(other.state[mine]["exp_avg"], optimizer.state[theirs]["exp_avg"])
