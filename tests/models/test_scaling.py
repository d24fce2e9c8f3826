"""The scaling study: a study with a method per tower, and the metric by the size of the encoders."""

from pathlib import Path

import forked
import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset

from models.scaling import scaling_plan
from models.study import study
from prep.steps import manifest
from toolkit import UserError
from toolkit.json_files import read_json

FAST = ["--train.epochs=2", "--side.embedding_dim", "16", "--train.rates.base=5e-3", "--resume"]
WEIGHTS = {"small": 1_000, "large": 5_000_000}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    towers = {
        "small": rng.normal(size=(ITEMS, 2, 8)),
        "large": rng.normal(size=(ITEMS, 3, 32)),
        "cover": rng.normal(size=(ITEMS, 2, 8)),
        "imported": rng.normal(size=(ITEMS, 1, 4)),
    }
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "tiny", walks(), items=ITEMS, towers=towers
    )
    for name, weights in WEIGHTS.items():
        manifest.record_step(folder, f"encode:{name}", {}, encoder_parameters=weights)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with two seeds."""
    folder = tmp_path_factory.mktemp("scaling")
    plan = scaling_plan(data, ["large", "small", "imported"], seeds=[1, 2], arguments=FAST)
    study(plan, folder, jobs=2, report=lambda line: None)
    return folder


def test_the_plan_has_a_method_per_tower_and_the_budget_of_the_arguments(data: Path) -> None:
    plan = scaling_plan(
        data, ["large", "small"], beside=["cover"], arguments=[*FAST, "--config", "modern"]
    )
    assert (plan.epochs, plan.seeds, plan.trials, plan.metric) == (2, [1], 1, "HR@10")
    methods = {name: (m.config, m.settings["towers"]) for name, m in plan.methods.items()}
    assert methods == {
        "large": (["modern"], ["large", "cover"]),
        "small": (["modern"], ["small", "cover"]),
    }
    assert plan.methods["small"].settings["side.embedding_dim"] == "16"
    assert not {"train.epochs", "resume"} & plan.methods["small"].settings.keys()


def test_each_method_states_the_size_of_its_encoder(finished: Path) -> None:
    methods = read_json(finished / "results.json")["methods"]
    sizes = {
        n: (m["encoders"][n]["weights"], m["encoders"][n]["width"]) for n, m in methods.items()
    }
    assert sizes == {"large": (5_000_000, 32), "small": (1_000, 8), "imported": (None, 4)}
    costs = [
        line for line in (finished / "results.md").read_text().splitlines() if "5,000,000" in line
    ]
    assert len(costs) == 1 and costs[0].startswith("| large |")


def test_the_page_draws_the_metric_by_size(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    (drawing,) = [
        part for part in page.split("<svg")[1:] if "against weights of the encoders" in part
    ]
    drawing = drawing.split("</svg>")[0]
    assert "large" in drawing and "small" in drawing and "imported" not in drawing
    ticks = [f">{10**power:g}<" for power in range(3, 8)]
    assert all(tick in drawing for tick in ticks), "a tick per power of ten"


def test_processes_of_a_launcher_train_each_run_together(data: Path, tmp_path: Path) -> None:
    """The second run is the one that would train alone in each process, had the first ended their connection."""
    log = tmp_path / "log"
    words = ["--data", str(data), "--output", str(tmp_path / "two"), "--over", "small", "large",
             *FAST[:-1], "--train.batch_size=32"]  # fmt: skip
    forked.run_two("models.scaling", *words, log=log)
    found = read_json(tmp_path / "two" / "results.json")["methods"]
    runs = tmp_path / "two" / "runs" / "tiny" / "leave-one-out"
    for name in ("small", "large"):
        assert read_json(runs / name / "trial-1" / "environment.json")["processes"] == 2
    assert found["small"]["metrics"]["paper"]["HR@10"]["value"] > 0
    assert log.read_text().count("small/trial-1: valid") == 2, (
        "trained and tested, told by one process"
    )


def test_an_absent_tower_is_refused_before_any_training(data: Path) -> None:
    with pytest.raises(UserError, match="no hidden states for tower 'huge'"):
        scaling_plan(data, ["small", "huge"], arguments=FAST)


@pytest.mark.parametrize("beside", [["small"], ["cover", "cover"]])
def test_a_tower_twice_is_refused(data: Path, beside: list[str]) -> None:
    with pytest.raises(UserError, match="name each once"):
        scaling_plan(data, ["small"], beside=beside, arguments=FAST)


@pytest.mark.parametrize(
    "words", [["--towers", "[cover]"], ["--train.test=false"], ["--train.evaluate_every", "2"]]
)
def test_options_without_effect_are_refused(data: Path, words: list[str]) -> None:
    with pytest.raises(UserError, match=f"{words[0].partition('=')[0]} has no effect"):
        scaling_plan(data, ["small"], arguments=words)


def test_the_seed_is_given_once(data: Path) -> None:
    with pytest.raises(UserError, match=r"--train\.seed has no effect"):
        scaling_plan(data, ["small"], seeds=[1, 2], arguments=["--train.seed", "3"])
    assert scaling_plan(data, ["small"], arguments=["--train.seed", "3"]).seeds == [3]
