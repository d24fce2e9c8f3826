"""The studies that come with Versa: their plans, their rows in the guide, and a rehearsal of each at toy size.

A rehearsal runs a study from its file to its report, with the method that has the most settings, on a generated dataset with
tiny encoders.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from documents import ROOT
from tiny_dataset import walks, write_captions, write_covers, write_dataset, write_tower
from tiny_encoders import jpegs

from benchmarks.smaller import small, source_of, write_small
from models.config import parse_run_config
from models.study import reading, study
from models.study.executors import Ended
from models.study.plan import Method, Plan
from models.study.reading import read_plan, studies
from models.study.trials import Task, work
from models.train import train
from prep.steps import manifest
from toolkit import schema
from toolkit.store import Table

ITEMS, USERS, FRAMES = 24, 40, 4
TEXTS = ("title", "title_large", "title_cls", "title_mean", "image_caption", "video_caption")
SOURCES = ("cover", "frames", "image_caption", "video_caption")  # the other towers read titles
# Keys whose values the parser takes as they are: methods that differ only in these are one shape.
FREE = ("encoder", "batch_size")


def shape_of(method: Method) -> str:
    """The presets, settings and searched keys of a method, without the values that nothing checks."""
    settings = {
        key: value for key, value in method.settings.items() if key.rpartition(".")[2] not in FREE
    }
    return json.dumps([method.config, settings, sorted(method.search)])


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    """The plans by name of the study; no method is parsed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_check_method", lambda plan, name, path: None)
        return {name: read_plan(name) for name in studies()}


def test_studies_are_valid_and_have_three_seeds(plans: dict[str, Plan]) -> None:
    """One method of each shape is parsed."""
    seen: set[str] = set()
    for study_name, plan in plans.items():
        assert plan.trials >= 1 and len(plan.seeds) == 3 and plan.protocols, study_name
        for name, method in plan.methods.items():
            if shape_of(method) not in seen:
                seen.add(shape_of(method))
                reading._check_method(plan, name, Path(study_name))


GUIDE = ROOT / "docs" / "guides" / "papers"
TABLE = re.compile(r"<!-- study: ([\w-]+)(, without options)? -->\n.*\n\|[-|]+\|\n((?:\|.*\n)+)")


def test_the_rows_of_the_guide_are_the_methods_of_the_studies(plans: dict[str, Plan]) -> None:
    described = set()
    for page in sorted(GUIDE.glob("*.md")):
        for name, without_options, rows in TABLE.findall(page.read_text(encoding="utf-8")):
            described.add(name)
            methods = plans[name].methods
            codes = [re.findall("`([^`]+)`", row) for row in rows.splitlines()]
            if without_options:
                assert sorted(code for row in codes for code in row) == sorted(methods), page
                continue
            assert [method for method, *_ in codes] == list(methods), page
            for method, options, *_ in codes:
                own = methods[method]
                assert read_options(options) == (own.config, comparable(own.settings)), (
                    page,
                    method,
                )
    assert described == set(plans) - {"demo", "scientific"}


def read_options(text: str) -> tuple[list[str], dict[str, Any]]:
    """The presets of a command line and its other options, by dotted key."""
    words = shlex.split(text)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    presets = [value for option, value in pairs if option == "--config"]
    nested = {option[2:]: yaml.safe_load(value) for option, value in pairs if option != "--config"}
    return presets, comparable(reading._flat(nested))


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings whose numbers are floats; YAML takes 1e-4 as text, the parser does not."""
    return {key: number(value) for key, value in settings.items()}


def number(value: Any) -> Any:
    """A float, if the value is a number or its text."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes methods small (`benchmarks.smaller`)."""
    folder = tmp_path_factory.mktemp("small")
    write_small(folder, [*"0123456789", *(f"##{digit}" for digit in "0123456789"), "title"])
    return folder


@pytest.fixture(scope="module")
def data(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All content that a study reads: titles, covers, frames, captions, and states of each."""
    folder = write_dataset(
        tmp_path_factory.mktemp("papers") / "data", walks(users=USERS, items=ITEMS), items=ITEMS
    )
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    images = jpegs(0, ITEMS)
    write_covers(folder, dict(zip(ids, images, strict=True)))
    absent = dict.fromkeys(schema.FRAMES.names)
    clips = [{**absent, "item_id": id_, "status": "ok", "frames": [image] * FRAMES}
             for id_, image in zip(ids, images, strict=True)]  # fmt: skip
    Table(folder / "frames").append(pa.Table.from_pylist(clips, schema=schema.FRAMES))
    manifest.record_step(folder, "frames", {"frame_count": FRAMES})
    random = np.random.default_rng(0)
    for name in (*TEXTS, "cover", "frames"):
        modality, kind = ("text", "bert") if name in TEXTS else ("image", "vit")
        states = random.normal(size=(ITEMS, 4, 24 if name == "title_large" else 32))
        encoder, source = str(tiny / kind), name if name in SOURCES else "title"
        write_tower(folder, name, ids, states, encoder=encoder, modality=modality, source=source)
    for name in ("image_caption", "video_caption"):
        write_captions(folder, name, dict.fromkeys(ids, "1 2"))
    return folder


class InThisProcess:
    """An executor without processes."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.started: list[Task] = []

    def has_room(self) -> bool:
        return not self.started

    def start(self, task: Task) -> None:
        self.started.append(task)

    def wait(self) -> list[Ended]:
        task = self.started.pop()
        work(task, self.metric, 0)
        return [Ended(task, "")]


@contextmanager
def in_this_process(name: str, *, metric: str, **options: Any) -> Iterator[InThisProcess]:
    """Replaces `models.study.executors.executing`."""
    yield InThisProcess(metric)


@pytest.mark.parametrize("name", studies())
def test_a_study_runs_at_toy_size(
    name: str,
    plans: dict[str, Plan],
    data: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plans[name]
    key = max(plan.methods, key=lambda key: len(plan.methods[key].settings))
    method = small(plan.methods[key], tiny)
    rehearsal = {**vars(plan), "datasets": {"toy": str(data)}, "protocols": plan.protocols[:1],
             "methods": {key: vars(method)}, "trials": 1, "seeds": [1], "epochs": 1}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if "init_from" in method.settings:
        write_source(small(source_of(plan.methods[key]), tiny), method.settings["init_from"], data)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(rehearsal, sort_keys=False))
    monkeypatch.setattr(import_module("models.study.study"), "executing", in_this_process)
    results = study("study.yaml", "out", report=lambda line: None)
    found = results["methods"][key]
    messages = [trial["message"] for trial in found["trials"]]
    assert [trial["status"] for trial in found["trials"]] == ["finished"], messages
    assert 0 <= found["metrics"][plan.protocol_names[0]][plan.metric]["value"] <= 1
    assert (tmp_path / "out" / "report.html").is_file()


def write_source(method: Method, source: str, data: Path) -> None:
    """The run that a method begins with, untrained."""
    words = Plan({}, [], {"source": method}, epochs=0).words("source", {})
    train(parse_run_config([*words, f"--data={data}", f"--output={source}"]))
