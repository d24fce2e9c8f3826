"""Numbering, sorting and the k-core of interactions, against slow references."""

from collections import Counter
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.numbering import interactions
from prep.steps.database import batches, create, engine, rows
from toolkit import UserError


def random_log(seed, users=40, items=30, count=400):
    rng = np.random.default_rng(seed)
    popularity = rng.dirichlet(np.full(items, 0.5))
    return [
        (f"u{rng.integers(users)}", f"i{rng.choice(items, p=popularity)}", int(rng.integers(50)))
        for _ in range(count)
    ]


def core(log, k):
    """The k-core, one user or item at a time."""
    while True:
        users, items = (Counter(row[column] for row in log) for column in (0, 1))
        kept = [row for row in log if users[row[0]] >= k and items[row[1]] >= k]
        if len(kept) == len(log):
            return log
        log = kept


def write(folder, log, items=30):
    folder.mkdir()
    titles = "".join(f"i{number},title {number}\n" for number in range(items))
    (folder / "M_titles.csv").write_text("item,title\n" + titles)
    lines = "".join(f"{user},{item},{time}\n" for user, item, time in log)
    (folder / "M_pairs.csv").write_text("user,item,timestamp\n" + lines)
    return folder


def ingested(dump, out, **config):
    prep.ingest(dump, out, PrepConfig(**config))
    return toolkit.open_dataset(out)


def histories(data):
    """Every user's (item id, time) in the order of the dataset."""
    ids = data.items.column("item_id").to_pylist()
    found = {}
    for row in data.interactions.to_pylist():
        found.setdefault(row["user_id"], []).append((ids[row["item"] - 1], row["timestamp_ms"]))
    return found


def expected_histories(log):
    found = {}
    for user, item, time in log:
        found.setdefault(user, []).append((item, time))
    return {user: sorted(rows, key=lambda row: row[1]) for user, rows in found.items()}


@pytest.mark.parametrize("k", [0, 2, 5, 8])
def test_against_a_slow_reference(tmp_path, k):
    log = random_log(seed=k)
    kept = core(log, k)
    assert 0 < len(kept) <= len(log)
    assert (len(kept) < len(log)) == (k > 0)
    data = ingested(write(tmp_path / "d", log), tmp_path / "out", k_core=k)
    expected = expected_histories(kept)
    assert histories(data) == expected
    first = {user: rows[0][1] for user, rows in expected_histories(log).items()}
    assert list(histories(data)) == sorted(expected, key=lambda user: (first[user], user))
    occurring = {row[1] for row in kept} if k else {f"i{number}" for number in range(30)}
    assert data.items.column("item_id").to_pylist() == sorted(
        occurring, key=lambda id_: int(id_[1:])
    )
    told = Counter(data.errors.column("error_class").to_pylist())
    users = len({row[0] for row in log})
    assert told["outside_core"] == (30 - len(occurring)) + (users - len(expected))
    assert prep.check(tmp_path / "out") == []


def test_what_is_outside_of_the_core_is_told(tmp_path):
    log = [(u, i, 1) for u in ("ann", "bob") for i in ("i0", "i1")] + [("cid", "i2", 1)]
    data = ingested(write(tmp_path / "d", log, items=3), tmp_path / "out", k_core=2)
    told = [(row["item_id"], row["message"]) for row in data.errors.to_pylist()]
    assert told[:2] == [
        ("i2", "M_titles.csv: item 'i2' is not in the 2-core; left out"),
        (None, "M_pairs.csv: user 'cid' is not in the 2-core; left out"),
    ]
    assert [message.split(", fewer")[0] for _, message in told[2:]] == [
        f"M_pairs.csv: user {user!r} has 2 interactions with known items" for user in ("ann", "bob")
    ]


def test_another_core_is_refused(tmp_path):
    dump = write(tmp_path / "d", random_log(seed=1))
    ingested(dump, tmp_path / "out", k_core=2)
    with pytest.raises(UserError, match=r"made with k_core = 2, and now k_core = 3 is asked for"):
        ingested(dump, tmp_path / "out", k_core=3)


def test_a_core_without_anything_in_it(tmp_path):
    dump = write(tmp_path / "d", random_log(seed=1))
    with pytest.raises(
        UserError,
        match=r"no users and items remain after the k-core filter \(k_core = 100\); lower k_core",
    ):
        ingested(dump, tmp_path / "out", k_core=100)


def test_shards_of_a_log_and_users_across_them(tmp_path, monkeypatch):
    """A user's positions go on where one batch of the engine, and one shard, ends."""
    monkeypatch.setattr(interactions, "SHARD_ROWS", 50_000)
    rng = np.random.default_rng(0)
    users = np.minimum(rng.integers(0, 400, 300_000), 7)  # one user has nearly all rows
    log = [(f"u{u}", f"i{i}", t) for u, i, t in zip(users, users % 5, range(300_000), strict=True)]
    data = ingested(write(tmp_path / "d", log, items=5), tmp_path / "out")
    assert len(toolkit.store.Table(tmp_path / "out/interactions").shards()) > 1
    assert histories(data) == expected_histories(log)
    position = data.interactions.column("position").to_numpy()
    lengths = [len(rows) for rows in histories(data).values()]
    assert np.array_equal(position, np.concatenate([np.arange(n) for n in lengths]))


def test_a_user_without_items_is_told(tmp_path):
    dump = tmp_path / "d"
    dump.mkdir()
    (dump / "X_items.tsv").write_text("a\tone\n")
    (dump / "X_users.tsv").write_text("u\ta a a a a\nv\t\nu\ta\n")
    data = ingested(dump, tmp_path / "out")
    assert [row["message"] for row in data.errors.to_pylist()] == [
        "X_users.tsv:3: user 'u' has an earlier line; the items of this line follow those",
        "X_users.tsv: user 'v' has 0 interactions with known items, fewer than 5; the splits leave this user out",
    ]
    assert data.manifest["counts"] == {"users": 1, "items": 1, "interactions": 6}


def test_errors_fill_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("prep.ingest"), "ERRORS_SHARD", 3)
    log = [("u", f"gone{number}", number) for number in range(7)]
    known = [("v", "i0", number) for number in range(7)]
    data = ingested(write(tmp_path / "d", [*log, *known], items=1), tmp_path / "out")
    assert len(list((tmp_path / "out/errors").glob("ingest-*.arrow"))) == 3
    assert data.manifest["steps"]["ingest"]["errors"] == {
        "unknown_item": 7,
        "too_few_interactions": 1,
    }
    assert [row["item_id"] for row in data.errors.to_pylist()[:7]] == [row[1] for row in log]


def test_the_engine_keeps_an_errors_type_and_leaves_nothing(tmp_path):
    def broken():
        yield pa.record_batch({"a": [1]})
        raise UserError("log.csv:2: no number")

    with engine(tmp_path / "scratch", memory_gib=0.25) as database:
        create(database, "t", "SELECT * FROM good", good=[pa.record_batch({"a": [1, 2]})])
        with pytest.raises(UserError, match=r"log\.csv:2"):
            create(database, "bad", "SELECT * FROM raw", raw=broken())
        assert list(rows(database, "SELECT sum(a) FROM t")) == [(3,)]
        assert [batch.num_rows for batch in batches(database, "FROM t")] == [2]
    assert not (tmp_path / "scratch").exists()
