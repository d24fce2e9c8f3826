import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import IdEmbedding, Recommender, SASRec, SideNetwork, from_pretrained, save_pretrained
from toolkit import TowerSpec, UserError


def recommenders() -> dict[str, Recommender]:
    towers = [TowerSpec("title", 3, 8), TowerSpec("cover", 4, 12, "image", (4, 4, 8, 12))]
    side = SideNetwork(
        towers, embedding_dim=8, bottleneck={"title": 4, "cover": 6}, activation="gelu"
    )
    ablated = SideNetwork(
        towers, embedding_dim=8, dropout=0.2, parts="intra", mixing="sum", wide_heads=True
    )
    return {
        "side": Recommender(side, SASRec(embedding_dim=8, max_len=4, blocks=1, dropout=0.3)),
        "ablated": Recommender(ablated, SASRec(embedding_dim=8)),
        "id": Recommender(IdEmbedding(9, embedding_dim=8), SASRec(embedding_dim=8)),
    }


@pytest.mark.parametrize("kind", ["side", "ablated", "id"])
def test_a_model_comes_back_as_it_went(kind: str, tmp_path: Path) -> None:
    model = recommenders()[kind]
    save_pretrained(model, tmp_path)
    back = from_pretrained(tmp_path)
    assert not back.training
    assert str(back.item_encoder) == str(model.item_encoder)
    assert str(back.sequence_encoder) == str(model.sequence_encoder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    if kind != "id":
        assert back.item_encoder.specs == model.item_encoder.specs


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        from_pretrained(tmp_path / "absent")
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        from_pretrained(tmp_path)
    save_pretrained(recommenders()["id"], tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.popitem()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        from_pretrained(tmp_path)
