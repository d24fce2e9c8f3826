"""Recommendations for given users and items, with and without training on them, in every file format."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from circle import KNOWN, NEW, PLACES, states
from tiny_dataset import write_dataset, write_tower

import models
from models.cli import main
from models.inputs.histories import dataset_histories
from models.ranking.catalogue import make_catalogue
from models.ranking.top_k import top_k_items
from models.recommend import format_recommendations, read_ids, recommend
from toolkit import UserError, open_dataset, schema
from toolkit.json_files import read_json, write_json
from toolkit.store import read_file

FRESH = [f"n{place}" for place in NEW]
# Three known steps up to just before each new place; it is the nearest place to come.
BEFORE = [[f"p{(place - back) % PLACES}" for back in (3, 2, 1)] for place in NEW]


def other_dataset(folder: Path, table: np.ndarray) -> Path:
    """The circle's known places, and the new ones under ids that no run has seen, in another order."""
    order = np.random.default_rng(2).permutation(PLACES)
    ids = [f"n{place}" if place in NEW else f"p{place}" for place in order]
    return write_dataset(folder, [[1]], items=PLACES, towers={"title": table[order]}, ids=ids)


def ranks(table: pa.Table, targets: list[str]) -> list[int]:
    """The rank of each history's target."""
    rows = [(row["row"], row["item_id"]) for row in table.to_pylist()]
    places = table.column("rank").to_pylist()
    return [places[rows.index(target)] for target in enumerate(targets)]


def test_items_never_trained_on_are_recommended_where_their_content_belongs(
    circle_run: Path, tmp_path: Path
) -> None:
    model = models.load(circle_run, data=other_dataset(tmp_path / "other", states()))
    among_new = ranks(model.recommend(BEFORE, k=PLACES, items=FRESH), FRESH)
    # Of 8 at random, the mean rank of 8 is 4.5 with a standard deviation of sqrt(63 / 12 / 8) = 0.81.
    assert np.mean(among_new) < 4.5 - 3 * 0.81, among_new
    among_all = ranks(model.recommend(BEFORE, k=PLACES), FRESH)
    assert np.median(among_all) <= 2, among_all  # before or after the known neighbour, of 45


def test_new_items_of_random_content_stay_at_chance(circle_run: Path, tmp_path: Path) -> None:
    table = states()
    table[NEW] = np.random.default_rng(3).normal(size=table[NEW].shape) * table.std()
    model = models.load(circle_run, data=other_dataset(tmp_path / "other", table))
    among_new = ranks(model.recommend(BEFORE, k=PLACES, items=FRESH), FRESH)
    assert abs(np.mean(among_new) - 4.5) < 3 * 0.81, among_new


def test_new_items_of_the_runs_own_dataset_come_when_they_are_asked_for(
    circle_run: Path, tmp_path: Path
) -> None:
    model = models.load(circle_run)
    assert not {f"p{place}" for place in NEW} & set(
        model.recommend(BEFORE, k=PLACES).column("item_id").to_pylist()
    )
    new = [f"p{place}" for place in NEW]
    mine = model.recommend(BEFORE, k=3, items=[*new, new[0]])  # a repeat is one item
    other = models.load(circle_run, data=other_dataset(tmp_path / "other", states()))
    theirs = other.recommend(BEFORE, k=3, items=FRESH)
    named = [id_.replace("n", "p") for id_ in theirs.column("item_id").to_pylist()]
    assert mine.column("item_id").to_pylist() == named
    np.testing.assert_allclose(mine.column("score"), theirs.column("score"), rtol=1e-5)


def test_an_id_run_knows_only_its_own_items(
    circle_id_run: Path, circle: Path, tmp_path: Path
) -> None:
    model = models.load(circle_id_run)
    known = [f"p{place}" for place in KNOWN]
    assert model.recommend(BEFORE, k=2, items=known).equals(model.recommend(BEFORE, k=2))
    with pytest.raises(UserError, match=r"1 of them .*'p6'.* outside the catalogue.*ID model"):
        model.recommend(BEFORE, items=["p5", "p6"])
    with pytest.raises(UserError, match="items: the list is empty"):
        model.recommend(BEFORE, items=[])
    with pytest.raises(UserError, match="item 'p48' is not in this dataset"):
        model.recommend(BEFORE, items=["p48"])
    with pytest.raises(
        UserError, match=r"an ID model has vectors for its training items only.*leave out --data"
    ):
        models.load(circle_id_run, data=other_dataset(tmp_path / "other", states()))
    moved = models.load(circle_id_run, data=shutil.copytree(circle, tmp_path / "moved"))
    assert moved.recommend(BEFORE, k=2).equals(model.recommend(BEFORE, k=2))


