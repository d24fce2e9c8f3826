"""Every command decides in the same way whether a dataset is the one that a run was trained on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

import models
from models import efficiency
from models.config import load_run_config, parse_run_config
from models.evaluate import evaluate
from models.export import export_items
from models.inputs.reads import Reads
from models.recommend import recommend
from models.report import report
from models.runs.identity import describe_data, differing_data
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json, write_json
from toolkit.store import Table

IDS = [f"i{number}" for number in range(1, ITEMS + 1)]
STATES = np.random.default_rng(5).normal(size=(ITEMS, 3, 16))
MADE = {"kept": "0,1,2", "quantize": "none", "processor": "FastOne"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, `data`, and a run of one epoch over its titles, `run`."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "data", walks(users=40), items=ITEMS)
    write_tower(data, "title", IDS, STATES, **MADE)
    set_tokens(data, 9)
    train(resumed(data, folder / "run"))
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of both; the run's config names the copy."""
    shutil.copytree(trained, tmp_path / "here")
    config = tmp_path / "here" / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path / "here")))
    return tmp_path / "here"


def resumed(data: Path, run: Path, *more: str) -> Any:
    words = ["--config=text-only", f"--data={data}", f"--output={run}", "--train.epochs=1"]
    return parse_run_config([*words, "--side.embedding_dim=8", "--train.trackers=[]", *more])


def set_tokens(data: Path, count: int) -> None:
    manifest = read_json(data / "dataset.json")
    steps = {"encode:title": {"config": {"max_tokens": count, "lowercase": False}}}
    write_json(data / "dataset.json", {**manifest, "steps": steps})


def rewrite(data: Path, states: np.ndarray, **about: str) -> None:
    shutil.rmtree(data / "states")
    write_tower(data, "title", IDS, states, **{**MADE, **about})


def change_interactions(data: Path) -> None:
    shutil.rmtree(data / "interactions")
    shutil.rmtree(data / "items")
    write_dataset(data, walks(users=40, seed=1), items=ITEMS)
    set_tokens(data, 9)


