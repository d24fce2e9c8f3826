"""The twins of the papers' tables: what is made small, what a table shows, and what a failed row leads to."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import smaller, twins
from models.study.plan import Method
from models.study.reading import read_plan

VALUE = {"value": 0.25, "low": 0.2, "high": 0.3}
METRICS = {"HR@10": VALUE, "NDCG@10": VALUE}
RESULTS = {
    "methods": {
        "id": {"metrics": {"paper": METRICS}, "trials": [{"message": ""}], "seeds": []},
        "new": {"metrics": {}, "trials": [{"message": "the loss is nan"}], "seeds": []},
    }
}


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    smaller.write_small(tmp_path, ["something", "red"])
    return argparse.Namespace(output=tmp_path, epochs=2, items=20, users=10)


def test_a_twin_has_all_rows_one_seed_and_tiny_encoders(
    options: argparse.Namespace, tmp_path: Path
) -> None:
    plan = read_plan("ninerec")
    own = twins.adapted("ninerec", plan, options, tmp_path / "source")
    assert list(own.methods) == [*plan.methods, "popularity", "ease"]
    assert own.seeds == [1] and own.epochs == own.patience == 2 and len(own.datasets) == 1
    small = str(tmp_path / "small.yaml")
    assert own.methods["transferred"].config == ["ninerec-text", small]
    assert own.methods["transferred"].settings == {
        "init_from": str(tmp_path / "source"),
        "train.loss": "in-batch",
        "adapt": "full",  # of the preset's top 6 layers, three are left
        "encoders.title.encoder": str(tmp_path / "bert"),
    }
    assert own.methods["id"].settings == {"train.loss": "in-batch"}
    assert own.methods["popularity"] == Method(["popularity"])
    file = tmp_path / "study.yaml"
    file.write_text(twins.written(own, "A twin."))
    assert read_plan(file) == own


def test_a_source_is_not_adapted(options: argparse.Namespace, tmp_path: Path) -> None:
    method = read_plan("ninerec").methods["transferred"]
    own = smaller.small(smaller.source_of(method), tmp_path)
    encoder = {"encoders.title.encoder": str(tmp_path / "bert")}
    assert own.settings == {"adapt": "full", **encoder}


def test_what_small_yaml_sets_is_left_out_of_the_settings(tmp_path: Path) -> None:
    settings = {"train.rates.base": 1e-4, "side.embedding_dim": 2048, "sequence.blocks": 1}
    own = smaller.small(Method(["id"], settings), tmp_path)
    assert own == Method(["id", str(tmp_path / "small.yaml")], {"sequence.blocks": 1})


def test_titles_name_the_colours_of_the_items_once(tmp_path: Path) -> None:
    items = [{"id": "7", "colour": "red"}, {"id": "9", "colour": "blue"}]
    (tmp_path / "truth.json").write_text(json.dumps({"items": items}))
    path = tmp_path / f"{twins.NAME}_titles.csv"
    path.write_text("item,title\n7,Sound on\n9,POV: it is Friday\n")
    for _ in range(2):
        assert twins.name_colours(tmp_path) == ["red Sound", "blue POV:"]
    assert path.read_text() == "item,title\n7,red Sound\n9,blue POV:\n"
    assert twins.words_of(["red Sound", "blue POV:"]) == [":", "blue", "pov", "red", "sound"]


def test_a_failed_row_is_named_and_the_status_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(twin: twins.Twin, *words: object) -> bool:
        output = Path(str(words[words.index("--output") + 1]))
        (output / "metrics").mkdir(parents=True)
        (output / "results.json").write_text(json.dumps(RESULTS))
        return True

    monkeypatch.setattr(twins.Twin, "run", run)
    monkeypatch.setattr(twins, "write_data", lambda options: twins.Twin(options.output))
    monkeypatch.setattr(twins, "planted", lambda options: "")
    monkeypatch.setattr("sys.argv", ["twins", "ninerec", "--output", str(tmp_path)])
    assert twins.main() == 1
    told = capsys.readouterr()
    assert "| id | 25.00 [20.00, 30.00] | 25.00 [20.00, 30.00] |" in told.out
    assert told.err.strip().endswith("failed: ninerec: new: the loss is nan")


def test_f1_of_an_au_is_beside_that_of_calling_it_always_active() -> None:
    report = {"per_au": {"AU12": {"F1": VALUE, "rate": 0.5}}, "F1": VALUE}
    shown = "25.00 [20.00, 30.00]"
    assert twins.au_rows(report) == [["AU12", shown, "66.67"], ["mean", shown, "66.67"]]


def test_cost_is_that_of_all_calls(tmp_path: Path) -> None:
    first, second = twins.Twin(tmp_path), None
    assert first.run("json.tool", "--help")
    second = twins.Twin(tmp_path)
    assert second.seconds == first.seconds > 0
    assert not second.run("json.tool", tmp_path / "absent")
    assert second.seconds > first.seconds
    (message,) = second.failed
    assert message.startswith("json.tool ended with ") and "absent" in message
