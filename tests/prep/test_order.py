"""The order of interactions with equal or missing times: the file's order, and the hashed order."""

import random

import pyarrow as pa
import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.reporting import order
from prep.steps import manifest
from toolkit import UserError
from toolkit.json_files import read_json

USERS, ITEMS = 40, 12


def write(folder, rows, *, timed=True):
    """A dump in MicroLens' form, items by their numbers."""
    folder.mkdir()
    titles = "".join(f"{i},T{i}\n" for i in range(1, ITEMS + 1))
    (folder / "M_titles.csv").write_text("item,title\n" + titles)
    if timed:
        lines = "".join(f"{u},{i},{t}\n" for u, i, t in rows)
        (folder / "M_pairs.csv").write_text("user,item,timestamp\n" + lines)
    else:
        users = {u: [str(i) for v, i, _ in rows if v == u] for u, _, _ in rows}
        lines = "".join(f"{u}\t{' '.join(items)}\n" for u, items in users.items())
        (folder / "M_pairs.tsv").write_text(lines)
    return folder


def log(*, ties, seed=0):
    """Eight different items a user, all at one time or each at its own, by item id."""
    draw = random.Random(seed)
    return [
        (f"u{u}", item, 1_600_000_000_000 + (0 if ties else 977 * draw.randrange(10**9) + u))
        for u in range(USERS)
        for item in sorted(draw.sample(range(1, ITEMS + 1), 8))
    ]


def shuffled(rows, seed=1):
    return random.Random(seed).sample(rows, len(rows))


def built(dump, out, **config):
    prep.ingest(dump, out, PrepConfig(**config))
    return prep.report(out)


def findings(report, kind):
    return [(f["severity"], f["what"]) for f in report["verdict"] if f["kind"] == kind]


def files_of(out):
    return [path.read_bytes() for path in sorted((out / "interactions").iterdir())]


def test_ties_in_a_file_sorted_by_id_are_a_warning(tmp_path):
    report = built(write(tmp_path / "d", log(ties=True)), tmp_path / "out")
    told = report["order"]
    assert (told["pairs"], told["tied"], told["share_tied"]) == (USERS * 7, USERS * 7, 1)
    assert (told["ascending"], told["descending"], told["share_ascending"]) == (USERS * 7, 0, 1)
    ((severity, what),) = findings(report, "simultaneous")
    assert severity == "warning"
    assert what.startswith(
        "100% of users' neighbouring interactions have the same time (280 of 280)"
    )
    assert what.endswith("the order of the file; within them, items ascend in 100% of steps")
    page = (tmp_path / "out/report.html").read_text()
    assert "steps among these in which item ids ascend" in page and "(--ties file)" in page


def test_a_hash_decides_ties_whatever_the_order_of_the_file(tmp_path):
    rows = log(ties=True)
    first = built(write(tmp_path / "a", rows), tmp_path / "o1", ties="hash")
    built(write(tmp_path / "b", shuffled(rows)), tmp_path / "o2", ties="hash")
    assert files_of(tmp_path / "o1") == files_of(tmp_path / "o2")
    ((severity, what),) = findings(first, "simultaneous")
    assert severity == "note" and "the order of a hash" in what
    assert (
        0.35 < first["order"]["share_ascending"] < 0.65
    )  # 280 fair steps: 0.5 ± 0.09 at three sigma
    assert first["order"]["p_value"] > order.CERTAIN
    step = read_json(tmp_path / "o1/dataset.json")["steps"]["ingest"]
    assert step["config"]["ties"] == "hash"
    built(tmp_path / "a", tmp_path / "o3")
    assert files_of(tmp_path / "o1") != files_of(tmp_path / "o3")
    same = [toolkit.open_dataset(tmp_path / o).interactions.to_pylist() for o in ("o1", "o3")]
    assert sorted((r["user_id"], r["item"]) for r in same[0]) == sorted(
        (r["user_id"], r["item"]) for r in same[1]
    )


@pytest.mark.parametrize("ties", ["file", "hash"])
def test_a_shuffled_file_with_times_is_the_same_dataset(tmp_path, ties):
    rows = log(ties=False)
    built(write(tmp_path / "a", sorted(rows, key=lambda row: row[2])), tmp_path / "o1", ties=ties)
    built(write(tmp_path / "b", shuffled(rows)), tmp_path / "o2", ties=ties)
    assert files_of(tmp_path / "o1") == files_of(tmp_path / "o2")
    report = prep.report(tmp_path / "o1")
    assert report["order"]["tied"] == 0 and report["order"]["share_ascending"] is None
    assert not findings(report, "simultaneous") and not findings(report, "no_times")


def test_hashed_tables_without_a_file_of_items_are_the_same_too(tmp_path):
    rows = log(ties=True)
    for name, order_ in {"a": rows, "b": shuffled(rows)}.items():
        (tmp_path / name).mkdir()
        text = "".join(f"{u},{i},{t}\n" for u, i, t in order_)
        (tmp_path / name / "log.csv").write_text("u,i,t\n" + text)
        built(tmp_path / name, tmp_path / f"o{name}", ties="hash", columns="user=u,item=i,time=t")
    assert files_of(tmp_path / "oa") == files_of(tmp_path / "ob")


