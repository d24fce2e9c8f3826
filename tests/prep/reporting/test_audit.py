"""The audit: planted faults are found and nothing else; every figure against a slow count or a hand value."""

import json
import math
from itertools import combinations

import cv2
import numpy as np
import pyarrow as pa
import pytest

import prep
from benchmarks.planted import FAULTS, audit, build, clean, drift, ties_by_id, with_covers
from benchmarks.planted import USERS as PLANTED_USERS
from prep import PrepConfig
from prep.cli import main
from prep.reporting.audit import covers, figures, moments, near, similar, times
from prep.reporting.audit.bots import BURST, Bots, longest_usual
from prep.reporting.audit.cold import SPLITS, Cold
from prep.reporting.audit.drift import drift as drift_of
from prep.reporting.audit.leakage import LastTimes, Later
from prep.reporting.audit.states import is_collapsed
from prep.reporting.chunks import chunk_of, walk, whole_users
from toolkit import open_dataset, quantiles, schema


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: f"{n}-{FAULTS[n].name}")
def test_planted_faults_are_found_and_nothing_else(tmp_path, number):
    fault = FAULTS[number]
    facts = audit(fault, tmp_path)
    assert {finding["kind"] for finding in facts["findings"]} == fault.kinds
    assert facts["verdict"]["fitness"] == fault.fitness
    for finding in facts["findings"]:
        assert finding["what"] and finding["advice"] and finding["effect"], finding["kind"]


def test_every_finding_is_planted_somewhere():
    planted = frozenset().union(*(fault.kinds for fault in FAULTS))
    assert len(planted) >= 18
    assert {fault.fitness for fault in FAULTS} == {"fit", "caution", "unfit"}


