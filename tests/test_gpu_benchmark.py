"""The GPU benchmark with tiny sizes: its parts run, and a failing part does not stop the others."""

import argparse
import json
import multiprocessing
import os
import subprocess
from pathlib import Path

import psutil
import pytest
from accelerate.state import AcceleratorState

import benchmarks.gpu.__main__ as benchmark
from benchmarks.gpu import parts
from benchmarks.gpu.made import TOY
from benchmarks.gpu.parts import PARTS, Part, compare_losses, run_part, summary

# Those that need neither a compiler nor minutes; all of them: `bash benchmarks/gpu.sh OUT --toy`.
QUICK = ("versions", "data", "step no plain", "step no graphs", "floor bytes", "breakdown plain", "residency", "million")  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    work = tmp_path_factory.mktemp("gpu")
    report = {}
    for name in QUICK:
        AcceleratorState._reset_state(True)  # it settles on one precision a process
        run_part(PARTS[name].work, work, TOY, work / "part.json")
        report[name] = json.loads((work / "part.json").read_text())
    AcceleratorState._reset_state(True)
    compare_losses(report)
    return report


def test_every_part_gives_its_figures(found: dict[str, dict]) -> None:
    assert [part["error"] for part in found.values() if "error" in part] == []
    steps = -(-TOY.users // TOY.batch)
    for way in ("step no plain", "step no graphs"):
        assert found[way]["steps"] == steps and len(found[way]["epoch_seconds"]) == TOY.epochs
        assert found[way]["passed"] and found[way]["largest_loss_difference"] < 1e-5
    assert found["step no plain"]["sizes"] is None and found["step no graphs"]["sizes"] >= 1
    assert found["million"]["items"] == TOY.catalogue and found["million"]["ranks_seconds"] > 0
    assert {"device, 8 items", "host, 80 items", "mapped, 8 items"} < found["residency"].keys()


def test_the_floor_counts_what_the_shapes_say(found: dict[str, dict]) -> None:
    floor = found["floor bytes"]
    # Two towers of 3 x 16 float16 states an item; 8 passes of float32 over what is trained.
    states = floor["unique_items"] * 2 * 3 * 16 * 2
    assert floor["states_bytes"] == states
    assert floor["bytes"] == states + 8 * 4 * floor["trainable_parameters"]
    # Forward, a block of bottleneck 64 is 2 products of 16 x 64 a row: 9 blocks are a lower bound.
    assert floor["flops"] > floor["unique_items"] * 9 * 2 * (2 * 16 * 64)


def test_a_part_that_fails_is_recorded(tmp_path: Path) -> None:
    def broken(work: Path, size: object) -> dict:
        raise RuntimeError("no luck")

    run_part(broken, tmp_path, TOY, tmp_path / "part.json")
    told = json.loads((tmp_path / "part.json").read_text())
    assert told["passed"] is False and summary(told) == "FAILED RuntimeError: no luck"


def test_a_part_that_hangs_is_stopped_with_all_that_it_started_and_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def hang(work: Path, size: object) -> dict:
        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "child").write_text(str(child.pid))
        return {"never": child.wait()}

    made = {
        "versions": Part(lambda work, size: {"device": "cpu"}, 60),
        "hang": Part(hang, 0.5),
        "crash": Part(lambda work, size: os._exit(3), 60),
        "data": Part(lambda work, size: {"figure": 7}, 60),
    }
    for module in (parts, benchmark):
        monkeypatch.setattr(module, "PARTS", made)
    # Forked from this process, which has imported everything.
    monkeypatch.setattr(parts, "get_context", lambda _: multiprocessing.get_context("fork"))
    output = tmp_path / "gpu.json"
    options = argparse.Namespace(parts=["hang", "crash"], dataset=None, seconds=60, patience=1, toy=True, output=output)  # fmt: skip
    report = benchmark.run(options)
    assert json.loads(output.read_text()) == report
    found = report["parts"]
    assert found["hang"]["error"] == "stopped after 0.5 s: the time was up"
    assert found["crash"]["error"] == "the process ended with status 3"
    assert found["data"]["figure"] == 7 and list(found) == list(made)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    assert child.status() == psutil.STATUS_ZOMBIE or not child.is_running()
    assert "hang: FAILED stopped after 0.5 s" in capsys.readouterr().out


def test_the_steps_losses_are_compared_with_the_plain_ones() -> None:
    report = {
        "step no plain": {"losses": [2.0, 4.0]},
        "step no graphs": {"losses": [2.0, 4.1]},
        "step bf16 graphs": {"losses": [1.0]},
    }
    compare_losses(report)
    assert report["step no plain"]["passed"] is True
    assert report["step no graphs"]["largest_loss_difference"] == pytest.approx(0.1 / 4)
    assert report["step no graphs"]["passed"] is False
    assert "passed" not in report["step bf16 graphs"]  # its plain one is not there
    for precision in ("no", "bf16"):  # the plain one runs first
        first = next(name for name in PARTS if name.startswith(f"step {precision}"))
        assert first == f"step {precision} plain"
