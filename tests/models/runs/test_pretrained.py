import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stub_hub import StubHub, stub_hub

from models import (
    IdEmbedding,
    Recommender,
    SASRec,
    SideNetwork,
    from_pretrained,
    push_to_hub,
    save_pretrained,
)
from models.cli import main
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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with stub_hub(monkeypatch) as stub:
        yield stub


def test_what_was_pushed_comes_back_at_every_commit(hub: StubHub, tmp_path: Path) -> None:
    model = recommenders()["side"]
    save_pretrained(model, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\ntags:\n- versa\n---\n\n# A card\n")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    assert push_to_hub(tmp_path / "model", "owner/name").endswith("/owner/name")
    assert hub.created[0]["visibility"] == "private"
    assert set(hub.commits[0]) == {"config.json", "model.safetensors", "README.md"}
    assert hub.cards[0].endswith("# A card\n")

    other = recommenders()["side"]
    (tmp_path / "model" / "README.md").unlink()
    save_pretrained(other, tmp_path / "model")
    push_to_hub(tmp_path / "model", "owner/name", private=False)
    assert hub.created[1]["visibility"] == "public"
    assert set(hub.commits[1]) == {"config.json", "model.safetensors"}

    for revision, pushed in ((hub.heads[0], model), (hub.heads[1], other), (None, other)):
        back = from_pretrained("owner/name", revision=revision)
        for name, tensor in pushed.state_dict().items():
            assert torch.equal(back.state_dict()[name], tensor), (revision, name)


def test_a_push_that_fails_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"not a model folder, because it has no config\.json"):
        push_to_hub(tmp_path, "owner/name")
    save_pretrained(recommenders()["id"], tmp_path)
    needed = r"requires a token with write access \(`hf auth login`, or HF_TOKEN\)"
    with stub_hub(monkeypatch, token=None), pytest.raises(UserError, match=f"401.*{needed}"):
        push_to_hub(tmp_path, "owner/name")
    with pytest.raises(
        UserError, match=f"upload of .* failed .*[Cc]onn.*{needed}"
    ):  # the hub is gone
        push_to_hub(tmp_path, "owner/name")
    with pytest.raises(UserError, match=r"upload of .* failed .*Repo id must.*such as owner/name"):
        push_to_hub(tmp_path, "no such name")


def test_what_the_towers_were_made_with_goes_where_the_model_goes(tmp_path: Path) -> None:
    model = recommenders()["side"]
    model.made_with = {"encode": {"title": {"encoder": "bert", "revision": "1"}}}
    save_pretrained(model, tmp_path / "a")
    save_pretrained(from_pretrained(tmp_path / "a"), tmp_path / "b")
    assert from_pretrained(tmp_path / "b").made_with == model.made_with
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    del config["made_with"]  # as an older Versa wrote it
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    assert from_pretrained(tmp_path / "b").made_with == {}


def test_the_command_pushes_a_runs_model_privately_unless_told(
    hub: StubHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(recommenders()["id"], tmp_path / "run" / "model")
    assert main(["push", str(tmp_path / "run"), "owner/name"]) == 0
    assert main(["push", str(tmp_path / "run"), "owner/name", "--public"]) == 0
    assert [created["visibility"] for created in hub.created] == ["private", "public"]
    assert capsys.readouterr().out.splitlines() == [f"{hub.address}/owner/name"] * 2