# --- the whole audit


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A dataset whose ties follow the ids, and its audit."""
    world = with_covers()
    ties_by_id(world)
    out = build(world, tmp_path_factory.mktemp("tied"))
    return out, prep.audit(out)


def test_the_report_has_the_same_audit(tied):
    out, facts = tied
    report = prep.report(out)
    assert report["audit"] == facts
    kinds = [finding["kind"] for finding in report["verdict"]]
    assert kinds.count("simultaneous") == 1
    assert report["order"]["share_tied"] == facts["ties"]["share"]
    assert report["repetitions"]["exact_duplicates"] == facts["duplicates"]["exact"]
    assert report["order"]["share_later_than_test"] == facts["leakage"]["later_than_own_test"]
    page = (out / "report.html").read_text()
    assert "The dataset is not fit for a paper, because of these findings: simultaneous" in page
    assert facts["findings"][0]["effect"] in page


def test_the_command_says_it_in_words_and_as_json(tied, capsys):
    out, facts = tied
    before = sorted(out.rglob("*"))
    assert main(["audit", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{out}: not fit for a paper: simultaneous\n")
    assert "warning (simultaneous):" in text and "  effect: a model learns the order of ids" in text
    for label, value in figures.figures(facts).items():
        assert label in text and value in text
    assert main(["audit", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dataset": str(out), **facts}
    assert sorted(out.rglob("*")) == before  # nothing is written


def test_figures_that_need_times_are_null_without_them(tmp_path):
    fault = next(fault for fault in FAULTS if fault.name == "no_times")
    facts = audit(fault, tmp_path)
    assert facts["ties"]["share"] is facts["ties"]["ascending"] is None
    assert facts["duplicates"]["exact"] is facts["leakage"]["later_than_own_test"] is None
    for name in ("drift", "new_items"):
        assert set(facts[name].values()) == {None}
    assert facts["times"]["missing"] == 1 and facts["times"]["resolution_seconds"] is None
    assert facts["bots"]["bursts"] is None
    assert facts["cold"]["time"] is None and facts["cold"]["paper"]["targets"] == PLANTED_USERS
    assert "unknown" in figures.figures(facts).values()


def assert_cold_as_in_splits(out, facts):
    data = open_dataset(out)
    assert len(SPLITS) == 6
    for name in SPLITS:
        splits = data.splits(name)
        cold = splits.train_counts[splits.test.targets] == 0
        expected = {"targets": len(cold), "cold": int(cold.sum())}
        assert facts["cold"][name] | expected == facts["cold"][name], name


def test_cold_targets_are_those_of_the_splits(tmp_path):
    fault = next(fault for fault in FAULTS if fault.name == "cold_targets")
    facts = audit(fault, tmp_path)
    assert facts["cold"]["clean"]["cold"] == PLANTED_USERS // 5
    assert_cold_as_in_splits(tmp_path / "dataset", facts)


def test_ml_100k_as_counted(real_data, tmp_path):
    if not (real_data / "ml-100k").is_dir():
        pytest.skip("ml-100k is not at ../shared/data")
    prep.ingest(real_data / "ml-100k", tmp_path / "out", PrepConfig(layout="recbole"))
    facts = prep.audit(tmp_path / "out")
    assert facts["ties"]["share"] == pytest.approx(0.510, abs=5e-4)  # counted, shared/data
    assert facts["leakage"]["later_than_own_test"] == pytest.approx(0.414, abs=5e-4)
    assert facts["verdict"]["fitness"] == "caution"
    assert_cold_as_in_splits(tmp_path / "out", facts)


# --- counters, in one chunk and in many

USERS, ITEMS, DAY = 50, 30, times.DAY_MS


@pytest.fixture(scope="module")
def log():
    """Random interactions in the order of time."""
    draw = np.random.default_rng(5)
    lengths = draw.integers(1, 25, USERS)
    user = np.repeat(np.arange(1, USERS + 1, dtype=np.int32), lengths)
    time = np.concatenate([np.sort(draw.integers(0, 400, length)) for length in lengths])
    return pa.table(
        {
            "user_id": pa.array(user).cast(pa.string()),
            "user": user,
            "item": draw.integers(1, ITEMS + 1, len(user), dtype=np.int32),
            "timestamp_ms": 1_600_000_000_000 + time * 250,
            "position": np.zeros(len(user), np.int32),
        }
    ).cast(schema.INTERACTIONS)


@pytest.fixture(params=[1, 100, 10**6])
def chunks(log, request):
    return [
        chunk_of(table, items=ITEMS)
        for table in whole_users(log.to_batches(max_chunksize=37), request.param)
    ]


def count(counter, chunks):
    for chunk in chunks:
        counter.add(chunk)
    return counter


def test_interactions_later_than_the_test(log, chunks):
    frame = log.to_pandas()
    tests = frame.groupby("user").timestamp_ms.agg(["max", "size"])
    tests = tests["max"][tests["size"] >= 5]
    expected = np.mean([(frame.timestamp_ms > test).mean() for test in tests])
    ascending = count(LastTimes(), chunks).ascending()
    assert ascending.tolist() == sorted(tests)
    assert count(Later(ascending), chunks).share() == pytest.approx(expected, abs=1e-6)


def test_cold_targets_of_a_split(log, chunks):
    frame = log.to_pandas()
    kept = frame[frame.groupby("user").item.transform("size") >= 5].groupby("user")
    trained = {item for _, rows in kept for item in rows.item[:-2][-11:]}
    targets = [rows.item.iloc[-1] for _, rows in kept]
    facts = count(Cold(ITEMS, SPLITS["paper"].cut), chunks).facts()
    assert facts["targets"] == len(targets)
    assert facts["cold"] == sum(item not in trained for item in targets)


def test_users_with_one_interaction_before_the_cut_are_not_trained_on():
    """Item 7 occurs before the validation cut once, for a user without a training sequence."""
    rows = [(1, 7, 0), (1, 2, 50), (1, 3, 51), (1, 4, 52), (1, 5, 90)]
    rows += [(2, 1, 1), (2, 2, 2), (2, 3, 3), (2, 4, 4), (2, 7, 91)]
    user, item, time = np.array(rows).T
    table = pa.table(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "timestamp_ms": time,
        }
    )
    split = SPLITS["time"]
    cold = Cold(
        7, lambda histories, length: split.cut_at(histories, length, valid_at=20, test_at=80)
    )
    cold.add(chunk_of(table, items=7))
    assert cold.facts() == {"targets": 2, "cold": 2, "share": 1}


def test_bursts_and_the_clock(log, chunks):
    seconds = log.to_pandas().assign(second=lambda f: f.timestamp_ms // 1000)
    most = seconds.groupby(["user", "second"]).size().max()
    facts = count(Bots(), chunks).facts(0.25)
    assert facts["most_in_a_second"] == most < BURST
    clock = count(times.Clock(), chunks)
    stamps = {"share_null": 0, "first": "", "last": "", "first_ms": 0, "last_ms": 1}
    assert clock.facts(stamps | {"implausible": 0})["resolution_seconds"] == 0.25


def test_quantiles_of_times_are_exact(tied, monkeypatch):
    monkeypatch.setattr(quantiles, "BUCKETS", 50)  # several passes
    data = open_dataset(tied[0])
    stamps = np.sort(data.interactions.column("timestamp_ms").to_numpy())
    coarse = quantiles.Histogram(int(stamps[0]), int(stamps[-1]) + 1)
    walk(data, [moments.Times(coarse)])
    indices = [0, 17, len(stamps) // 2, len(stamps) - 1]
    expected = [(int(stamps[i]), int((stamps < stamps[i]).sum())) for i in indices]
    for counted in (coarse, None):
        found = quantiles.kth_smallest(lambda: moments.all_times(data), *indices, coarse=counted)
        assert found == expected


# --- formulas


def test_some_missing_times_leave_the_whole_log_without_order():
    figures = dict.fromkeys(
        ("implausible", "all_equal", "resolution_seconds", "at_midnight", "apart")
    )
    (finding,) = times.find_times({"interactions": 9, "times": figures | {"missing": 0.05}})
    assert (finding.kind, finding.fitness) == ("some_times_missing", "caution")
    assert finding.what.startswith("5.0% of the interactions have no timestamp")
    for share in (0, 1):
        assert not list(
            times.find_times({"interactions": 9, "times": figures | {"missing": share}})
        )


def test_drift_by_hand():
    facts = drift_of(np.array([3, 1, 0]), np.array([0, 1, 3]))
    assert facts["total_variation"] == 0.75 and facts["rank_correlation"] == -1
    pooled = np.array([3, 2, 3]) / 8
    noise = np.sqrt(2 / np.pi * pooled * (1 - pooled) * (1 / 4 + 1 / 4))
    assert facts["by_chance"] == pytest.approx(np.minimum(noise, 2 * pooled).sum() / 2, abs=1e-6)
    assert drift_of(np.array([3]), np.array([0]))["total_variation"] is None


def test_samples_of_one_popularity_differ_as_by_chance():
    draw = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 301)
    for size in (300, 3000):
        pair = (draw.multinomial(size, popularity / popularity.sum()) for _ in range(2))
        facts = drift_of(*pair)
        assert facts["total_variation"] == pytest.approx(facts["by_chance"], abs=0.05)


def test_the_longest_usual_length_by_hand():
    lengths = np.zeros(1001, np.int64)
    lengths[[4, 8, 16, 1000]] = 10, 20, 10, 1  # median 8, median of |log(x / 8)| log 2
    assert longest_usual(lengths) == int(8 * math.exp(3.5 * math.log(2) / 0.6745)) == 291
    lengths[8] = 22  # median of |log(x / 8)| 0, so its mean counts
    far = (20 * math.log(2) + math.log(125)) / 43
    assert longest_usual(lengths) == max(int(8 * math.exp(3.5 * 1.2533 * far)), 80) == 80
    assert longest_usual(np.bincount([5, 5, 5])) == 5
    assert longest_usual(np.zeros(1, np.int64)) == 0


def test_days_apart_from_the_rest():
    days = np.zeros(3000, np.int64)
    days[1000:1100] = 10
    days[1400] = 2  # within a year of the body
    days[[5, 2500]] = 1
    assert np.flatnonzero(times.apart(days)).tolist() == [5, 2500]
    assert not times.apart(np.zeros(10, np.int64)).any()


def test_titles_are_equal_but_for_case_and_punctuation():
    titles = pa.array(["Ärger im Büro (2)", "ärger, im büro 2!", "", " ", "…", "two", "Two."])
    items = pa.table({"item_id": [str(i) for i in range(7)], "title": titles})
    facts = near.near_titles(items)
    assert (facts["compared"], facts["groups"], facts["items"]) == (4, 2, 4)
    assert [group["item_ids"] for group in facts["listed"]] == [["0", "1"], ["5", "6"]]


def test_the_banded_lookup_finds_every_near_pair():
    draw = np.random.default_rng(2)
    codes = draw.integers(0, 1 << 63, 300, dtype=np.uint64)
    for row in range(0, 100, 2):  # flips at most NEAR bits of a neighbour
        bits = draw.choice(64, draw.integers(0, covers.NEAR + 3), replace=False)
        codes[row + 1] = codes[row] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))
    found = set()

    def is_near(left, right):
        close = covers._bits(codes, left, right) <= covers.NEAR
        found.update(
            frozenset(pair)
            for pair in zip(left[close].tolist(), right[close].tolist(), strict=True)
        )
        return close

    groups = similar.similar_groups(covers._bands(codes), is_near, flips=covers.FLIPS)
    near_pairs = {
        frozenset(pair)
        for pair in combinations(range(300), 2)
        if int(codes[pair[0]] ^ codes[pair[1]]).bit_count() <= covers.NEAR
    }
    assert found == near_pairs and len(near_pairs) > 20 and groups.complete
    labels = groups.labels
    assert all(labels[a] == labels[b] for a, b in map(sorted, near_pairs))


def test_equal_items_are_one_group_in_linear_work():
    keys = np.zeros((1000, 1), np.uint64)
    compared = []

    def is_near(left, right):
        compared.append(len(left))
        return np.ones(len(left), bool)

    groups = similar.similar_groups(keys, is_near)
    assert len(set(groups.labels)) == 1 and not groups.complete
    assert sum(compared) <= 1000 * similar.WINDOW


def jpeg(picture, quality=90):
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def test_perceptual_hashes_of_the_same_and_of_other_pictures():
    draw = np.random.default_rng(3)
    pictures = [
        cv2.resize(p, (200, 160), interpolation=cv2.INTER_CUBIC)
        for p in draw.integers(0, 256, (20, 6, 8, 3)).astype(np.uint8)
    ]

    def bits(left, right):
        return (covers.perceptual_hash(left) ^ covers.perceptual_hash(right)).bit_count()

    for picture in pictures:
        smaller = cv2.resize(picture, (150, 120), interpolation=cv2.INTER_AREA)
        assert bits(jpeg(picture), jpeg(picture, 40)) <= covers.NEAR
        assert bits(jpeg(picture), jpeg(smaller)) <= covers.NEAR
    assert min(bits(jpeg(a), jpeg(b)) for a, b in combinations(pictures, 2)) > 2 * covers.NEAR
    assert covers.perceptual_hash(jpeg(np.full((90, 90, 3), 200, np.uint8))) is None
    assert covers.perceptual_hash(b"no picture") is None


def test_collapsed_states():
    draw = np.random.default_rng(0)
    assert is_collapsed(1 + draw.normal(0, 1e-3, (50, 8)).astype(np.float32))
    assert not is_collapsed(draw.normal(0, 1, (50, 8)).astype(np.float32))


def test_without_drift_there_is_no_finding_and_with_it_there_is(tmp_path):
    """The control: the same interactions with their times shuffled."""
    world = clean()
    drift(world)
    world.log["time"] = world.draw.permutation(world.log.time)
    kinds = {f["kind"] for f in prep.audit(build(world, tmp_path))["findings"]}
    assert "popularity_drift" not in kinds