def test_another_dataset_must_have_states_made_the_same_way(
    circle_run: Path, circle: Path, tmp_path: Path
) -> None:
    ids = [f"p{place}" for place in range(PLACES)]
    other = tmp_path / "other"
    shutil.copytree(circle, other)
    ending = "encode that dataset with the same settings"
    for about, message in [
        ({"encoder": "another"}, rf"states with tower title encoder 'random', .* has 'another'.*{ending}"),
        ({"kept": "0,2,4"}, r"tower title kept None, .* has '0,2,4'"),
        ({"quantize": "4bit"}, r"tower title quantize None, .* has '4bit'"),
    ]:  # fmt: skip
        shutil.rmtree(other / "states")
        write_tower(other, "title", ids, states(), **about)
        with pytest.raises(UserError, match=message):
            models.load(circle_run, data=other)
    shutil.rmtree(other / "states")
    write_tower(other, "title", ids, states(), dtype="float16")  # how they are stored, said anew
    models.load(circle_run, data=other)
    encode = {"encode:title": {"config": {"max_tokens": 9, "layers": "all"}}}
    write_json(other / "dataset.json", {"schema_version": 1, "steps": encode})
    with pytest.raises(UserError, match=r"tower title max_tokens None, .* has 9"):
        models.load(circle_run, data=other)


def test_a_run_that_does_not_say_what_it_read_takes_no_other_dataset(
    circle_run: Path, circle: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(circle_run, run)
    config = read_json(run / "model" / "config.json")
    del config["made_with"]  # as an older Versa wrote it
    write_json(run / "model" / "config.json", config)
    models.load(run)
    models.load(run, data=circle)  # is the run's own
    with pytest.raises(UserError, match=r"an older Versa trained this run.*leave out --data"):
        models.load(run, data=other_dataset(tmp_path / "other", states()))


@pytest.mark.parametrize("alike", [range(20, 30), [1, 30]])
def test_best_items_are_those_of_a_full_sort(alike: Sequence[int]) -> None:
    """Scores are small whole numbers, so that most are equal. Contents alike share a column, which may be out of order.

    Of the second pair, the lower one is outside the catalogue.
    """
    rng = np.random.default_rng(0)
    items = np.sort(rng.choice(np.arange(2, 41), size=30, replace=False)).astype(np.int32)
    assert 30 in items
    same_as = torch.arange(41)
    same_as[list(alike)] = alike[0]
    embeddings = torch.from_numpy(rng.integers(-2, 3, size=(41, 2))).float()[same_as]
    users = torch.from_numpy(rng.integers(-1, 2, size=(7, 2))).float()  # the zero vector among them
    users[0] = 0
    hidden = rng.integers(0, 7, size=60), rng.integers(1, 41, size=60)
    catalogue = make_catalogue(embeddings, same_as, items)
    top_k = top_k_items(users, catalogue, (torch.tensor(hidden[0]), torch.tensor(hidden[1])), 25)
    expected = []
    for row in range(7):
        left = set(items.tolist()) - set(hidden[1][hidden[0] == row].tolist())
        scores = {item: float(users[row] @ embeddings[item]) for item in left}
        order = sorted(left, key=lambda item: (-scores[item], item))[:25]
        expected += [(row, rank, item, scores[item]) for rank, item in enumerate(order, start=1)]
    assert list(zip(*(part.tolist() for part in top_k), strict=True)) == expected


def test_histories_of_the_dataset_are_those_of_its_table(circle: Path) -> None:
    data = open_dataset(circle)
    slow: dict[str, list[int]] = {}
    for row in data.interactions.to_pylist():
        slow.setdefault(row["user_id"], []).append(row["item"])
    found = dataset_histories(data)
    assert found.user_ids.to_pylist() == list(slow)
    rows, items = found[10:20].pairs()
    flat = [(row, item) for row, user in enumerate(list(slow)[10:20]) for item in slow[user]]
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == flat
    some = dataset_histories(data, ["u7", "u3", "u7"])
    assert some.user_ids.to_pylist() == ["u7", "u3"]
    newest = [slow["u7"][-4:], slow["u3"][-4:]]
    assert some.inputs(4).tolist() == newest
    with pytest.raises(UserError, match="user 'nobody' is not in dataset"):
        dataset_histories(data, ["u1", "nobody"])


def test_users_get_their_own_items_with_titles(circle_run: Path) -> None:
    model = models.load(circle_run)
    history = [
        row["item"] for row in model.dataset.interactions.to_pylist() if row["user_id"] == "u5"
    ]
    table = recommend(circle_run, users=["u9", "u5"], k=3)
    assert table.schema.equals(schema.USER_RECOMMENDATIONS)
    assert table.column("user_id").to_pylist() == ["u9"] * 3 + ["u5"] * 3
    alone = model.recommend([[model.dataset.item_ids.id(number) for number in history]], k=3)
    assert table.column("item_id").to_pylist()[3:] == alone.column("item_id").to_pylist()
    first = model.dataset.item_ids.number(alone.column("item_id")[0].as_py())
    assert table.column("title")[3].as_py() == f"title {first}"
    shown = format_recommendations(table, users=1)
    assert shown.startswith("user u9\n    1. p") and "u5" not in shown


@pytest.mark.parametrize("ending", [".arrow", ".csv", ".jsonl", ".json"])
def test_a_file_of_each_kind_holds_the_same(circle_run: Path, tmp_path: Path, ending: str) -> None:
    output = tmp_path / "out" / f"found{ending}"
    table = recommend(circle_run, k=2, output=output)
    assert table.num_rows == 400
    if ending == ".arrow":
        assert read_file(output).equals(table)
        return
    if ending == ".csv":
        found = pd.read_csv(output, dtype={"user_id": str, "item_id": str})
    else:
        text = output.read_text()
        rows = json.loads(text) if ending == ".json" else map(json.loads, text.splitlines())
        found = pd.DataFrame(rows)
    assert list(found.columns) == table.schema.names
    for name in ("user_id", "rank", "item_id", "title"):
        assert found[name].tolist() == table.column(name).to_pylist()
    np.testing.assert_allclose(found["score"], table.column("score"), rtol=1e-6)


def test_the_command_limits_items_and_takes_another_dataset(
    circle_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_dataset(tmp_path / "other", states())
    (tmp_path / "new.txt").write_text("\n".join(FRESH))
    lines = [
        {"user_id": f"before {n}", "items": n_items}
        for n, n_items in zip(FRESH, BEFORE, strict=True)
    ]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "found.jsonl"
    words = ["recommend", str(circle_run), "-k", "1", "--data", str(other), "--output", str(output)]
    words += ["--histories", str(tmp_path / "asked.jsonl"), "--items", str(tmp_path / "new.txt")]
    assert main(words) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["user_id"] for row in rows] == [line["user_id"] for line in lines]
    right = [row["user_id"] == f"before {row['item_id']}" for row in rows]
    assert np.mean(right) > 1 / 8 + 3 * (1 / 8 * 7 / 8 / 8) ** 0.5  # chance, and three deviations
    assert f"8 rows in {output}" in capsys.readouterr().out


def test_what_is_wrong_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    absent = tmp_path / "no run"
    with pytest.raises(UserError, match=r"found\.txt: its ending must be one of \.arrow, \.csv"):
        recommend(absent, output=tmp_path / "found.txt")
    with pytest.raises(UserError, match=r"--users and --histories.*give one"):
        recommend(absent, users=["u1"], histories="asked.csv")
    with pytest.raises(UserError, match=r"--items .*absent\.txt: cannot be read"):
        read_ids(tmp_path / "absent.txt", kind="item")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"--users .*empty; expected one user id per line"):
        read_ids(tmp_path / "empty.txt", kind="user")


