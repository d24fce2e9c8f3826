"""Trackers receive the values of log.jsonl exactly once, also across a stop and resume."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.config import RunConfig, parse_run_config
from models.train import train
from models.training.divergence import Divergence
from toolkit import UserError

SETTINGS = ["--config=raw-image", "--train.batch_size=32", "--train.epochs=3", "--train.log_every_steps=1",
            "--train.schedule=cosine", "--side.embedding_dim=16"]  # fmt: skip
Curves = dict[str, list[tuple[int, float]]]


def config(data: Path, output: Path, *more: str) -> RunConfig:
    return parse_run_config([*SETTINGS, f"--data={data}", f"--output={output}", *more])


def logged(run: Path) -> Curves:
    """Of each number in log.jsonl, its steps and values."""
    curves: Curves = defaultdict(list)
    for line in (run / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for key in ("loss", "train_seconds", "waited_seconds"):
            if key in entry:
                curves[key].append((entry["step"], entry[key]))
        for group in ("valid", "rates"):
            for name, value in entry.get(group, {}).items():
                curves[f"{group}/{name.replace('@', '_')}"].append((entry["step"], value))
    return curves


def tracked(run: Path) -> Curves:
    """The same, read from TensorBoard's files."""
    events = EventAccumulator(str(run / "trackers" / "versa"), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "epoch"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def assert_tracked(run: Path) -> None:
    ours, theirs = logged(run), tracked(run)
    assert ours.keys() == theirs.keys()
    for name, points in ours.items():
        assert [step for step, _ in theirs[name]] == [step for step, _ in points], name
        # TensorBoard keeps float32.
        assert [v for _, v in theirs[name]] == pytest.approx([v for _, v in points], rel=1e-6)


def test_tensorboard_has_the_numbers_of_the_log(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config(dataset, run))
    assert_tracked(run)
    curves = logged(run)
    steps = 3 * 4  # epochs of 120 users, 32 a step
    assert [step for step, _ in curves["loss"]] == list(range(1, steps + 1))
    assert [step for step, _ in curves["valid/HR_10"]] == [4, 8, 12]
    rates = [rate for _, rate in curves["rates/text_head"]]
    assert rates[0] == 5e-5 and sorted(rates, reverse=True) == rates and 0 < rates[-1] < 1e-6


@pytest.mark.parametrize("stop_at", [2, 4, 7])
def test_a_resumed_run_neither_repeats_nor_loses_steps(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped before the first checkpoint, at its step, and after it."""
    run = tmp_path / "run"

    class Stop(Exception):
        pass

    check = Divergence.check

    def stop(self):
        check(self)
        if self.place.step == stop_at + 1:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Divergence, "check", stop)
        with pytest.raises(Stop):
            train(config(dataset, run))
    assert [step for step, _ in tracked(run)["loss"]] == list(range(1, stop_at + 1))
    train(config(dataset, run, "--resume"))
    assert_tracked(run)
    assert len(tracked(run)["loss"]) == 12


class Fake(GeneralTracker):
    """Keeps what it is told."""

    name = "wandb"
    requires_logging_directory = False
    made: ClassVar[list["Fake"]] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.told: list[tuple[int | None, dict[str, Any]]] = []
        self.config: dict[str, Any] = {}
        self.names = run_name, options
        self.is_finished = False
        Fake.made.append(self)

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


def test_trackers_are_taken_by_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.WANDB])
    monkeypatch.setattr(Fake, "made", [])
    run = tmp_path / "mine"
    train(config(dataset, run, "--train.trackers=[wandb]", "--train.epochs=1"))
    (fake,) = Fake.made
    assert fake.names == ("versa", {"name": "mine"}) and fake.is_finished
    assert fake.config["train.rates.text_head"] == 5e-5
    assert fake.config["towers"] == "['title', 'cover']"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [step for step, _ in fake.told] == [line["step"] for line in lines if "step" in line]
    assert fake.told[0][1]["loss"] == lines[0]["loss"]
    assert not (run / "trackers").exists()


def test_without_trackers_there_are_no_files_of_theirs(dataset: Path, tmp_path: Path) -> None:
    train(config(dataset, tmp_path / "run", "--train.trackers=[]", "--train.epochs=1"))
    assert not (tmp_path / "run" / "trackers").exists()
    assert not list(tmp_path.rglob("events*"))


def test_an_unknown_tracker_is_named_before_anything_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    known = r"known are aim, .*tensorboard.*wandb, and \[\] for none"
    with pytest.raises(UserError, match=rf"train\.trackers names 'tensorbord'; {known}"):
        train(config(dataset, tmp_path / "run", "--train.trackers=[tensorbord]"))
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_says_what_to_install(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(UserError, match="comet_ml, which is not installed: pip install comet-ml"):
        train(config(dataset, tmp_path / "run", "--train.trackers=[comet_ml]"))
