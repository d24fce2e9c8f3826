"""Metrics beyond accuracy in the files of a run, and wherever a report is shown."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from models.compare import compare
from models.config import parse_run_config
from models.evaluate import evaluate, format_report
from models.inputs.content import open_content
from models.ranking.ranks import rank_and_list
from models.report import report as write_report
from models.runs.card import write_card
from models.runs.files import read_report
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json, write_json

NAMES = ["coverage@10", "popularity@10", "novelty@10", "serendipity@10", "diversity@10"]


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An ID model that has hardly learned, and the items by popularity."""
    folder = tmp_path_factory.mktemp("beyond")
    for name, more in {"id": ["--train.epochs=1"], "popularity": []}.items():
        words = [f"--config={name}", f"--data={dataset}", f"--output={folder / name}", *more]
        train(parse_run_config(words))
    return {name: folder / name for name in ("id", "popularity")}


@pytest.fixture
def copied(runs: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return {name: Path(shutil.copytree(run, tmp_path / name)) for name, run in runs.items()}


def test_training_and_evaluate_write_them_for_every_split_and_protocol(
    copied: dict[str, Path],
) -> None:
    by_id = copied["id"]
    evaluated = evaluate(by_id, protocol="clean", progress=False)
    for name in ("test", "valid", "test.clean"):
        beyond = read_report(by_id / "metrics" / f"{name}.json")["beyond"]
        assert list(beyond) == NAMES
        assert isinstance(beyond["coverage@10"], float)
        for metric in NAMES[1:]:
            assert beyond[metric]["low"] <= beyond[metric]["value"] <= beyond[metric]["high"]
    assert evaluated["beyond"] == read_json(by_id / "metrics" / "test.clean.json")["beyond"]


def test_they_equal_the_metrics_of_the_lists_that_recommend_returns(
    copied: dict[str, Path],
) -> None:
    """Under `clean`, the mask is the history but a repeated target, as in `recommend` for other users."""
    run = copied["id"]
    beyond = evaluate(run, protocol="clean", progress=False)["beyond"]
    trained = models.load(run)
    splits = trained.splits_under("clean")
    ids = trained.dataset.items.column("item_id").to_pylist()
    test = splits.test
    histories = [test.history[a:b].tolist() for a, b in zip(test.starts, test.stops, strict=True)]
    fresh = [t not in h for t, h in zip(test.targets.tolist(), histories, strict=True)]
    assert all(fresh)
    table = trained.recommend([[ids[item - 1] for item in h] for h in histories], k=10)
    listed = table.column("item_id").to_pylist()
    assert beyond["coverage@10"] == len(set(listed)) / len(test.catalogue)
    counts = dict(zip(ids, splits.train_counts[1:].tolist(), strict=True))
    mean = np.mean([counts[item] for item in listed])
    assert beyond["popularity@10"]["value"] == pytest.approx(mean)


def test_popularity_has_the_lowest_novelty_and_covers_less(runs: dict[str, Path]) -> None:
    found = {name: read_report(run / "metrics" / "test.json") for name, run in runs.items()}
    by_id, popular = (found[name]["beyond"] for name in ("id", "popularity"))
    assert popular["novelty@10"]["high"] < by_id["novelty@10"]["low"]
    assert popular["popularity@10"]["low"] > by_id["popularity@10"]["high"]
    assert popular["coverage@10"] < by_id["coverage@10"]


def test_diversity_is_over_one_tower_of_the_dataset_whatever_a_run_reads(
    runs: dict[str, Path], dataset: Path
) -> None:
    contents = [
        read_json(run / "metrics" / "test.json")["diversity_content"] for run in runs.values()
    ]
    assert contents[0] == contents[1] and contents[0]["tower"] == "cover"
    content = open_content(open_dataset(dataset))
    assert content is not None
    states = open_dataset(dataset).states("cover")[[5, 0, 7], -1]
    assert np.array_equal(content.vectors(np.array([5, 0, 7])), states.float().numpy())


def test_without_a_readable_tower_the_diversity_is_left_out(
    copied: dict[str, Path], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    damaged = next((data / "states" / "cover").glob("*.arrow"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    found = evaluate(copied["popularity"], data=data, progress=False)
    assert list(found["beyond"]) == NAMES[:-1] and "diversity_content" not in found
    assert "diversity of lists is not measured" in capsys.readouterr().err
    shutil.rmtree(data / "states")
    found = evaluate(copied["popularity"], data=data, progress=False)
    assert list(found["beyond"]) == NAMES[:-1]
    assert "diversity" not in capsys.readouterr().err + format_report(found)


def test_lists_have_the_items_of_the_evaluations_catalogue_alone(runs: dict[str, Path]) -> None:
    trained = models.load(runs["id"])
    test = trained.splits.test
    some = replace(
        test, catalogue=test.catalogue[test.catalogue > 20]
    )  # other targets are appended
    _, lists = rank_and_list(trained.model, trained.catalogue_of(some), some, k=10)
    assert lists.min() > 20 >= test.targets.min()


def test_text_card_page_and_json_show_them(copied: dict[str, Path], tmp_path: Path) -> None:
    reports = {name: read_json(run / "metrics" / "test.json") for name, run in copied.items()}
    novelty = reports["id"]["beyond"]["novelty@10"]
    shown = f"{novelty['value']:.3f}"
    text = format_report(reports["id"])
    assert shown in next(line for line in text.splitlines() if "novelty@10" in line)
    assert "tower cover" in text
    card = (copied["id"] / "model" / "README.md").read_text()
    assert f"{shown} [{novelty['low']:.3f}, {novelty['high']:.3f}]" in card
    compared = json.loads(compare(list(copied.values())).show("json"))
    for row, report in zip(compared["runs"], reports.values(), strict=True):
        assert row["beyond"] == report["beyond"]
        assert row["diversity_content"] == report["diversity_content"]
    page = tmp_path / "report.html"
    write_report(list(copied.values()), output=page, users=0, progress=False)
    html = page.read_text()
    assert "Beyond accuracy" in html and shown in html and "tower cover" in html


def test_reports_of_older_versions_have_none(copied: dict[str, Path], tmp_path: Path) -> None:
    path = copied["id"] / "metrics" / "test.json"
    report = read_json(path)
    without = {k: part for k, part in report.items() if k not in ("beyond", "diversity_content")}
    write_json(path, without)
    assert "beyond" not in read_report(path)
    assert "novelty" not in format_report(read_report(path))
    (copied["id"] / "metrics" / "valid.json").unlink()
    write_card(models.load(copied["id"]), copied["id"])
    assert "Beyond accuracy" not in (copied["id"] / "model" / "README.md").read_text()
    compared = compare(list(copied.values()))
    assert [bool(row.beyond) for row in compared.rows] == [False, True]
    page = tmp_path / "report.html"
    write_report(list(copied.values()), output=page, users=0, progress=False)
    assert "Beyond accuracy" in page.read_text()


@pytest.mark.parametrize(
    "beyond",
    [[], {"novelty@10": "9"}, {"novelty@10": {"value": 1.0, "low": 0.5}}, {"coverage@10": -1},
     {"fame@10": 1.0}, {"novelty@10": {"value": 1, "low": 0, "high": float("nan")}}],
)  # fmt: skip
def test_damaged_reports_are_refused(copied: dict[str, Path], beyond: Any) -> None:
    path = copied["id"] / "metrics" / "test.json"
    path.write_text(json.dumps({**read_json(path), "beyond": beyond}))
    with pytest.raises(UserError, match="beyond"):
        read_report(path)
