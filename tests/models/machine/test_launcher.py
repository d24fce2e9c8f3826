"""Settings from launcher, environment and hardware are resolved, recorded and applied."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate import Accelerator

from models.config import RunConfig, load_run_config, parse_run_config
from models.machine import launcher
from models.machine.launcher import own_state, start_accelerator
from models.prepare import settled
from models.train import train
from toolkit import UserError


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"):
        monkeypatch.delenv(name, raising=False)


def config(data: Path, output: Path, *more: str) -> RunConfig:
    words = ["--config=id", f"--data={data}", f"--output={output}", "--train.epochs=1"]
    return parse_run_config([*words, "--train.trackers=[]", "--sequence.max_len=5", *more])


def recorded(run: Path) -> tuple[str, str, int]:
    """Precision by both files, and accumulation."""
    settings = load_run_config(run / "config.yaml").train
    environment = json.loads((run / "environment.json").read_text())
    return settings.mixed_precision, environment["mixed_precision"], settings.accumulation


def test_without_a_word_of_the_launcher_the_config_decides(tmp_path: Path) -> None:
    asked = config(tmp_path, tmp_path, "--train.mixed_precision=bf16", "--train.accumulation=3")
    assert settled(asked) == asked


def test_what_the_launcher_set_is_recorded_and_held_to(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        patch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
        train(config(dataset, run))
    assert recorded(run) == ("bf16", "bf16", 2)
    with pytest.raises(
        UserError, match=r"started with train.accumulation = 2, but this call sets .* = 1"
    ):
        train(config(dataset, run, "--resume"))
    with pytest.raises(
        UserError, match=r"started with train.mixed_precision = bf16, but this call sets .* = no"
    ):
        train(config(dataset, run, "--resume", "--train.accumulation=2"))


def test_a_precision_that_only_environment_json_of_an_older_run_tells_is_held_to(
    dataset: Path, tmp_path: Path
) -> None:
    train(config(dataset, tmp_path / "run"))
    path = tmp_path / "run" / "environment.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "mixed_precision": "bf16"}))
    with pytest.raises(
        UserError, match=r"started with train.mixed_precision = bf16, but this call sets .* = no"
    ):
        train(config(dataset, tmp_path / "run", "--resume"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "accelerate", "launch", "--gradient_accumulation_steps", "4", "-m", "models.train"], 4),
        (["python", "/bin/accelerate", "launch", "--gradient_accumulation_steps=4", "train.py"], 4),
        (["python", "-m", "accelerate.commands.launch", "--gradient-accumulation-steps", "4", "x"], 4),
        (["python", "accelerate", "launch", "-m", "models.train"], 1),
        (["bash", "other.sh", "--gradient_accumulation_steps", "4"], 1),
    ],
)  # fmt: skip
def test_accumulation_that_accelerate_launch_passes_on_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: int
) -> None:
    parent = SimpleNamespace(cmdline=lambda: words)
    monkeypatch.setattr(launcher.psutil, "Process", lambda number: parent)
    assert settled(config(tmp_path, tmp_path)).train.accumulation == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp8", "is 'fp8', set by the launcher; training knows no, bf16, fp16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "x", "is 'x'; expected a whole number from 1"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "0", "is '0'; expected a whole number from 1"),
    ],
)  # fmt: skip
def test_what_training_does_not_know_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        settled(config(tmp_path, tmp_path))


@pytest.mark.parametrize("way", ["config", "launcher"])
def test_fp16_on_a_cpu_is_refused_and_leaves_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    words = ["--train.mixed_precision=fp16"] if way == "config" else []
    if way == "launcher":
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match=r"fp16 needs a GPU.*take bf16 or no"):
        train(config(dataset, tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variable", "known"),
    [("OMPI_COMM_WORLD_SIZE", 1), ("SLURM_STEP_NUM_TASKS", 1), ("WORLD_SIZE", 4)],
)
def test_processes_that_are_not_connected_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, known: int
) -> None:
    """Accelerate may know of all of them although the end of an earlier run has disconnected them."""
    started = SimpleNamespace(
        num_processes=known, distributed_type="NO", mixed_precision="no", device="cpu"
    )
    monkeypatch.setattr(launcher, "Accelerator", lambda **options: started)
    monkeypatch.setenv(variable, "4")
    with pytest.raises(UserError, match=f"{variable} is 4, so the launcher started 4 processes"):
        start_accelerator()


def test_a_batch_script_that_starts_one_process_of_its_own_is_no_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    launcher._refuse_strangers()


def test_a_second_training_in_one_process_has_the_precision_that_it_asks_for(
    dataset: Path, tmp_path: Path
) -> None:
    mine = Accelerator(mixed_precision="no")
    train(config(dataset, tmp_path / "one"))
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        start_and_forget(config(dataset, tmp_path / "bad", "--train.mixed_precision=fp16"))
    train(config(dataset, tmp_path / "two", "--train.mixed_precision=bf16"))
    assert recorded(tmp_path / "two")[:2] == ("bf16", "bf16")
    one, two = (
        (tmp_path / name / "model/model.safetensors").read_bytes() for name in ("one", "two")
    )
    assert one != two
    assert mine.mixed_precision == "no"  # a caller's own Accelerator is as it was


def start_and_forget(wanted: RunConfig) -> None:
    if Accelerator().device.type != "cpu":
        pytest.skip("has a GPU")
    with own_state():
        start_accelerator(mixed_precision=wanted.train.mixed_precision)
