"""Exports for a service: embeddings, ids, and an index that returns the recommended items."""

import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from circle import KNOWN, PLACES, states
from tiny_dataset import write_dataset

import models
from models.cli import main
from models.export import build_index, export_items
from models.inputs.histories import dataset_histories
from toolkit import UserError


def test_vectors_and_ids_are_row_by_row_those_of_the_model(
    circle_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items, users = tmp_path / "out" / "items.npy", tmp_path / "users.npy"
    assert main(["export", str(circle_run), str(items), "--users", str(users)]) == 0
    model = models.load(circle_run)
    vectors = np.load(items)
    assert (vectors.shape, vectors.dtype) == ((PLACES, 32), np.float32)
    np.testing.assert_allclose(vectors, model.item_embeddings()[1:], rtol=1e-6)
    names = items.with_suffix(".ids.txt").read_text().splitlines()
    assert names == [f"p{place}" for place in range(PLACES)]
    assert f"items: {items}\nitem ids: {items.with_suffix('.ids.txt')}" in capsys.readouterr().out

    asked = [["p1", "p2"], ["p9"]]  # the score is their product, whichever way it is asked for
    scores = model.user_states(asked) @ torch.from_numpy(vectors).T
    for row in model.recommend(asked, k=3).to_pylist():
        mine = scores[row["row"], names.index(row["item_id"])]
        assert float(mine) == pytest.approx(row["score"], rel=1e-5)
    assert users.with_suffix(".ids.txt").read_text().splitlines()[:2] == ["u0", "u1"]
    states = model.user_states(dataset_histories(model.dataset))
    np.testing.assert_allclose(np.load(users), states, rtol=1e-6)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_an_index_finds_what_is_recommended(circle_run: Path, tmp_path: Path, kind: str) -> None:
    """In the same order, once a user's own items are left out; new items are in neither."""
    items, users, index = (tmp_path / name for name in ("items.npy", "users.npy", "items.faiss"))
    export_items(circle_run, items, index=index, kind=kind, users=users)  # type: ignore[arg-type]
    names = np.array(items.with_suffix(".ids.txt").read_text().splitlines())
    scores, rows = faiss.read_index(str(index)).search(np.load(users), len(KNOWN))
    model = models.load(circle_run)
    histories = dataset_histories(model.dataset)
    recommended = model.recommend(histories, k=PLACES)
    seen = set(zip(*(part.tolist() for part in histories.pairs()), strict=True))
    found = [
        (user, names[row], score)
        for user in range(len(histories))
        for row, score in zip(rows[user].tolist(), scores[user].tolist(), strict=True)
        if (user, row + 1) not in seen
    ]
    assert [(row["row"], row["item_id"]) for row in recommended.to_pylist()] == [
        (user, name) for user, name, _ in found
    ]
    np.testing.assert_allclose(
        recommended.column("score"), [score for *_, score in found], rtol=1e-4, atol=1e-4
    )


def test_hnsw_finds_nearly_all_of_what_flat_finds() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 32)).astype(np.float32)
    rows = np.arange(0, 3000, 2)  # what is left out is never found
    users = rng.normal(size=(200, 32)).astype(np.float32)
    _, exact = build_index(vectors, rows).search(users, 10)
    _, near = build_index(vectors, rows, kind="hnsw").search(users, 10)
    best = np.argsort(-(users @ vectors[rows].T), axis=1)[:, :10]
    np.testing.assert_array_equal(exact, rows[best])
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, near, strict=True)])
    assert recall > 0.95


def test_another_datasets_items_are_exported_and_indexed(circle_run: Path, tmp_path: Path) -> None:
    index = tmp_path / "items.faiss"
    ids = [f"q{place}" for place in range(PLACES)]
    other = write_dataset(
        tmp_path / "other", [[1]], items=PLACES, towers={"title": states()}, ids=ids
    )
    export_items(circle_run, tmp_path / "items.npy", index=index, data=other)
    assert faiss.read_index(str(index)).ntotal == PLACES  # of another dataset, all are ranked


def test_mistakes_are_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "no run"
    for options, message in [
        ({"file": "items.bin"}, r"items\.bin: the file name must end with \.npy"),
        ({"file": "items.npy", "users": "users"}, r"users: the file name must end with \.npy"),
        (
            {"file": "a.npy", "users": "a.npy"},
            r"items and --users are both a\.npy, so one would overwrite the other; choose another name",
        ),
        ({"file": "items.npy", "kind": "tree"}, "--kind tree: choose from flat, hnsw"),
    ]:
        with pytest.raises(UserError, match=message):
            export_items(absent, **options)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r'not installed; pip install "versa-toolkit\[faiss\]"'):
        export_items(absent, "items.npy", index="items.faiss")


@pytest.mark.parametrize(
    ("option", "name"),
    [("index", "items.npy"), ("index", "items.ids.txt"), ("users", "items.npy")],
)
def test_no_output_overwrites_another(
    circle_run: Path, tmp_path: Path, option: str, name: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"--{option} are both .* choose another name"):
        export_items(circle_run, tmp_path / "items.npy", **{option: tmp_path / "link" / name})  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
