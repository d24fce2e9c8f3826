"""Studies from their file to their results: budgets, what is read of the test split, kills, changes and failures."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from small_study import write_plan
from tiny_dataset import ITEMS, walks, write_dataset

from models.evaluate import evaluate
from models.inputs.reads import Reads
from models.runs.identity import describe_data
from models.study import study
from models.study.executors import Ended
from models.study.fixing import fix
from models.study.reading import read_plan
from models.study.schedule import arms_of, run_all
from models.study.trials import FAILED, Task, read_trial
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json, write_json

ARM = Path("runs/walks/leave-one-out")


def quiet(line: str) -> None:
    """Drops a line of progress."""


def results_of(folder: Path) -> dict[str, Any]:
    return read_json(folder / "results.json")


def without_time(value: Any) -> Any:
    """Results without measured seconds and times of the day."""
    if isinstance(value, dict):
        timed = {"seconds", "seconds_per_run", "cost", "started", "when", "checklist", "budget"}
        return {key: without_time(part) for key, part in value.items() if key not in timed}
    return [without_time(part) for part in value] if isinstance(value, list) else value


def test_every_method_has_its_trials_seeds_and_metrics(finished: Path) -> None:
    results = results_of(finished)
    methods = results["methods"]
    assert list(methods) == ["popularity", "ease", "id"]
    assert [len(method["trials"]) for method in methods.values()] == [1, 2, 2]
    for name, method in methods.items():
        values = [trial["value"] for trial in method["trials"]]
        best = method["trials"][values.index(max(values))]
        assert method["selected"] == {"leave-one-out": best["settings"]}
        assert [seed["seed"] for seed in method["seeds"]] == [1, 2]
        assert method["seeds"][0]["value"] == best["value"]
        assert list(method["metrics"]) == ["paper", "clean"], name
        assert all(trial["hash"] == results["hash"] for trial in method["trials"])
    assert [trial["epochs"] for trial in methods["id"]["trials"]] == [2, 2]
    assert methods["popularity"]["trials"][0]["epochs"] is None
    assert methods["id"]["cost"]["trainable_parameters"] > 0
    assert [trial["settings"] for trial in methods["ease"]["trials"]] == [
        {"recommender.regularisation": 1.0},
        {"recommender.regularisation": 100.0},
    ]


def test_metrics_are_those_of_the_runs(finished: Path) -> None:
    """Popularity draws nothing, so both seeds have the value of one run, and the seeds do not spread."""
    found = results_of(finished)["methods"]["popularity"]["metrics"]
    run = finished / ARM / "popularity" / "trial-1"
    for protocol, file in {"paper": "test.json", "clean": "test.clean.json"}.items():
        own = read_json(run / "metrics" / file)["metrics"]
        assert found[protocol].keys() == own.keys()
        for name, metric in own.items():
            assert found[protocol][name]["value"] == pytest.approx(metric["value"])
            assert found[protocol][name]["std"] == 0


def test_the_test_split_is_read_for_selected_runs_only(finished: Path) -> None:
    results = results_of(finished)["methods"]
    for name in ("ease", "id"):
        values = [trial["value"] for trial in results[name]["trials"]]
        other = 1 + values.index(min(values))
        tested = {
            path.parents[1].name for path in (finished / ARM / name).glob("*/metrics/test*.json")
        }
        assert tested == {f"trial-{3 - other}", f"trial-{3 - other}-seed-2"}


def test_the_hash_stands_in_every_run_and_on_every_report(finished: Path) -> None:
    digest = results_of(finished)["hash"]
    assert digest == read_json(finished / "study.json")["hash"]
    runs = list((finished / ARM).glob("*/trial-*/"))
    assert len(runs) == 8
    for run in runs:
        about = read_json(run / "environment.json")["study"]
        assert (about["hash"], about["dataset"]) == (digest, "walks")
        assert digest in (run / "model" / "README.md").read_text()
    for name in ("report.html", "results.md", "results.tex"):
        assert digest in (finished / name).read_text(), name


def test_the_checklist_is_filled_from_records(finished: Path) -> None:
    answers = {entry["item"]: entry["answer"] for entry in results_of(finished)["checklist"]}
    assert answers["Did runs fail?"] == "no"
    assert "at most 2 trials per split; 2 epochs" in answers["Do all methods have the same budget?"]
    assert "torch" in answers["Which versions?"] and "cpu" in answers["Which machine?"]
    searched = answers["What was searched, and how?"]
    assert "popularity: nothing; ease: recommender.regularisation 1.0 or 100.0" in searched
    assert "train.rates.base from 0.001 to 0.01 (logarithmic); sampler random" in searched
    assert len(answers) >= 12 and all(answers.values())


def test_a_finished_study_is_read_and_not_run_again(
    small: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in copy.glob("runs/**/*.safetensors")}
    again = study(write_plan(tmp_path, small), copy, report=quiet)
    assert again == results_of(finished)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_study_that_was_killed_twice_has_the_results_of_one_that_was_not(
    small: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    plan, output = write_plan(tmp_path, small), tmp_path / "out"
    words = ["study", str(plan), "--output", str(output)]
    for checkpoint in ("id/trial-1/checkpoints", "id/trial-*-seed-2/checkpoints"):
        process = forked.start("models.__main__", words, log=tmp_path / "log")
        assert wait_for(lambda pattern=checkpoint: any((output / ARM).glob(f"{pattern}/step-*")))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (output / "results.json").exists()
    done = {path: path.read_text() for path in output.glob("runs/*/*/*/*.json") if is_over(path)}
    assert 4 <= len(done) < 8
    found = study(plan, output, report=quiet)
    assert without_time(found) == without_time(results_of(finished))
    changed = [path.name for path, text in done.items() if path.read_text() != text]
    assert changed == []
    for log in output.glob("runs/*/*/*/*/log.jsonl"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        epochs = [line["epoch"] for line in lines if "valid" in line]
        assert epochs == sorted(set(epochs)), log


def is_over(record: Path) -> bool:
    trial = read_trial(record)
    return trial is not None and trial.status != "started"


def wait_for(happens: Any, seconds: float = 600) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.005)
    return False


def test_a_change_after_the_first_result_is_refused_or_reported(
    small: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished, tmp_path / "out")
    plan = write_plan(tmp_path, {**small, "trials": 3})
    with pytest.raises(
        UserError, match=r"the plan has changed after 8 results, in trials; .*--amend"
    ):
        study(plan, copy, report=quiet)
    found = study(plan, copy, amend=True, report=quiet)
    (amendment,) = found["amendments"]
    assert amendment["changed"] == {"trials": [2, 3]} and amendment["results"] == 8
    assert amendment["from"] == results_of(finished)["hash"] and amendment["to"] == found["hash"]
    assert [len(method["trials"]) for method in found["methods"].values()] == [1, 2, 3]
    hashes = [trial["hash"] for trial in found["methods"]["id"]["trials"]]
    assert hashes == [amendment["from"], amendment["from"], amendment["to"]]
    for name in ("report.html", "results.md"):
        assert "after 8 results: trials from 2 to 3" in (copy / name).read_text()
    answers = {entry["item"]: entry["answer"] for entry in found["checklist"]}
    assert answers["Was the plan fixed before the results?"].startswith("no, it was amended")
    budget = answers["Do all methods have the same budget?"]
    assert budget.startswith("not for all runs, because trials changed")


def test_a_change_before_the_first_result_replaces_the_plan(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fix(read_plan(write_plan(tmp_path, small)), tmp_path / "out", amend=False)
    second = fix(
        read_plan(write_plan(tmp_path, {**small, "trials": 9})), tmp_path / "out", amend=False
    )
    assert first["hash"] != second["hash"] and second["amendments"] == []
    assert "before the first result" in capsys.readouterr().out


def test_states_that_were_encoded_again_are_refused(small: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the further seeds of a method would be trained on other inputs than the first."""

    def write(title: float) -> None:
        towers = {"title": np.full((ITEMS, 1, 4), title)}
        write_dataset(tmp_path / "data", walks(), items=ITEMS, towers=towers)

    write(1.0)
    plan = read_plan(write_plan(tmp_path, {**small, "datasets": {"walks": str(tmp_path / "data")}}))
    run, output = tmp_path / "out" / ARM / "id" / "trial-1", tmp_path / "out"
    fix(plan, output, amend=False)
    facts = describe_data(open_dataset(tmp_path / "data"), Reads(towers=("title",)))
    write_json(run / "environment.json", {"dataset": facts})
    fix(plan, output, amend=False)
    shutil.rmtree(tmp_path / "data")
    write(2.0)
    with pytest.raises(UserError, match=r"trial-1: was trained on other states of tower title"):
        fix(plan, output, amend=False)
    run.rename(run.with_suffix(".replaced-run"))
    fix(plan, output, amend=False)


