"""A killed and resumed run equals the uninterrupted run bit for bit; damaged checkpoints are refused."""

import json
import os
import shutil
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import pytest
import torch
from safetensors.torch import load_file

import models
from models.config import RunConfig, load_run_config, parse_run_config
from models.train import train
from models.training.checkpoints import Checkpoints, Place
from models.training.stopping import SIGNALS, Stopped, Stopping
from toolkit import UserError
from toolkit.lock import locked

THREADS = len(os.sched_getaffinity(0))
SETTINGS = ["--config=raw-image", "--train.batch_size=16", "--train.epochs=4", "--train.patience=9",
            "--train.log_every_steps=1", "--train.checkpoint_every_steps=4", "--train.optimizer=adamw",
            "--train.weight_decay=0.01", "--train.schedule=cosine", "--train.warmup_updates=5",
            "--train.clip_norm=1", "--train.accumulation=2", "--sequence.dropout=0.2"]  # fmt: skip


def config(data: Path, output: Path, *more: str) -> RunConfig:
    return parse_run_config([*SETTINGS, f"--data={data}", f"--output={output}", *more])


def curve(run: Path) -> list[dict]:
    """What the log tells of every step, without times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    times = ("seconds", "train_seconds", "waited_seconds", "trained_seconds")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def final(run: Path) -> dict[str, torch.Tensor]:
    """The newest checkpoint: weights, optimizer and random state."""
    return load_file(sorted((run / "checkpoints").iterdir())[-1])


def assert_same_run(run: Path, whole: Path) -> None:
    assert curve(run) == curve(whole)
    ours, theirs = final(run), final(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    best, expected = (models.load(r).model.state_dict() for r in (run, whole))
    assert all(torch.equal(best[name], expected[name]) for name in expected)
    for name in ("metrics/test.json", "ranks/test.arrow"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts."""
    output = tmp_path_factory.mktemp("resume") / "whole"
    train(config(dataset, output))
    return output


def start(data: Path, output: Path, told: Path) -> BaseProcess:
    """`--resume` in a process that has the threads of a run by default, on which the order of sums may depend."""
    words = [*SETTINGS, f"--data={data}", f"--output={output}", "--resume"]
    return forked.start("models.train", words, log=told, threads=THREADS)


def steps_in(run: Path) -> int:
    log = run / "log.jsonl"
    return log.read_bytes().count(b'"loss"') if log.exists() else 0


