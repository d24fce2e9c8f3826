"""The two-stage item encoder and `id` among the towers: golden runs of IDvs.MoRec, and runs from the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.build import build, make_features
from models.config import parse_run_config
from models.fusion import Concat, Sum
from models.items import Pooled
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json
from toolkit.states import LastState
from toolkit.towers import TowerSpec

GOLDEN = Path(__file__).parents[2] / "golden"
FAST = ["--train.epochs=3", "--train.trackers=[]", "--side.embedding_dim=16", "--sequence.max_len=5", "--item=pooled",
        "--train.rates.base=5e-3", "--items.layers=1"]  # fmt: skip


def close(ours: torch.Tensor, golden: np.ndarray, relative: float) -> bool:
    error = np.abs(ours.detach().numpy() - golden).max()
    return bool(error <= relative * np.abs(golden).max())


def trained(data: Path, output: Path, *words: str) -> models.TrainedRecommender:
    train(parse_run_config([*FAST, f"--data={data}", f"--output={output}", *words]))
    return models.load(output)


def test_the_head_is_that_of_the_golden_two_stage_run() -> None:
    golden = np.load(GOLDEN / "morec_two_stage.npz")
    features = torch.from_numpy(golden["input/features"])
    network = Pooled(
        [TowerSpec("title", 3, features.shape[1])], embedding_dim=16, layers=2, dropout=0.0
    )
    names = {"first": "fc.fc", "layers.0": "fc.mlp_layers.1", "layers.1": "fc.mlp_layers.4"}
    head = network.heads["title"]
    with torch.no_grad():
        for ours, public in names.items():
            for part in ("weight", "bias"):
                value = torch.from_numpy(golden[f"weight/{public}.{part}"])
                head.get_parameter(f"{ours}.{part}").copy_(value)
    states = torch.stack([torch.zeros_like(features), features + 1, features], dim=1)
    assert close(network({"title": states}), golden["output/item_embeddings"], 1e-5)


@pytest.mark.parametrize("form", ["add", "cat"])
def test_id_and_modality_are_joined_as_in_the_golden_run(form: str) -> None:
    golden = np.load(GOLDEN / f"morec_id_plus_modality_{form}.npz")
    names, dim = ["id", "content"], golden["input/id"].shape[1]
    fusion: torch.nn.Module = Sum(names, embedding_dim=dim)
    if form == "cat":
        fusion = Concat(names, embedding_dim=dim, activation="gelu", dropout=0.3).eval()
        weights = {
            p: torch.from_numpy(golden[f"weight/mlp_layers.1.{p}"]) for p in ("weight", "bias")
        }
        fusion.load_state_dict(weights)
    parts = {n: torch.from_numpy(golden[f"input/{n}"]).requires_grad_() for n in names}
    fused = fusion(parts)
    assert close(fused, golden["output/fused"], 1e-5)
    fused.square().sum().backward()
    for name, part in parts.items():
        assert part.grad is not None and close(part.grad, golden[f"grad/input.{name}"], 1e-4)


def test_a_two_stage_run_is_trained_saved_and_loaded(dataset: Path, tmp_path: Path) -> None:
    model = trained(dataset, tmp_path / "run", "--towers=[title]")
    encoder = model.model.item_encoder
    assert isinstance(encoder, Pooled) and encoder.fusion is None  # a single part is the item
    stored = torch.arange(1, 61)
    features = make_features(model.config, open_dataset(dataset)).gather(stored)
    assert features["title"].shape == (60, 1, 16)  # the last state alone
    whole = open_dataset(dataset).states("title")[1:]
    assert torch.equal(encoder(features), encoder({"title": whole}))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "two-stage" in card and "data.states(name)" in card
    assert read_json(tmp_path / "run" / "model" / "config.json")["item_encoder"]["layers"] == 1
    assert model.recommend([["i1", "i2"]], k=3).num_rows == 3


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_id_is_one_of_the_towers(dataset: Path, tmp_path: Path, fusion: str) -> None:
    words = ["--towers=[id, title]", f"--fusion.kind={fusion}"]
    if fusion == "concat":
        words += ["--fusion.activation=gelu", "--fusion.dropout=0.1"]
    model = trained(dataset, tmp_path / "run", *words)
    encoder = model.model.item_encoder
    assert isinstance(encoder, Pooled) and encoder.joined == ("id", "title")
    assert encoder.items == 60 and not model.config.knows_new_items
    given = make_features(model.config, open_dataset(dataset)).gather(torch.tensor([4, 2]))
    parts = encoder.parts(given)
    assert list(parts) == ["id", "title"]
    assert torch.equal(parts["id"], encoder.vectors.table.weight[[4, 2]])
    if fusion == "sum":
        assert torch.allclose(encoder(given), parts["id"] + parts["title"])
    else:
        saved = read_json(tmp_path / "run" / "model" / "config.json")["item_encoder"]["fusion"]
        assert saved == {"kind": "concat", "activation": "gelu", "dropout": 0.1}
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert (
        "a learned vector per item" in card and "the model has no vectors for other items" in card
    )


def test_id_and_content_adds_small_vectors_to_the_content(dataset: Path, tmp_path: Path) -> None:
    words = [f"--data={dataset}", f"--output={tmp_path / 'run'}", "--train.epochs=1", "--sequence.max_len=5"]  # fmt: skip
    config = parse_run_config(["--config=id-and-content", "--towers=[id, title]", *words])
    encoder = build(config, open_dataset(dataset)).item_encoder
    assert isinstance(encoder, Pooled) and encoder.joined == ("id", "title")
    assert isinstance(encoder.fusion, Sum)
    assert 0.018 < float(encoder.vectors.table.weight[1:].detach().std()) < 0.022
    assert train(config)["users"] == len(open_dataset(dataset).splits(max_len=5).user_ids)


def test_what_two_stage_models_cannot_do_is_refused(dataset: Path, tmp_path: Path) -> None:
    where = [f"--data={dataset}", f"--output={tmp_path / 'run'}"]
    with pytest.raises(UserError, match="towers: the list is empty"):
        train(parse_run_config([*FAST, *where, "--towers=[id]"]))
    with pytest.raises(UserError, match=r"items\.layers is -1"):
        parse_run_config([*FAST, *where, "--towers=[title]", "--items.layers=-1"])
    network = Pooled([TowerSpec("title", 2, 4)], layers=0)
    with pytest.raises(ValueError, match=r"shape \(5, 4\), expected \(U, K, 4\)"):
        network({"title": torch.zeros(5, 4)})
    with pytest.raises(ValueError, match="absent"):
        network({})


def test_the_last_state_is_that_of_the_table(dataset: Path) -> None:
    table = open_dataset(dataset).state_table("cover")
    last, whole = LastState(table), table.load()
    assert torch.equal(last.load(), whole[:, -1:]) and last.nbytes * 4 == table.nbytes
    assert torch.equal(last.gather(torch.tensor([3, 0, 3])), whole[[3, 0, 3], -1:])
