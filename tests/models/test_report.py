"""The report of runs: its facts against slow counts, its contents, and what it refuses."""

import json
import math
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from reported_runs import (
    BROKEN_COVER,
    COLD,
    EVIL,
    EVIL_NAME,
    jpeg,
)

import models
from models.cli import main
from models.compare import compare
from models.config import parse_run_config
from models.evaluate import evaluate
from models.report import report
from models.reporting import curves
from models.reporting.buckets import BUCKETS, describe_bias, describe_warmth
from models.reporting.covers import LONGEST_PX, shrink, small_covers
from models.reporting.findings import find
from models.runs.files import read_ranks
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.images import decode_jpeg
from toolkit.json_files import read_json, write_json
from toolkit.store import Table, read_file, write_table


@pytest.fixture(scope="module")
def page(reported: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    output = tmp_path_factory.mktemp("page") / "report.html"
    facts = report(reported, output=output, users=6, progress=False)
    return facts, output.read_text(encoding="utf-8")


@pytest.fixture
def copied(reported: list[Path], tmp_path: Path) -> list[Path]:
    """The runs, to be changed; their dataset is shared."""
    return [Path(shutil.copytree(run, tmp_path / "runs" / run.name)) for run in reported]


class Tags(HTMLParser):
    """Which tags are open, and all text outside of scripts and styles."""

    VOID = ("meta", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.ids += [value or "" for name, value in attrs if name == "id"]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def history_before_target(run: models.TrainedRecommender, user: str) -> list[str]:
    """Item ids of a user's whole history but its end, read off the table of interactions."""
    rows = run.dataset.interactions.to_pylist()
    return [run.dataset.item_ids.id(row["item"]) for row in rows if row["user_id"] == user][:-1]


def test_warmth_is_that_of_a_plain_count(reported: list[Path], page: tuple[dict, str]) -> None:
    trained = models.load(reported[1])
    ranks = read_file(reported[1] / "ranks" / "test.arrow").to_pylist()
    train = trained.splits.train.tolist()
    seen = {
        row["user_id"]: sum(
            trained.dataset.item_ids.id(item) == row["item_id"]
            for one in train
            for item in one
            if item
        )
        for row in ranks
    }
    found = page[0]["runs"][1]["warmth"]
    assert sum(bucket["users"] for bucket in found) == len(ranks)
    assert found[0] | {"first": 0, "last": 0, "users": len(COLD)} == found[0]
    for bucket in found:
        last = bucket["last"] if bucket["last"] is not None else math.inf
        theirs = [r["rank"] for r in ranks if bucket["first"] <= seen[r["user_id"]] <= last]
        gains = [1 / math.log2(rank + 1) if rank <= 10 else 0 for rank in theirs]
        assert bucket["users"] == len(theirs)
        assert bucket["metrics"]["HR@10"]["value"] == pytest.approx(np.mean([g > 0 for g in gains]))
        assert bucket["metrics"]["NDCG@10"]["value"] == pytest.approx(np.mean(gains))


def test_what_is_recommended_leaves_out_the_whole_history(
    reported: list[Path], page: tuple[dict, str]
) -> None:
    facts, _ = page
    group = facts["groups"][0]
    numbers = group["gallery"]["items"]
    for place, path in enumerate(reported):
        trained = models.load(path)
        for user in group["gallery"]["users"]:
            history = history_before_target(trained, user["user_id"])
            best = trained.recommend([history], k=10).column("item_id").to_pylist()
            assert [numbers[str(n)]["item_id"] for n in user["lists"][str(place)]] == best
            assert [numbers[str(n)]["item_id"] for n in user["history"]] == history[-10:]
            assert user["history_length"] == len(history)


def test_bias_is_that_of_a_plain_count() -> None:
    # Items 1..4; training saw them 0, 2, 6 and 12 times; item 4 is not in the catalogue.
    counts, catalogue = np.array([0, 0, 2, 6, 12]), np.array([1, 2, 3], np.int32)
    lists = np.array([[2, 3], [2, 0], [1, 2]], np.int32)
    targets = np.array([3, 3, 1], np.int32)
    found = describe_bias(lists, targets, catalogue, counts)
    assert found["recommended"] == {
        "items": 3,
        "coverage": 1.0,
        "gini": pytest.approx(2 * (1 * 1 + 2 * 1 + 3 * 3) / (3 * 5) - 4 / 3, abs=1e-6),
        "mean_popularity": (3 * 2 + 6 + 0) / 5,
        "median_popularity": 2.0,
    }
    taken = {"items": 2, "coverage": 2 / 3, "mean_popularity": 12 / 3, "median_popularity": 6.0}
    assert found["taken"] | taken == found["taken"]
    assert [
        (b["first"], b["catalogue"], b["recommended"], b["taken"]) for b in found["buckets"]
    ] == [
        (0, 1 / 3, 1 / 5, 1 / 3),
        (1, 1 / 3, 3 / 5, 0.0),
        (5, 1 / 3, 1 / 5, 2 / 3),
    ]


def test_every_count_is_in_one_bucket() -> None:
    counts = np.arange(1000)
    assert (sum(bucket.holds(counts).astype(int) for bucket in BUCKETS) == 1).all()
    ranks, targets = np.ones(2), np.array([1, 2], np.int32)
    found = describe_warmth(ranks, targets, np.array([0, 0, 100]))
    assert [(b["first"], b["last"], b["users"]) for b in found] == [(0, 0, 1), (100, None, 1)]


def test_lists_of_all_users_are_counted(reported: list[Path], page: tuple[dict, str]) -> None:
    trained = models.load(reported[0])
    users = trained.splits.user_ids
    lists = [
        trained.recommend([history_before_target(trained, user)], k=10)
        .column("item_id")
        .to_pylist()
        for user in users
    ]
    found = page[0]["runs"][0]["bias"]["recommended"]
    assert found["items"] == len({item for items_ in lists for item in items_})
    seen = trained.splits.train_counts
    popular = [seen[trained.dataset.item_ids.number(i)] for items_ in lists for i in items_]
    assert found["mean_popularity"] == pytest.approx(np.mean(popular))


def test_gates_are_those_of_the_model_with_their_layers(
    reported: list[Path], page: tuple[dict, str]
) -> None:
    ids, text, both = (run["gates"] for run in page[0]["runs"])
    assert ids["towers"] == {} and "no gates" in ids["why_not"] and ids["inter"] is None
    network = models.load(reported[2]).model.item_encoder
    real = network.gates()
    assert both["why_not"] is None and both["inter"]["towers"] == ["title", "cover"]
    assert torch.equal(torch.tensor(both["inter"]["weights"]), real["inter"])
    assert torch.equal(torch.tensor(both["towers"]["cover"]["gates"]), real["cover"])
    # kept 0,2,4,6 are the embedding output and layers 1, 3, 5; nobody says what the covers' are
    assert text["towers"]["title"]["layers"] == ["emb.", "1", "3", "5"] and text["inter"] is None
    assert both["towers"]["cover"]["layers"] == ["#1", "#2", "#3"]
    assert both["inter"]["layers"] == ["1/#1", "3/#2", "5/#3"]  # aligned from the top


def test_a_run_without_gates_says_why(reported: list[Path], tmp_path: Path) -> None:
    data = str(models.load(reported[0]).dataset.path)
    words = ["--config", "text-only", "--data", data, "--output", str(tmp_path / "sum")]
    train(parse_run_config([*words, "--train.epochs", "1", "--side.mixing", "sum"]))
    facts = report([tmp_path / "sum"], output=tmp_path / "page.html", users=1, progress=False)
    assert "side.mixing: sum" in facts["runs"][0]["gates"]["why_not"]
    assert "side.mixing: sum" in (tmp_path / "page.html").read_text()


def test_curves_are_read_off_the_log(tmp_path: Path) -> None:
    def entry(epoch: int, value: float, seconds: float) -> dict[str, Any]:
        valid = {"HR@10": value, "NDCG@10": value / 2}
        return {"step": 2 * epoch, "epoch": epoch, "valid": valid, "train_seconds": seconds}

    lines = [
        {"step": 1, "loss": 5.0},
        {"step": 2, "loss": 3.0},
        entry(1, 0.2, 9.0),
        entry(2, 0.4, 1.0),
    ]
    lines += [entry(3, 0.1, 2.0), {"best_epoch": 2}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"half a li'
    (tmp_path / "log.jsonl").write_text(text)
    found = curves.describe_curves(tmp_path)
    assert found["loss"] == [[1.0, 5.0], [2.0, 3.0]] and found["loss_lines"] == 1
    assert found["valid"]["NDCG@10"] == [[1, 0.1], [2, 0.2], [3, 0.05]]
    assert (found["best_epoch"], found["epoch_seconds"]) == (2, 2.0)
    (tmp_path / "log.jsonl").write_text("{}\nnonsense\n{}\n")
    with pytest.raises(UserError, match=r"log\.jsonl: line 2 is no JSON"):
        curves.describe_curves(tmp_path)


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    steps = range(1, 3 * curves.POINTS + 1)
    lines = "".join(json.dumps({"step": step, "loss": float(step)}) + "\n" for step in steps)
    (tmp_path / "log.jsonl").write_text(lines)
    found = curves.describe_curves(tmp_path)
    assert found["loss_lines"] == 3 and len(found["loss"]) == curves.POINTS
    assert found["loss"][0] == [2.0, 2.0] and found["loss"][-1] == [3 * curves.POINTS - 1] * 2
    assert found["best_epoch"] is None and found["epoch_seconds"] is None


def test_a_run_without_a_log_is_shown(copied: list[Path], tmp_path: Path) -> None:
    (copied[0] / "log.jsonl").unlink()
    facts = report(copied[:1], output=tmp_path / "page.html", users=1, progress=False)
    assert facts["runs"][0]["curves"]["loss"] == []
    assert "no log.jsonl" in (tmp_path / "page.html").read_text()


def test_each_run_is_read_once(
    reported: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interactions, ranks = [], []
    batches = Table.batches

    def counted(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if table.folder.name == "interactions":
            interactions.append(columns)
        return batches(table, columns)

    monkeypatch.setattr(Table, "batches", counted)
    monkeypatch.setattr(
        "models.results.evaluations.read_ranks", lambda path: ranks.append(path) or read_ranks(path)
    )
    report(reported, output=tmp_path / "report.html", users=1, progress=False)
    # The identity of the data, the run's own split and the whole histories share one pass.
    assert len(interactions) == len(reported)
    assert len(ranks) == len(set(ranks)) == len(reported)


def test_tests_between_runs_are_those_of_compare(
    reported: list[Path], page: tuple[dict, str]
) -> None:
    (group,) = page[0]["groups"]
    assert group["runs"] == [0, 1, 2] and group["reason"] is None
    for row, test in zip(compare(reported).rows, group["tests"], strict=True):
        for name, found in row.against_first.items():
            assert test[name]["difference"] == found.difference
            assert test[name]["corrected_p_value"] == row.corrected[name]


def test_users_are_spread_over_the_ranks_of_the_first_run(
    reported: list[Path], page: tuple[dict, str]
) -> None:
    table = read_file(reported[0] / "ranks" / "test.arrow")
    ranks = dict(zip(table["user_id"].to_pylist(), table["rank"].to_pylist(), strict=True))
    users = page[0]["groups"][0]["gallery"]["users"]
    mine = [user["ranks"]["0"] for user in users]
    assert [ranks[user["user_id"]] for user in users] == mine == sorted(mine) and len(users) == 6
    edges = np.quantile(list(ranks.values()), np.arange(7) / 6)
    assert all(low <= rank <= high for low, rank, high in zip(edges, mine, edges[1:], strict=False))


def test_no_user_and_more_users_than_there_are(reported: list[Path], tmp_path: Path) -> None:
    none = report(reported[:1], output=tmp_path / "page.html", users=0, progress=False)
    assert none["groups"][0]["gallery"] == {"users": [], "items": {}}
    assert "No users were requested" in (tmp_path / "page.html").read_text()
    every = report(reported[:1], output=tmp_path / "page.html", users=10_000, progress=False)
    assert len(every["groups"][0]["gallery"]["users"]) == every["runs"][0]["users"]


def test_the_page_is_well_formed_and_escapes_what_comes_from_data(page: tuple[dict, str]) -> None:
    text = page[1]
    tags = read(text)
    assert tags.scripts == 1 and len(set(tags.ids)) == len(tags.ids)
    assert EVIL in tags.text and EVIL_NAME in tags.text
    assert "window.evil = 2" in tags.text and "<img src=x" not in text
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "default-src 'none'" in text


def test_each_cover_stands_in_the_page_once(page: tuple[dict, str]) -> None:
    facts, text = page
    shown = facts["groups"][0]["gallery"]["items"]
    with_cover = [number for number in shown if int(number) < BROKEN_COVER]
    assert text.count("data:image/jpeg") == len(with_cover) > 5
    assert all(text.count(f".c0-{number} {{") == 1 for number in with_cover)
    bare = set(shown) - set(with_cover)
    assert bare and not any(f"c0-{number}" in text for number in bare)


def test_covers_are_made_small() -> None:
    small = shrink(jpeg(90, width=300, height=200))
    assert small is not None
    assert decode_jpeg(small).shape == (round(200 * LONGEST_PX / 300), LONGEST_PX, 3)
    assert abs(int(decode_jpeg(small).mean()) - 90) <= 2
    tiny = shrink(jpeg(90, width=20, height=1))
    assert tiny is not None and decode_jpeg(tiny).shape == (1, 20, 3)
    assert shrink(b"nothing") is None
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # of OpenCV's blue, green, red
    again = shrink(cv2.imencode(".jpg", red)[1].tobytes())
    assert again is not None and decode_jpeg(again)[0, 0].tolist() == pytest.approx(
        [254, 0, 0], abs=3
    )


def test_a_dataset_without_covers_and_captions_is_shown(dataset: Path, tmp_path: Path) -> None:
    assert small_covers(open_dataset(dataset), [1, 2]) == {}
    words = ["--config", "id", "--data", str(dataset), "--output", str(tmp_path / "run")]
    train(parse_run_config([*words, "--train.epochs", "1"]))
    report([tmp_path / "run"], output=tmp_path / "page.html", users=3, progress=False)
    text = (tmp_path / "page.html").read_text()
    assert "data:image" not in text and read(text).text.count("User u") == 3


def test_incomparable_runs_stand_apart_with_the_reason(copied: list[Path], tmp_path: Path) -> None:
    config = copied[1] / "config.yaml"
    config.write_text(config.read_text().replace("protocol: paper", "protocol: clean"))
    evaluate(copied[1], progress=False)
    facts = report(copied, output=tmp_path / "page.html", users=2, progress=False)
    assert [group["runs"] for group in facts["groups"]] == [[0, 2], [1]]
    assert (
        "not comparable: they differ in protocol (paper and clean)" in facts["groups"][1]["reason"]
    )
    text = read((tmp_path / "page.html").read_text()).text
    assert "are not comparable: they differ in protocol" in text
    # asked for one protocol, they are together again
    for run in (copied[0], copied[2]):
        evaluate(run, protocol="clean", progress=False)
    facts = report(copied, output=tmp_path / "page.html", users=2, protocol="clean", progress=False)
    assert [group["runs"] for group in facts["groups"]] == [[0, 1, 2]]
    assert {run["protocol"] for run in facts["runs"]} == {"clean"}


def test_the_other_split_can_be_shown(copied: list[Path], tmp_path: Path) -> None:
    facts = report(copied[:1], output=tmp_path / "p.html", split="valid", users=4, progress=False)
    trained = models.load(copied[0])
    for user in facts["groups"][0]["gallery"]["users"]:
        assert user["history_length"] == len(history_before_target(trained, user["user_id"])) - 1


def test_a_run_that_was_not_evaluated_says_how(copied: list[Path], tmp_path: Path) -> None:
    (copied[1] / "metrics" / "valid.json").unlink()
    with pytest.raises(
        UserError, match=r"not evaluated on valid yet; run: python -m models evaluate"
    ):
        report(copied, output=tmp_path / "page.html", split="valid", progress=False)
    with pytest.raises(UserError, match=r"under clean yet; run: .*--split test --protocol clean"):
        report(copied, output=tmp_path / "page.html", protocol="clean", progress=False)
    assert not (tmp_path / "page.html").exists()


def test_ranks_of_other_users_are_refused(copied: list[Path], tmp_path: Path) -> None:
    path = copied[0] / "ranks" / "test.arrow"
    table = read_file(path)
    write_table(path, table.take(list(range(table.num_rows))[::-1]), compression="zstd")
    with pytest.raises(UserError, match=r"other users or targets .*evaluate .* --split test"):
        report(copied[:1], output=tmp_path / "page.html", progress=False)


def test_other_interactions_are_refused(copied: list[Path], tmp_path: Path) -> None:
    about = read_json(copied[0] / "environment.json")
    about["dataset"]["interactions_sha256"] = "another"
    write_json(copied[0] / "environment.json", about)
    with pytest.raises(UserError, match="trained on other interactions"):
        report(copied[:1], output=tmp_path / "page.html", progress=False)


def test_what_cannot_be_made_sure_of_is_said(copied: list[Path], tmp_path: Path) -> None:
    about = read_json(copied[0] / "environment.json")
    del about["dataset"]["interactions_sha256"]  # as an older Versa left it
    write_json(copied[0] / "environment.json", about)
    facts = report(copied, output=tmp_path / "page.html", users=1, progress=False)
    (told,) = facts["groups"][0]["notes"]
    assert told.startswith("Not verified: whether all runs were trained on the same interactions")
    assert told in read((tmp_path / "page.html").read_text()).text


def test_useless_requests_are_refused(reported: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is given twice"):
        report([reported[0], reported[0]], output=tmp_path / "page.html")
    with pytest.raises(UserError, match="no run given"):
        report([], output=tmp_path / "page.html")
    with pytest.raises(UserError, match="--users -1: cannot be negative"):
        report(reported, output=tmp_path / "page.html", users=-1)
    with pytest.raises(UserError, match="is a folder; give a file name"):
        report(reported, output=tmp_path)
    with pytest.raises(
        UserError, match=r"nothing: not a run folder, because it has no config\.yaml"
    ):
        report([tmp_path / "nothing"], output=tmp_path / "page.html")


def write_costs(path: Path, runs_: list[Path], *, memory: int | None = 2**20) -> Path:
    methods = [
        {
            "method": f"{run} (stored)",
            "run": str(run),
            "device": "cpu",
            "batch_size": 64,
            "seconds_per_epoch": 1.5 + place,
            "trainable_parameters": 1000 * (place + 1),
            "peak_memory_bytes": memory,
            "memory": "of <b>something</b>",
            "tpme": None if memory is None else place / 2,
        }
        for place, run in enumerate(runs_)
    ]
    write_json(path, {"methods": methods})
    return path


def test_costs_are_shown_with_the_runs_they_are_of(reported: list[Path], tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "page.html", Path("elsewhere")
    costs = write_costs(tmp_path / "costs.json", [reported[2], elsewhere, reported[0]])
    facts = report(reported[::2], output=output, costs=costs, users=1, progress=False)
    assert [method["place"] for method in facts["costs"]] == [1, None, 0]
    text = output.read_text()
    assert "NDCG@10 by TPME" in text and "2,000" in text and "of &lt;b&gt;something" in text
    assert "models efficiency" not in text
    names = [text.count(f">{name} (stored)</text>") for name in ("id", "both")]
    assert names == [0, 0]  # each run was measured once: its name is enough
    twice = read_json(write_costs(costs, [reported[2], reported[2]]))
    twice["methods"][1]["method"] = f"{reported[2]} (live)"
    write_json(costs, twice)
    report(reported[::2], output=output, costs=costs, users=1, progress=False)
    assert (
        ">both (stored)</text>" in output.read_text()
        and ">both (live)</text>" in output.read_text()
    )
    write_costs(costs, [reported[0]], memory=None)
    report(reported[:1], output=output, costs=costs, users=1, progress=False)
    assert "by TPME" not in output.read_text() and "by seconds per epoch" in output.read_text()


def test_costs_of_other_runs_and_other_files_are_refused(
    reported: list[Path], tmp_path: Path
) -> None:
    costs = write_costs(tmp_path / "costs.json", [Path("elsewhere")])
    with pytest.raises(UserError, match="contains none of these runs, only elsewhere"):
        report(reported, output=tmp_path / "page.html", costs=costs)
    for wrong in ({"methods": []}, {"methods": [{"run": "x"}]}, [1]):
        write_json(costs, wrong)
        with pytest.raises(
            UserError, match="not a file of costs; write one with python -m models efficiency"
        ):
            report(reported, output=tmp_path / "page.html", costs=costs)


def test_without_costs_the_page_says_how_to_measure_them(
    reported: list[Path], page: tuple[dict, str]
) -> None:
    text = read(page[1]).text
    assert f"python -m models efficiency {reported[0]}" in text
    parameters = sum(p.numel() for p in models.load(reported[2]).model.parameters())
    assert page[0]["runs"][2]["trainable_parameters"] == parameters and f"{parameters:,}" in text


def test_settings_that_differ_are_told_apart(page: tuple[dict, str]) -> None:
    found = page[0]["runs"][1]["settings"]
    assert found["towers"] == ["title"] and found["train.epochs"] == 2
    assert not {"data", "output", "resume"} & set(found)


def test_findings_say_what_the_facts_say(page: tuple[dict, str]) -> None:
    facts = json.loads(json.dumps(page[0]))
    group, all_runs = facts["groups"][0], facts["runs"]
    for run, value in zip(all_runs, (0.1, 0.3, 0.2), strict=True):
        run["metrics"]["NDCG@10"] = {"value": value, "low": value - 0.05, "high": value + 0.05}
    group["tests"][1]["NDCG@10"] |= {"difference": 0.2, "low": 0.1, "high": 0.3}
    for p_value, verdict in (
        (0.0004, "the first run: significant (p below"),
        (0.2, "the first run: not significant (p"),
    ):
        group["tests"][1]["NDCG@10"]["corrected_p_value"] = p_value
        best, against, *_ = find(facts)
        assert best.startswith(f"{EVIL_NAME} is the best of 3 runs: NDCG@10 30.0 % [25.0, 35.0]")
        assert "NDCG@10 differs by +20.0 points [+10.0, +30.0] from id, " in against
        assert verdict in against
    all_runs[0]["metrics"]["NDCG@10"]["value"] = 0.5
    group["tests"][2]["NDCG@10"]["corrected_p_value"] = 0.2
    assert (
        "id, the first run, is ahead of all others; the difference is significant for 0 of 2."
        in find(facts)[1]
    )
    # three users are too few
    assert not any("no training interactions" in sentence for sentence in find(facts))
    all_runs[2]["warmth"][0]["metrics"]["HR@10"]["value"] = 0.5
    for run in all_runs:
        run["warmth"][0]["users"] = 40
    assert not any("favours popular" in sentence for sentence in find(facts))
    all_runs[1]["bias"]["recommended"]["mean_popularity"] = 100.0
    assert any(
        f"{EVIL_NAME} favours popular items: its recommended items have 100.0 training" in s
        for s in find(facts)
    )
    assert any(
        "For 40 users, the target has no training interactions; both, the best run for them," in s
        for s in find(facts)
    )
    for run in all_runs:
        run["warmth"][0]["metrics"]["HR@10"]["value"] = 0.0
    assert any("no training interactions; no run ranks it in the top 10." in s for s in find(facts))


def test_the_command_writes_the_page_and_answers(
    reported: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    words = ["report", str(reported[0]), "--output", str(output), "--users", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("id reaches NDCG@10") and said[-1] == str(output)
    assert read(output.read_text()).scripts == 1
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["runs"][0]["metrics"] == read_json(reported[0] / "metrics" / "test.json")["metrics"]
    )


def test_the_page_does_not_overwrite_the_costs(reported: list[Path], tmp_path: Path) -> None:
    costs = write_costs(tmp_path / "costs.json", [reported[0]])
    before = costs.read_bytes()
    with pytest.raises(UserError, match="--costs and --output are both"):
        report(reported[:1], output=costs, costs=costs, progress=False)
    assert costs.read_bytes() == before