@pytest.mark.slow
def test_killed_at_any_step_and_resumed_it_is_the_same_run(dataset: Path, tmp_path: Path) -> None:
    """The process is killed from outside, three times in one run."""
    run, whole, told = tmp_path / "run", tmp_path / "whole", tmp_path / "told"
    process = start(dataset, whole, told)
    process.join(120)
    assert process.exitcode == 0, told.read_text()
    total = sum("loss" in line for line in curve(whole))
    for share in (0.15, 0.5, 0.8):
        process = start(dataset, run, told)
        while steps_in(run) < share * total and process.is_alive():
            time.sleep(0.001)
        process.kill()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL, told.read_text()
    told.unlink()
    process = start(dataset, run, told)
    process.join(120)
    assert process.exitcode == 0, told.read_text()
    assert "resuming at epoch" in told.read_text()
    assert_same_run(run, whole)


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5, 8, 9, 13])
def test_stopped_at_a_step_and_resumed_it_is_the_same_run(
    dataset: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Steps of the first epoch, at a checkpoint, before and after one."""
    run = tmp_path / "run"

    class Stop(Exception):
        pass

    note = models.training.divergence.Divergence.note

    def stop(self, loss):
        note(self, loss)
        if self.place.step == stop_at:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("models.training.divergence.Divergence.note", stop)
        with pytest.raises(Stop):
            train(config(dataset, run))
    train(config(dataset, run, "--resume"))
    assert_same_run(run, whole)


@pytest.mark.parametrize(
    ("number", "stop_at", "stands_at"),
    [(signal.SIGTERM, 3, 4), (signal.SIGUSR1, 8, 8), (signal.SIGTERM, 13, 14)],
)  # between two updates of accumulated gradients; at an epoch's last step; later
def test_told_to_end_it_ends_after_an_update_and_resumes_to_the_same_run(
    dataset: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    stop_at: int,
    stands_at: int,
) -> None:
    run, note = tmp_path / "run", models.training.divergence.Divergence.note

    def told(self, loss):
        note(self, loss)
        if self.place.step == stop_at:
            os.kill(os.getpid(), number)

    before = [signal.getsignal(one) for one in SIGNALS]
    with monkeypatch.context() as patch:
        patch.setattr("models.training.divergence.Divergence.note", told)
        with pytest.raises(Stopped) as stopped:
            train(config(dataset, run))
    assert stopped.value.code == 128 + number
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert f"after step {stands_at}, which is kept; go on with" in capsys.readouterr().out
    assert (
        max(path.name for path in (run / "checkpoints").iterdir())
        == f"step-{stands_at:08d}.safetensors"
    )
    train(config(dataset, run, "--resume"))
    assert f"step {stands_at}" in capsys.readouterr().out
    assert_same_run(run, whole)


def test_in_another_thread_no_signal_is_caught() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]

    def look() -> None:
        with Stopping() as stopping:
            found.append([stopping.signal(), *(signal.getsignal(one) for one in SIGNALS)])

    found: list[list] = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [[0, *before]]


def test_a_run_that_another_process_trains_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        locked(run, "training"),
        pytest.raises(UserError, match="training is being written by process"),
    ):
        train(config(dataset, run))
    assert {path.name for path in run.iterdir()} == {".locks"}


@pytest.mark.parametrize("left", ["config.yaml", ".config.yaml.77.tmp", "nothing"])
def test_a_run_that_was_killed_before_its_environment_was_written_begins(
    dataset: Path, whole: Path, tmp_path: Path, left: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if left != "nothing":
        (run / left).write_bytes((whole / "config.yaml").read_bytes())
    if left == "config.yaml":
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / ".step-00000004.safetensors.77.tmp").write_bytes(b"half")
    train(config(dataset, run, "--resume", "--train.epochs=1"))
    assert (run / "environment.json").exists() and (run / "metrics" / "test.json").exists()
    assert not list(run.rglob("*.tmp"))


def test_a_run_whose_environment_is_gone_is_not_begun_again(
    dataset: Path, whole: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "environment.json").unlink()
    with pytest.raises(UserError, match=r"environment\.json is missing"):
        train(config(dataset, run, "--resume"))


def test_patience_is_what_is_asked_for_now_and_the_change_is_recorded(
    dataset: Path, tmp_path: Path
) -> None:
    groups = (
        "base",
        "side_block",
        "image_head",
        "image_gate",
        "text_head",
    )  # at rate 0 nothing gets better
    constant = [
        "--train.schedule=constant",
        "--train.epochs=6",
        *(f"--train.rates.{g}=0" for g in groups),
    ]
    train(config(dataset, tmp_path / "long", *constant, "--train.patience=6"))
    train(config(dataset, tmp_path / "short", *constant, "--train.patience=1"))
    epochs = {line["epoch"] for line in curve(tmp_path / "short") if "epoch" in line}
    assert len(epochs) < 6  # it stopped early
    train(config(dataset, tmp_path / "short", *constant, "--train.patience=6", "--resume"))
    assert_same_run(tmp_path / "short", tmp_path / "long")
    assert load_run_config(tmp_path / "short" / "config.yaml").train.patience == 6
    about = json.loads((tmp_path / "short" / "environment.json").read_text())
    assert [entry["changed"] for entry in about["resumed"]] == [{"train.patience": [1, 6]}]
    assert about["resumed"][0]["epoch"] == len(epochs) + 1


def test_a_finished_run_resumes_to_its_report(dataset: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = train(config(dataset, run, "--resume"))  # there is nothing yet: it starts
    assert train(config(dataset, run, "--resume")) == first
    assert_same_run(run, whole)


def test_more_epochs_continue_a_run_of_constant_rates(dataset: Path, tmp_path: Path) -> None:
    constant = ["--train.schedule=constant"]
    train(config(dataset, tmp_path / "long", *constant))
    train(config(dataset, tmp_path / "short", *constant, "--train.epochs=2"))
    train(config(dataset, tmp_path / "short", *constant, "--resume"))
    assert_same_run(tmp_path / "short", tmp_path / "long")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("--train.seed=2", "train.seed = 1, but this call sets train.seed = 2"),
        (
            "--train.epochs=9",
            "train.epochs = 4, but this call sets train.epochs = 9",
        ),  # cosine: other rates
        ("--towers=[title]", r"towers = \['title', 'cover'\]"),
        ("--train.rates.base=1", "train.rates.base"),
    ],
)
def test_another_config_does_not_resume(dataset: Path, whole: Path, change: str, key: str) -> None:
    with pytest.raises(
        UserError, match=rf"started with {key}.*restore the value, or start a new run"
    ):
        train(config(dataset, whole, "--resume", change))


def test_without_resume_a_run_is_not_touched(dataset: Path, whole: Path) -> None:
    with pytest.raises(UserError, match=r"not empty.*--resume"):
        train(config(dataset, whole))


def test_a_folder_that_is_no_run_is_not_resumed(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="--resume found no run"):
        train(config(dataset, tmp_path, "--resume"))


# Checkpoints


def checkpoints(folder: Path, keep: int = 3) -> Checkpoints:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    made = Checkpoints(folder, keep=keep, model=model, optimizer=optimizer)
    return made


def advance(made: Checkpoints, step: int) -> None:
    made.model(torch.ones(1, 3)).sum().backward()
    made.optimizer.step()
    made.save(Place(step=step))


def test_the_newest_are_kept_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    made = checkpoints(tmp_path, keep=2)
    for step in (5, 90, 100, 1000):
        advance(made, step)
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000100.safetensors", "step-00001000.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "place", "empty", "text"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    made = checkpoints(tmp_path)
    advance(made, 1)
    expected = {name: value.clone() for name, value in made.model.state_dict().items()}
    advance(made, 2)
    newest = made.paths()[-1]
    data = newest.read_bytes()
    newest.write_bytes(
        {
            "cut": data[:-10],
            "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "place": data.replace(rb"\"step\": 2", rb"\"step\": 3"),
            "empty": b"",
            "text": b"no checkpoint",
        }[damage]
    )
    again = checkpoints(tmp_path)
    assert again.resume() == Place(step=1)
    assert all(torch.equal(again.model.state_dict()[n], v) for n, v in expected.items())
    told = capsys.readouterr().err
    assert "step-00000002.safetensors: damaged" in told and "the one before" in told


def test_when_all_are_damaged_the_run_does_not_start_anew_by_itself(tmp_path: Path) -> None:
    made = checkpoints(tmp_path)
    advance(made, 1)
    made.paths()[0].write_bytes(b"")
    with pytest.raises(UserError, match="all checkpoints are damaged"):
        checkpoints(tmp_path).resume()


def test_what_is_drawn_after_a_checkpoint_is_drawn_again(tmp_path: Path) -> None:
    made = checkpoints(tmp_path)
    advance(made, 1)
    drawn = torch.rand(5)
    torch.manual_seed(99)
    made.resume()
    assert torch.equal(torch.rand(5), drawn)


def test_another_number_of_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance(checkpoints(tmp_path), 1)
    monkeypatch.setattr("models.training.checkpoints.rank_and_world", lambda: (0, 2))
    with pytest.raises(UserError, match="of a run of 1 processes, and this one has 2"):
        checkpoints(tmp_path).resume()


# Losses that are not finite


def test_a_loss_that_is_not_finite_stops_with_what_one_needs_to_know(
    dataset: Path, tmp_path: Path
) -> None:
    wild = ["--train.rates.base=1e30", "--train.clip_norm=0", "--train.warmup_updates=0"]
    with pytest.raises(
        UserError,
        match=r"step \d+, epoch 1: the loss of process 0 is not finite; its batch has the users .*16 in all.*"
        r"(there is no checkpoint yet|last good checkpoint is .*safetensors)",
    ):
        train(config(dataset, tmp_path / "run", *wild))
    for path in (tmp_path / "run" / "checkpoints").glob("*"):
        assert all(v.isfinite().all() for n, v in load_file(path).items() if n.startswith("model/"))
