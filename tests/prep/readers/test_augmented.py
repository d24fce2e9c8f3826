"""UniSRec's and MISSRec's public sets: targets with their histories are joined to sequences, exactly."""

import random

import numpy as np
import pytest

import prep
import toolkit
from prep import FeaturesConfig, PrepConfig
from prep.readers import augmented, choose, recbole
from prep.readers.indexes import read_index
from toolkit import UserError

HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
ITEMS, KEPT, WIDTH = 12, 5, 3  # KEPT: histories are cut to this length (50 in the public sets)


def sequences(seed=0, users=9):
    draw = random.Random(seed)
    return {
        str(u): [str(draw.randrange(ITEMS)) for _ in range(draw.randint(3, 12))]
        for u in range(users)
    }


def line(user, items, target):
    return f"{user}\t{' '.join(items[-KEPT:])}\t{target}\n"


def write(folder, users, *, ascending=False, index=True, texts=True):
    """The files of a set: training targets from the last to the second, then validation and test targets."""
    folder.mkdir()
    parts = {"train": "", "valid": "", "test": ""}
    for user, items in users.items():
        stops = range(1, len(items) - 2)
        rows = [line(user, items[:stop], items[stop]) for stop in stops]
        parts["train"] += "".join(rows if ascending else rows[::-1])
        parts["valid"] += line(user, items[:-2], items[-2])
        parts["test"] += line(user, items[:-1], items[-1])
    for name, rows in parts.items():
        (folder / f"Toy.{name}.inter").write_text(HEADER + rows)
    if index:
        order = [*range(ITEMS)][::-1]
        (folder / "Toy.item2index").write_text("".join(f"B{i:03}\t{i}\n" for i in order))
        (folder / "Toy.user2index").write_text("".join(f"A{u}\t{u}\n" for u in users))
    if texts:
        names = [f"B{i:03}" if index else str(i) for i in range(ITEMS)]
        rows = "".join(f"{name}\tText of {name}.\n" for name in names)
        (folder / "Toy.text").write_text("item_id:token\ttext:token_seq\n" + rows)
    np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32).tofile(
        folder / "Toy.feat1CLS"
    )
    return folder


def stored(out):
    data = toolkit.open_dataset(out)
    ids = data.items.column("item_id").to_pylist()
    found = {}
    for row in data.interactions.to_pylist():
        assert row["timestamp_ms"] is None
        found.setdefault(row["user_id"], []).append(ids[row["item"] - 1])
    return found


@pytest.mark.parametrize("ascending", [False, True])
def test_every_sequence_comes_back(tmp_path, ascending):
    users = sequences()
    dump = write(tmp_path / "Toy", users, ascending=ascending)
    assert choose("auto", dump)[0] == choose("recbole", dump)[0] == "recbole"
    prep.ingest(dump, tmp_path / "out")
    assert stored(tmp_path / "out") == {
        f"A{user}": [f"B{int(item):03}" for item in items] for user, items in users.items()
    }
    items = toolkit.open_dataset(tmp_path / "out").items
    assert items.column("item_id").to_pylist() == [f"B{i:03}" for i in range(ITEMS)]  # by index
    assert items.column("title").to_pylist() == [f"Text of B{i:03}." for i in range(ITEMS)]
    (note,) = (
        entry["listed"][0]["message"]
        for entry in prep.report(tmp_path / "out")["failures"]
        if entry["error_class"] == "joined_splits"
    )
    interactions = sum(map(len, users.values()))
    assert note.startswith("Toy.train.inter, Toy.valid.inter, Toy.test.inter: joined in this order")
    assert f"9 users ({interactions} interactions)" in note and "have no times" in note


def test_without_indexes_the_numbers_are_the_ids(tmp_path):
    users = sequences(1)
    prep.ingest(write(tmp_path / "a", users, index=False), tmp_path / "oa")
    assert stored(tmp_path / "oa") == users
    prep.ingest(write(tmp_path / "b", users, index=False, texts=False), tmp_path / "ob")
    assert stored(tmp_path / "ob") == users