def test_numbers_become_ids_once_and_all_ways_agree(
    circle_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recommend` of a run, of its model, and the model's numbers are one answer, whatever the size of a block."""
    model = models.load(circle_run)
    asked = dataset_histories(model.dataset)
    whole = model.recommend(asked, 5)
    rows = recommend(circle_run, k=5)
    ids, titles = (model.dataset.items.column(name).to_pylist() for name in ("item_id", "title"))
    assert rows.column("item_id").equals(whole.column("item_id"))
    assert rows.column("score").equals(whole.column("score"))
    assert rows.column("user_id").to_pylist() == [
        asked.user_ids[row].as_py() for row in whole.column("row").to_pylist()
    ]
    assert rows.column("title").to_pylist() == [
        titles[ids.index(id_)] for id_ in rows.column("item_id").to_pylist()
    ]
    monkeypatch.setattr("models.runs.trained.users_at_once", lambda catalogue: 7)
    blocks = list(model.top_items(asked, 5))
    assert len(blocks) == -(-len(asked) // 7) > 1
    numbers = np.concatenate([best.items for best in blocks])
    assert [ids[number - 1] for number in numbers] == whole.column("item_id").to_pylist()
    assert np.concatenate([best.rows for best in blocks]).tolist() == whole["row"].to_pylist()
    again = recommend(circle_run, k=5)
    assert again.drop_columns("score").equals(rows.drop_columns("score"))
    # Several threads sum the products of blocks of other sizes in another order.
    np.testing.assert_allclose(again["score"], rows["score"], rtol=1e-5)


@pytest.mark.parametrize("option", ["histories", "users", "items"])
def test_the_file_that_is_read_is_not_overwritten(
    circle_run: Path, tmp_path: Path, option: str
) -> None:
    file = tmp_path / "given.csv"
    file.write_text("user_id,item_id\nx,p1\n")
    (tmp_path / "link.csv").symlink_to(file)
    words = ["recommend", str(circle_run), f"--{option}", str(file)]
    for output in (file, tmp_path / "link.csv"):
        with pytest.raises(UserError, match=f"--{option} and --output are both .* choose another"):
            main([*words, "--output", str(output)])
    assert file.read_text() == "user_id,item_id\nx,p1\n"