def one_value(data: Path) -> None:
    """As the same encoder with other weights, or a hand, leaves them: everything said of them stays."""
    states = STATES.copy()
    states[30, 1, 7] += 1
    rewrite(data, states)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "interactions": (change_interactions, r"trained on other interactions than .*data has now"),
    "states": (one_value, r"trained on other hidden states of tower title than .*data has now"),
    "max_tokens": (lambda data: set_tokens(data, 12), r"max_tokens=9, but .*data now has max_tokens=12"),
    "quantize": (lambda data: rewrite(data, STATES, quantize="4bit"), r"quantize=none, .* quantize=4bit"),
    "kept": (lambda data: rewrite(data, STATES, kept="0,2,4"), r"kept=0,1,2, .* now has kept=0,2,4"),
    "pooling": (lambda data: rewrite(data, STATES, pooling="mean"), r"pooling=cls, .*pooling=mean"),
    "processor": (lambda data: rewrite(data, STATES, processor="Slow"), r"processor=FastOne, .*Slow"),
    "captions": (lambda data: rewrite(data, STATES, captions="a 1"), r"captions=None, .*captions=a 1"),
}  # fmt: skip
ASKING: dict[str, Callable[[Path, Path], Any]] = {
    "train": lambda data, run: train(resumed(data, run, "--resume", "--train.epochs=2")),
    "evaluate": lambda data, run: evaluate(run, progress=False),
    "recommend": lambda data, run: recommend(run, users=["u1"], k=1),
    "export": lambda data, run: export_items(run, data.parent / "items.npy"),
    "report": lambda data, run: report([run], output=data.parent / "page.html", progress=False),
    "efficiency": lambda data, run: efficiency.efficiency([run], epochs=1, warmup=0),
    "load": lambda data, run: models.load(run),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_has_changed_is_named_and_nothing_is_written(copied: Path, change: str) -> None:
    data, run = copied / "data", copied / "run"
    before = {
        path: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }
    make, message = CHANGES[change]
    make(data)
    for asking in ASKING if change == "states" else ("train", "recommend"):
        with pytest.raises(UserError, match=message):
            ASKING[asking](data, run)
    assert {
        path: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    } == before
    assert sorted(path.name for path in copied.iterdir()) == ["data", "run"]


def test_shards_and_their_order_do_not_show(copied: Path) -> None:
    data = open_dataset(copied / "data")
    config = load_run_config(copied / "run" / "config.yaml")
    before = describe_data(data, config.reads)
    rows = Table(data.path / "states" / "title").read()
    shutil.rmtree(data.path / "states")
    parts = Table(data.path / "states" / "title", compression=None)
    for start in (40, 0, 20):
        parts.append(rows.slice(start, 20))
    assert describe_data(open_dataset(data.path), config.reads) == before
    swapped = rows.column("item").to_numpy().copy()
    swapped[[3, 4]] = swapped[[4, 3]]  # the same states, of other items
    shutil.rmtree(data.path / "states")
    Table(data.path / "states" / "title", compression=None).append(
        rows.set_column(1, rows.schema.field("item"), pa.array(swapped))
    )
    assert describe_data(open_dataset(data.path), config.reads) != before


def test_a_dataset_that_moved_is_the_same_once_it_is_named(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(copied / "data", moved)
    shutil.move(copied / "run", tmp_path / "ran")
    run = tmp_path / "ran"
    with pytest.raises(
        UserError, match=r"config\.yaml: data = .* if the dataset has moved, .*--data DATASET"
    ):
        models.load(run)
    before = read_json(run / "metrics" / "test.json")
    monkeypatch.chdir(tmp_path)
    assert evaluate(run, data="elsewhere", progress=False) == before
    facts = report([run], output=tmp_path / "page.html", data=moved, users=1, progress=False)
    assert facts["runs"][0]["metrics"] == before["metrics"]
    assert models.load(run, data=moved).recommend([["i1", "i2"]], k=3).num_rows == 3
    train(resumed(moved, run, "--resume", "--train.epochs=2"))
    assert read_json(run / "metrics" / "test.json")["users"] == before["users"]


def test_evaluate_measures_no_other_dataset(copied: Path, tmp_path: Path) -> None:
    other = shutil.copytree(copied / "data", tmp_path / "other")
    change_interactions(other)
    with pytest.raises(UserError, match="trained on other interactions"):
        evaluate(copied / "run", data=other, progress=False)
    assert models.load(copied / "run", data=other).recommend([["i1"]], k=3).num_rows == 3


def test_a_run_of_an_older_versa_is_opened_and_says_what_is_not_known(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied / "run"
    environment = read_json(run / "environment.json")
    told = environment["dataset"]
    old = {
        "items_sha256": told["items_sha256"],
        "tower title": "encoder=random, revision=0, kept=0,1,2, pooling=cls, source=title",
    }
    write_json(run / "environment.json", {**environment, "dataset": old})
    models.load(run)
    error = capsys.readouterr().err
    assert (
        "did not record checksums of interactions, tower title hidden states; cannot check" in error
    )
    rewrite(copied / "data", STATES, encoder="another")
    with pytest.raises(UserError, match=r"tower title=encoder=random, .*title=encoder=another"):
        models.load(run)


def test_what_a_live_encoder_reads_belongs_to_a_run_that_is_live(copied: Path) -> None:
    data, config = copied / "data", load_run_config(copied / "run" / "config.yaml")
    before = describe_data(open_dataset(data), Reads(towers=config.towers, states="live"))
    assert "tower title source_sha256" in before and "tower title states_sha256" not in before
    one_value(data)
    assert describe_data(open_dataset(data), Reads(towers=config.towers, states="live")) == before
    items = Table(data / "items").read()
    titles = [*items.column("title").to_pylist()[:-1], "another title"]
    field = items.schema.field("title")
    Table(data / "items").replace(0, items.set_column(2, field, pa.array(titles)))
    assert describe_data(open_dataset(data), Reads(towers=config.towers, states="live")) != before


def test_runs_over_other_towers_are_of_the_same_data() -> None:
    one = {"items_sha256": "1", "interactions_sha256": "2", "tower title encoder": "a"}
    assert differing_data(one, {**one, "tower title encoder": "b"}) == []
    assert differing_data(one, {"items_sha256": "1"}) == []  # an older Versa's
    assert differing_data(one, {**one, "interactions_sha256": "3"}) == ["interactions"]


def test_a_run_of_ids_reads_no_towers_and_nothing_says_so(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "id"
    train(resumed(copied / "data", run, "--item=id"))
    assert "item id reads no towers: towers ['title'] are ignored" in capsys.readouterr().err
    assert load_run_config(run / "config.yaml").towers == []
    assert [key for key in read_json(run / "environment.json")["dataset"] if "title" in key] == []
    assert "## Towers" not in (run / "model" / "README.md").read_text()
    text = (run / "config.yaml").read_text().replace("towers: []", "towers: [title]")
    (run / "config.yaml").write_text(text)  # as an older Versa left it
    rewrite(copied / "data", STATES, encoder="another")
    facts = report([run], output=tmp_path / "page.html", users=1, progress=False)
    assert facts["runs"][0]["towers"] == {} and facts["runs"][0]["settings"]["towers"] == []