def test_no_times_at_all_are_told_with_how_ids_ascend(tmp_path):
    report = built(write(tmp_path / "d", log(ties=True), timed=False), tmp_path / "out")
    ((severity, what),) = findings(report, "no_times")
    assert severity == "warning"
    assert what == (
        "No times, so the order within users is that of the file; within users, items ascend in 100% of steps"
    )
    hashed = built(tmp_path / "d", tmp_path / "hashed", ties="hash")
    assert [severity for severity, _ in findings(hashed, "no_times")] == ["note"]


def test_files_that_are_sorted_by_nothing_or_are_small_do_not_warn(tmp_path):
    rows = shuffled(log(ties=True))
    report = built(write(tmp_path / "d", rows), tmp_path / "out")
    assert [severity for severity, _ in findings(report, "simultaneous")] == ["note"]
    small = [("u", item, 5) for item in range(1, 7)]  # five steps up: one time in 16 by chance
    report = built(write(tmp_path / "s", small), tmp_path / "o2")
    assert report["order"]["share_ascending"] == 1
    assert [severity for severity, _ in findings(report, "simultaneous")] == ["note"]


def test_ids_ascend_as_numbers_where_they_are_numbers():
    counted = order.Order(pa.chunked_array([["9", "10", "100"]]))
    import numpy as np

    user, item = np.ones(3, np.int32), np.array([1, 2, 3], np.int32)
    counted.add(user, item, pa.chunked_array([[5, 5, 5]]))
    assert counted.facts(untimed=False)["ascending"] == 2


def test_the_sign_test_against_an_exact_one():
    from math import comb

    for up, down in [(5, 5), (9, 1), (30, 12), (60, 40)]:
        n, far = up + down, max(up, down)
        exact = min(1, 2 * sum(comb(n, k) for k in range(far, n + 1)) / 2**n)
        assert order.sign_test(up, down) == pytest.approx(exact, abs=0.01)


# --- duplicates

TWICE = [("u", 1, 5), ("u", 2, 6), ("u", 1, 5), ("u", 1, 9), ("u", 3, 5), ("u", 1, 5)]


def test_exact_duplicates_are_counted_apart_from_repeats(tmp_path):
    report = built(write(tmp_path / "d", TWICE), tmp_path / "keep")
    repetitions = report["repetitions"]
    assert (repetitions["exact_duplicates"], repetitions["repeats_at_other_times"]) == (2, 1)
    ((_, what),) = findings(report, "identical_interactions")
    assert what == "2 interactions with the user, item and time of an earlier one, all kept"
    assert report["order"]["duplicates"] == "keep"
    assert "exact duplicates are</td><td>kept" in (tmp_path / "keep/report.html").read_text()


def test_exact_duplicates_can_be_dropped(tmp_path):
    report = built(write(tmp_path / "d", TWICE), tmp_path / "drop", duplicates="drop")
    data = toolkit.open_dataset(tmp_path / "drop")
    assert data.interactions.column("item").to_pylist() == [1, 3, 2, 1]
    assert data.manifest["steps"]["ingest"]["config"]["duplicates"] == "drop"
    assert report["repetitions"]["exact_duplicates"] == 0
    ((severity, what),) = findings(report, "dropped_duplicates")
    assert severity == "note"
    assert what.startswith(
        "M_pairs.csv: 2 interactions repeat the user, item and time of an earlier one"
    )
    with pytest.raises(
        UserError, match=r'made with duplicates = "drop", and now duplicates = null'
    ):
        prep.ingest(tmp_path / "d", tmp_path / "drop")


def test_repeats_without_times_are_never_dropped(tmp_path):
    dump = write(tmp_path / "d", TWICE, timed=False)
    built(dump, tmp_path / "out", duplicates="drop")
    assert toolkit.open_dataset(tmp_path / "out").interactions.num_rows == 6


def test_a_dataset_of_before_goes_on(tmp_path):
    dump, out = write(tmp_path / "d", TWICE), tmp_path / "out"
    prep.ingest(dump, out)
    recorded = manifest.require(out)["steps"]["ingest"]["config"]
    assert not {"ties", "duplicates"} & set(recorded)
    prep.ingest(dump, out)  # as a dataset of the version before, it has no such keys


# --- leave-one-out


def test_interactions_later_than_the_test_of_users(tmp_path):
    # ann ends at 5, bob at 15; of all ten interactions 5 are later than ann's last, none than bob's.
    rows = [("ann", t, t) for t in range(1, 6)] + [("bob", t - 10, t) for t in range(11, 16)]
    report = built(write(tmp_path / "d", rows), tmp_path / "out")
    assert report["order"]["share_later_than_test"] == 0.25
    assert not findings(report, "leave_one_out")  # two users
    untimed = built(write(tmp_path / "e", rows, timed=False), tmp_path / "o2")
    assert untimed["order"]["share_later_than_test"] is None


def test_ml_100k(real_data, tmp_path):
    if not (real_data / "ml-100k").is_dir():
        pytest.skip("ml-100k is not at ../shared/data")
    report = built(real_data / "ml-100k", tmp_path / "out")
    assert report["counts"] == {"users": 943, "items": 1_682, "interactions": 100_000}
    assert report["order"]["share_tied"] == pytest.approx(0.510, abs=5e-4)  # counted, shared/data
    assert report["order"]["share_later_than_test"] == pytest.approx(0.414, abs=5e-4)
    assert findings(report, "leave_one_out") and not findings(report, "implausible_time")
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.items.column("title").to_pylist()[:2] == ["Toy Story", "GoldenEye"]
    assert data.splits().interactions > 0
    first = data.interactions.column("timestamp_ms").to_pylist()[0]
    assert first == 874_724_710_000  # the earliest of the file, in milliseconds