def test_texts_may_be_by_index(tmp_path):
    dump = write(tmp_path / "Toy", sequences())
    text = "item_id:token\ttext:token_seq\n" + "".join(f"{i}\tno. {i}\n" for i in range(ITEMS))
    (dump / "Toy.text").write_text(text)
    raw = recbole.read(recbole.find(dump))
    assert raw.items.column("title").to_pylist() == [f"no. {i}" for i in range(ITEMS)]


def test_histories_that_may_be_cut_are_said(tmp_path):
    dump = write(tmp_path / "Toy", {"0": [str(i % ITEMS) for i in range(9)]})
    (dump / "Toy.train.inter").write_text(HEADER)
    raw = recbole.read(recbole.find(dump))
    assert "first histories of 1 user are as long as the longest" in raw.problems[-1].message


def test_an_index_is_sorted_by_its_numbers(tmp_path):
    (tmp_path / "x").write_text("b\t10\na\t2\n")
    assert read_index(tmp_path / "x") == {"2": "a", "10": "b"}
    assert augmented.find_beside(tmp_path / "x") == {}


def change(dump, name, old, new):
    path = dump / f"Toy.{name}"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


SEQUENCE = {"0": ["1", "2", "3", "4", "5"], "1": ["5", "4", "3", "2", "1"]}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("train.inter", "0\t1 2\t3\n", "0\t1 9\t3\n", r"train\.inter:2: the history of user '0'"),
        (
            "valid.inter",
            "0\t1 2 3\t4",
            "0\t1 2\t4",
            r"valid\.inter:2: the history .* ends with 1 2",
        ),
        (
            "test.inter",
            "0\t1 2 3 4\t5",
            "0\t1 2 3 5\t5",
            r"test\.inter:2: .* ends with 2 3 5, .* 2 3 4;",
        ),
        ("train.inter", "1\t5\t4\n", "1\t5\t4\n0\t1\t2\n", r"train\.inter:6: user '0' has earlier"),
        ("item2index", "B005\t5\n", "", r"item2index: 1 of the 5 items .* no line \(e\.g\. '5'\)"),
        ("item2index", "B005\t5\n", "B005\tx\n", r"item2index:7: expected id<TAB>index"),
        ("item2index", "B005\t5\n", "B005\t4\n", r"item2index:8: index 4 or id .* comes twice"),
        ("test.inter", "item_id_list:token_seq", "x:token", r"test\.inter:1: no column \*_list"),
    ],
)
def test_files_that_do_not_agree_are_refused(tmp_path, name, old, new, message):
    dump = write(tmp_path / "Toy", SEQUENCE)
    change(dump, name, old, new)
    with pytest.raises(UserError, match=message):
        prep.ingest(dump, tmp_path / "out")


def test_texts_of_another_set_are_refused(tmp_path):
    dump = write(tmp_path / "Toy", SEQUENCE)
    (dump / "Toy.text").write_text("item_id:token\ttext:token_seq\nZ1\tother\n")
    with pytest.raises(UserError, match=r"Toy\.text: none of its ids \(e\.g\. 'Z1'\)"):
        prep.ingest(dump, tmp_path / "out")


def test_ready_features_are_towers(tmp_path, capsys):
    dump, out = write(tmp_path / "Toy", sequences()), tmp_path / "out"
    features = {"text": FeaturesConfig(str(dump / "Toy.feat1CLS"))}
    prep.build(dump, out, PrepConfig(features=features))
    raw = np.fromfile(dump / "Toy.feat1CLS", np.float32).reshape(ITEMS, WIDTH)
    states = (
        toolkit.open_dataset(out).states("text")[1:, 0].numpy()
    )  # items by index: row r is index r
    np.testing.assert_allclose(states, raw, rtol=2e-3)
    with (dump / "Toy.feat1CLS").open("ab") as file:
        file.write(b"odd")
    with pytest.raises(
        UserError, match=r"147 bytes are no float32 vectors of 12 items \(Toy\.item2"
    ):
        prep.encode(out, PrepConfig(features={"more": features["text"]}))
    (dump / "Toy.item2index").unlink()
    with pytest.raises(UserError, match=r"rows are unknown without Toy\.item2index"):
        prep.encode(out, PrepConfig(features={"more": features["text"]}))
    capsys.readouterr()
    prep.build(write(tmp_path / "Other", sequences()), tmp_path / "o2")
    assert "--features.feat1cls.file" in capsys.readouterr().out
