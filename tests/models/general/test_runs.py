"""Runs of general recommenders: from the command line to evaluation, recommendations, export and card."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_dataset import ITEMS

import models
from models.config import RunConfig, parse_run_config
from models.efficiency import efficiency
from models.evaluate import evaluate
from models.export import export_items
from models.general import GENERAL
from models.recommend import recommend
from models.report import report as write_report
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json

# What each kind reads beside its own name; ids unless it says otherwise.
WORDS = {
    "popularity": [],
    "item-knn": ["--recommender.neighbours=5"],
    "ease": ["--recommender.regularisation=5"],
    "cease": ["--item=pooled", "--towers=[title, cover]"],
    "dssm": ["--item=pooled", "--towers=[title]", "--train.loss=in-batch"],
    "youtubednn": ["--item=id", "--train.loss=bce"],
    "vbpr": ["--item=pooled", "--towers=[title, cover]", "--train.loss=bpr"],
    "fm": ["--item=id", "--train.loss=bpr"],
    "nfm": ["--item=id", "--train.loss=in-batch"],
    "deepfm": ["--item=side-network", "--towers=[title]", "--train.loss=sampled", "--train.sampled_items=20"],
    "lightgcn": ["--train.loss=bpr"],
    "mmgcn": ["--item=pooled", "--towers=[title, cover]", "--train.loss=bpr"],
    "grcn": ["--item=pooled", "--towers=[title, cover]", "--train.loss=bpr"],
}  # fmt: skip


def config(data: Path, output: Path, kind: str, *more: str) -> RunConfig:
    words = [f"--recommender.kind={kind}", f"--data={data}", f"--output={output}", "--sequence.max_len=5",
             "--side.embedding_dim=8", "--train.batch_size=64", "--train.rates.base=0.01", "--train.epochs=1",
             "--train.trackers=[]", *WORDS[kind], *more]  # fmt: skip
    return parse_run_config(words)


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of each kind."""
    folder = tmp_path_factory.mktemp("general")
    for kind in WORDS:
        train(config(dataset, folder / kind, kind))
    return {kind: folder / kind for kind in WORDS}


def test_every_kind_is_run() -> None:
    assert set(WORDS) == set(GENERAL)


@pytest.mark.parametrize("kind", WORDS)
def test_evaluation_of_the_saved_model_repeats_that_of_training(
    kind: str, runs: dict[str, Path]
) -> None:
    assert evaluate(runs[kind]) == read_json(runs[kind] / "metrics/test.json")
    config = read_json(runs[kind] / "model/config.json")
    assert config["general"]["kind"] == kind
    assert ("item_encoder" in config) == (GENERAL[kind].reads == "vectors")


@pytest.mark.parametrize("kind", WORDS)
def test_the_card_recommends_what_the_run_recommends(
    kind: str, runs: dict[str, Path], dataset: Path
) -> None:
    trained, text = models.load(runs[kind]), (runs[kind] / "model/README.md").read_text()
    assert "A general recommender" in text and "sequence encoder" not in text
    (python,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(
        python.replace("FOLDER", str(runs[kind] / "model")).replace("DATASET", str(dataset)), names
    )
    if not GENERAL[kind].needs_user:
        expected = trained.recommend([names["history"]], k=3)  # few neighbours, so later scores tie
        assert names["best"][:3] == expected.column("item_id").to_pylist()


@pytest.mark.parametrize("kind", WORDS)
def test_users_of_the_dataset_are_recommended_unseen_items(
    kind: str, runs: dict[str, Path], dataset: Path
) -> None:
    data = open_dataset(dataset)
    seen = data.interactions.to_pandas().groupby("user_id")["item"].apply(set)
    table = recommend(runs[kind], users=["u3", "u1"], k=4).to_pandas()
    assert table["user_id"].tolist() == ["u3"] * 4 + ["u1"] * 4
    for user, rows in table.groupby("user_id"):
        numbers = {data.item_ids.number(item) for item in rows["item_id"]}
        assert not numbers & seen[user]


@pytest.mark.parametrize("kind", WORDS)
def test_other_histories_are_taken_or_refused_as_declared(kind: str, runs: dict[str, Path]) -> None:
    trained, history = models.load(runs[kind]), [["i1", "i2", "i3"]]
    if GENERAL[kind].needs_user:
        with pytest.raises(UserError, match="has vectors for the users that it was trained on"):
            trained.recommend(history, k=3)
    else:
        assert trained.recommend(history, k=3).num_rows == 3


@pytest.mark.parametrize("kind", WORDS)
def test_embeddings_are_exported_where_scores_are_dot_products(
    kind: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    trained = models.load(runs[kind])
    if trained.model.own_scores is not None:
        with pytest.raises(UserError, match="are no dot products"):
            export_items(runs[kind], tmp_path / "items.npy")
        return
    export_items(runs[kind], tmp_path / "items.npy", users=tmp_path / "users.npy")
    items = torch.from_numpy(np.load(tmp_path / "items.npy"))
    assert items.shape[0] == ITEMS and torch.equal(items, trained.item_embeddings()[1:])


@pytest.mark.parametrize("kind", ["lightgcn", "dssm", "nfm"])
def test_a_resumed_run_equals_the_whole_run_bit_for_bit(
    kind: str, dataset: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(dataset, whole, kind, "--train.epochs=2"))
    for epochs in (1, 2):
        train(config(dataset, parts, kind, f"--train.epochs={epochs}", "--resume"))
    ours, theirs = (load_file(sorted((run / "checkpoints").iterdir())[-1]) for run in (parts, whole))  # fmt: skip
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert (parts / "ranks/test.arrow").read_bytes() == (whole / "ranks/test.arrow").read_bytes()


def test_a_model_without_epochs_is_computed_again_on_resume(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = train(config(dataset, run, "ease"))
    shutil.rmtree(run / "metrics")
    assert train(config(dataset, run, "ease", "--resume")) == first
    with pytest.raises(UserError, match=r"recommender\.regularisation"):
        train(config(dataset, run, "ease", "--resume", "--recommender.regularisation=6"))
    with pytest.raises(UserError, match="computed at once, without epochs"):
        efficiency([run])


def test_the_report_has_general_and_sequential_recommenders(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    write_report([runs["ease"], runs["lightgcn"], runs["popularity"]], output=page, progress=False)
    text = page.read_text()
    assert "recommender.kind" in text and "lightgcn" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ease", "--sequence.kind=gru4rec"], "has no sequence encoder"),
        (["ease", "--train.objective=masked-item"], "leave out train.objective masked-item"),
        (["ease", "--recommender.regularisation=0"], "must be above 0"),
        (["ease", "--recommender.rank=100000"], "the training matrix is"),
        (["item-knn", "--recommender.recency=2"], r"must be in \(0, 1\]"),
        (["mmgcn", "--item=side-network"], "add --item pooled"),
        (["dssm", "--towers=[]"], "the list is empty"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    words: list[str], message: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(dataset, tmp_path / "run", *words))


def test_an_unknown_recommender_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recommender\.kind is 'eas'; known: .*ease"):
        parse_run_config(
            [f"--data={dataset}", f"--output={tmp_path}/run", "--recommender.kind=eas"]
        )