def test_failed_runs_are_recorded_and_do_not_stop_the_study(
    small: dict[str, Any], tmp_path: Path
) -> None:
    """A rate of 1e30 diverges. One method has a trial without it, the other has none."""
    own = {"config": ["id"], "settings": {"train.batch_size": 64}}
    methods = {
        "some": {**own, "search": {"train.rates.base": [1e30, 1e-3]}},
        "none": {**own, "settings": {"train.rates.base": 1e30}},
    }
    content = {
        **small,
        "methods": methods,
        "seeds": [1],
        "epochs": 1,
        "protocols": ["paper", "cold"],
    }
    lines: list[str] = []
    found = study(write_plan(tmp_path, content), tmp_path / "out", report=lines.append)
    some, none = found["methods"]["some"], found["methods"]["none"]
    assert [trial["status"] for trial in some["trials"]] == ["failed", "finished"]
    assert "is not finite" in some["trials"][0]["message"]
    assert some["trials"][0]["value"] is None and list(some["metrics"]) == ["paper"]
    assert none["metrics"] == {} and none["seeds"] == []
    assert found["failed_methods"] == ["walks/leave-one-out/none"]
    assert found["datasets"]["walks"]["sensitivity"]["order"] == {"paper": ["some"]}
    assert "cold" in some["seeds"][0]["untestable"]  # every target of the walks was trained on
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No result of walks/leave-one-out/none: every run failed." in page
    assert any("failed: step" in line for line in lines)


