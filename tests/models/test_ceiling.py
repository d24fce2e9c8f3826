"""Runs that end by the clock, and runs that leave the test split unread."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.config import RunConfig, parse_run_config
from models.evaluate import evaluate
from models.train import train
from models.training.checkpoints import Checkpoints, Place
from toolkit import UserError


def config(data: Path, output: Path, *words: str) -> RunConfig:
    common = ["--config", "id", "--train.trackers", "[]", "--train.batch_size", "64"]
    return parse_run_config([*common, "--data", str(data), "--output", str(output), *words])


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("place", "ended_by"),
    [
        (Place(epoch=3, best_epoch=2, seconds=9.9), ""),
        (Place(epoch=3, best_epoch=2, seconds=10.0), "max_seconds"),
        (Place(epoch=6, best_epoch=5, seconds=10.0), "epochs"),
        (Place(epoch=5, best_epoch=1, seconds=10.0), "patience"),
    ],
)
def test_the_setting_that_ends_a_run(place: Place, ended_by: str) -> None:
    limits = {"epochs": 5, "patience": 3, "evaluate_every": 1, "max_seconds": 10.0}
    assert place.ended_by(**limits) == ended_by
    assert place.is_over(**limits) == bool(ended_by)
    assert place.is_over(**{**limits, "max_seconds": 0.0}) == (ended_by in ("epochs", "patience"))


def test_an_epoch_that_the_clock_makes_the_last_is_evaluated() -> None:
    limits = {"epochs": 9, "evaluate_every": 4, "max_seconds": 10.0}
    assert Place(epoch=2, seconds=10.5).is_evaluated(**limits)
    assert not Place(epoch=2, seconds=9.5).is_evaluated(**limits)


def test_a_run_ends_after_the_epoch_that_passes_its_ceiling_and_goes_on_with_a_higher_one(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of earlier calls count: with a checkpoint of 100 seconds, a ceiling of 50 trains no further epoch."""
    short = config(dataset, tmp_path / "run", "--train.epochs", "3", "--train.max_seconds", "1e-9")
    train(short)
    (last,) = (entry for entry in log_of(tmp_path / "run") if "best_epoch" in entry)
    assert last["ended_by"] == "max_seconds"
    assert "1 epochs and" in capsys.readouterr().out
    longer = replace(short, resume=True, train=replace(short.train, max_seconds=3600.0))
    train(longer)
    epochs = [entry["epoch"] for entry in log_of(tmp_path / "run") if "valid" in entry]
    assert epochs == [1, 2, 3] and log_of(tmp_path / "run")[-1]["ended_by"] == "epochs"


def test_seconds_are_counted_over_all_calls(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = config(dataset, run, "--train.epochs", "1")
    train(first)
    seconds = sum(entry.get("train_seconds", 0) for entry in log_of(run))
    seen: list[float] = []
    original = Checkpoints.resume

    def resume(self: Checkpoints) -> Place | None:
        place = original(self)
        assert place is not None
        seen.append(place.seconds)
        place.seconds = 100.0
        return place

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "resume", resume)
        more = replace(first.train, epochs=9, max_seconds=50.0)
        train(replace(first, resume=True, train=more))
    assert seen == [pytest.approx(seconds)] and seconds > 0
    assert [entry["epoch"] for entry in log_of(run) if "valid" in entry] == [1]


@pytest.mark.parametrize("preset", ["id", "popularity"])
def test_the_test_split_can_be_left_unread(dataset: Path, tmp_path: Path, preset: str) -> None:
    run = tmp_path / "run"
    words = ["--config", preset, "--train.epochs", "1", "--train.test", "false"]
    report = train(config(dataset, run, *words), record={"study": {"hash": "abc", "trials": 3}})
    assert report["split"] == "valid"
    assert sorted(path.name for path in (run / "metrics").iterdir()) == ["valid.json"]
    assert not (run / "ranks" / "test.arrow").exists()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["study"] == {"hash": "abc", "trials": 3}
    assert (environment["trainable_parameters"] > 0) == (preset == "id")
    assert "abc" in (run / "model" / "README.md").read_text()
    assert evaluate(run, progress=False)["split"] == "test"


def test_a_negative_ceiling_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.max_seconds is -1\.0; it must be at least 0"):
        config(dataset, tmp_path, "--train.max_seconds", "-1")