class Dying:
    """An executor whose processes die."""

    def __init__(self) -> None:
        self.running: list[Task] = []

    def has_room(self) -> bool:
        return not self.running

    def start(self, task: Task) -> None:
        self.running.append(task)

    def wait(self) -> list[Ended]:
        return [Ended(self.running.pop(), "its process ended with status -9")]


def test_a_process_that_dies_is_a_failed_trial(small: dict[str, Any], tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path, small))
    arms = arms_of(plan, tmp_path / "out")
    run_all(arms, Dying(), quiet)
    trials = [trial for arm in arms for trial in arm.trials()]
    assert len(trials) == 5
    assert {(t.status, t.message) for t in trials} == {(FAILED, "its process ended with status -9")}


def test_options_of_a_cluster_without_one_are_refused(
    small: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--gpus-per-trial requires --executor ray"):
        study(write_plan(tmp_path, small), tmp_path / "out", gpus_per_trial=1)


def test_tested_runs_are_like_any_other_run(finished: Path) -> None:
    run = next(iter(sorted((finished / ARM / "id").glob("trial-*-seed-2"))))
    own = read_json(run / "metrics" / "test.json")
    assert evaluate(run, progress=False) == own


@pytest.fixture
def two_cores() -> Iterator[None]:
    ray_cluster = pytest.importorskip("toolkit.ray_cluster")
    ray = ray_cluster.import_ray(local=True)
    ray_cluster.start(num_cpus=2, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_a_cluster_has_the_results_of_processes(
    small: dict[str, Any], finished: Path, tmp_path: Path, two_cores: None
) -> None:
    found = study(write_plan(tmp_path, small), tmp_path / "out", executor="ray", report=quiet)
    assert without_time(found) == without_time(results_of(finished))


def test_a_folder_of_something_else_is_refused(
    small: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    """Nothing of a dataset, whose report.html has the name of the study's, and nothing of a file."""
    plan = write_plan(tmp_path, small)
    copy = shutil.copytree(dataset, tmp_path / "data")
    (copy / "report.html").write_text("of the dataset")
    before = sorted(copy.rglob("*"))
    with pytest.raises(UserError, match=r"data: holds .* but no study\.json: not a study"):
        study(plan, copy, report=quiet)
    assert sorted(copy.rglob("*")) == before
    with pytest.raises(UserError, match="is a file; choose a folder for the study"):
        study(plan, plan, report=quiet)
