"""Every notebook runs, defines no functions, and is committed without outputs."""

import html
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

import models
from models.compare import compare
from models.config import parse_run_config
from models.ranking.ranks import rank_targets
from models.train import train
from prep import CaptionConfig, EncodeConfig, MediaConfig, PrepConfig, build
from toolkit import Dataset, metrics, open_dataset

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FRAMES = 5  # of a clip, by default
GALLERY_ITEMS = 6
# Forgets the notebook before, but for its imports. Processes that measure are forks of one that has imported torch.
BEGIN = """%reset -f
__spec__ = None  # of __main__, which processes that it starts ask for
import os, tempfile
[os.environ.pop(name) for name in [*os.environ] if name.startswith("VERSA_")]
os.environ.update({variables})
tempfile.tempdir = None
import forked, models.efficiency
models.efficiency.get_context = lambda method, forking=forked.CONTEXT: forking
del os, tempfile, forked, models
"""
VLM = "package:prep/synth/tiny_vlm"
SCENARIOS = {
    "text-only": ["title"],
    "raw-image": ["title", "cover"],
    "image-caption": ["title", "image_caption"],
    "video-caption": ["title", "video_caption"],
}

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the Jupyter client


@pytest.fixture(scope="module")
def dataset(
    synth_dump: Path, tiny_bert: Path, tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All that the notebooks read, captions by the bundled model included."""
    folder = tmp_path_factory.mktemp("notebooks") / "dataset"
    text = EncodeConfig(encoder=str(tiny_bert), pooling="mean")
    cover = CaptionConfig(model=VLM, max_new_tokens=24)
    config = PrepConfig(
        media=MediaConfig(workers=1),
        caption={"image_caption": cover, "video_caption": replace(cover, source="frames")},
        encode={
            "title": text,
            "image_caption": replace(text, source="image_caption"),
            "video_caption": replace(text, source="video_caption"),
            "cover": EncodeConfig(encoder=str(tiny_vit), source="cover"),
        },
    )
    build(synth_dump, folder, config)
    return folder


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """The process that runs all notebooks, one after the other: each of its own would import torch for seconds."""
    manager = AsyncKernelManager()
    with pytest.MonkeyPatch.context() as patch:
        here = (FOLDER.parent, Path(__file__).parent)  # this tree, whichever is installed
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, here)))
        run_sync(manager.start_kernel)(cwd=str(FOLDER))
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


def execute(name: str, kernel: AsyncKernelManager, **environment: object) -> list[dict]:
    """Runs a notebook; its code cells, with what they show."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    variables = {k: v for k, v in os.environ.items() if k.startswith("VERSA_")}  # of all tests
    variables |= {variable: str(value) for variable, value in environment.items()}
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN.format(variables=variables)))
    client = NotebookClient(notebook, km=kernel, timeout=300)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    cells = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    assert "Warning" not in said(cells)
    return cells


def outputs(cells: list[dict]) -> list[dict]:
    """What cells show, by MIME type, in order."""
    return [out["data"] for cell in cells for out in cell["outputs"] if "data" in out]


def shown(cells: list[dict], kind: str) -> list[str]:
    """What cells show of one MIME type."""
    return [one[kind] for one in outputs(cells) if kind in one]


def said(cells: list[dict]) -> str:
    """What cells print."""
    return "".join(out["text"] for cell in cells for out in cell["outputs"] if "text" in out)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert "def " not in cell.source


@pytest.mark.slow
def test_first_look_draws_and_trains(
    dataset: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    run = tmp_path / "run"
    cells = execute(
        "01_first_look.ipynb", kernel, VERSA_DATASET=dataset, VERSA_RUN=run, VERSA_EPOCHS=2
    )
    # Covers and frames, curves, recommendations.
    assert len(shown(cells, "image/png")) == 3
    assert (run / "metrics" / "test.json").exists()


@pytest.mark.slow
def test_scenarios_shows_captions_beside_pictures_and_ranks_as_the_test_did(
    dataset: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    there = tmp_path / "text-only"
    what = ["--config=text-only", f"--data={dataset}", f"--output={there}", "--train.epochs=1"]
    train(parse_run_config(what))
    cells = execute(
        "02_scenarios.ipynb",
        kernel,
        VERSA_DATASET=dataset,
        VERSA_RUNS=tmp_path,
        VERSA_EPOCHS=2,
    )
    assert len(shown(cells, "image/png")) == 1  # metrics with intervals
    tables = shown(cells, "text/html")
    gallery, watched, recommended = [table for table in tables if "<img" in table]

    data = open_dataset(dataset)
    assert gallery.count("<img") == GALLERY_ITEMS * (1 + FRAMES)
    for source in ("title", "image_caption", "video_caption"):
        assert data.source(source)[0].as_py() in html.unescape(gallery)

    trained = {name: models.load(tmp_path / name).config for name in SCENARIOS}
    assert {name: config.towers for name, config in trained.items()} == SCENARIOS
    assert [config.train.epochs for config in trained.values()] == [
        1,
        2,
        2,
        2,
    ]  # the first was there

    assert framed(watched) == [watched.count("<img") - 1]  # what came next stands last
    best = recommended.split("<tr>")[
        -1
    ]  # that of video-caption, under which no two items are alike
    assert framed(best) == [int(re.findall(r"rank (\d+)", best)[0]) - 1]


@pytest.mark.slow
def test_hidden_states_draws_neighbours_and_exports_every_item(
    dataset: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    """The cell that builds another library's matrix checks a row of it against the dataset itself."""
    run = tmp_path / "run"
    what = ["--config=raw-image", f"--data={dataset}", f"--output={run}", "--train.epochs=1"]
    train(parse_run_config(what))
    cells = execute("03_hidden_states.ipynb", kernel, VERSA_DATASET=dataset, VERSA_RUN=run)
    # Similarity, neighbours, what layers know, gates, what would be missed.
    assert len(shown(cells, "image/png")) == 5
    data = open_dataset(dataset)
    printed = said(cells)
    of_all, of_nearest = share_users(data, "cover", 2)
    assert f"all others, {of_all:.1%} were also taken" in printed
    lift = shown(cells, "text/html")[-1].split("<tr>")[-2]  # row 2 of 0 to 3; covers come first
    assert re.findall(r"<td>(.+)</td>", lift)[0] == f"{of_nearest / of_all:.2f}"
    trained = models.load(run)
    valid = rank_targets(trained.model, trained.catalogue, trained.splits.valid)
    assert f"everything in place: {100 * metrics.ndcg(valid, 10).mean():.2f} %" in printed

    told = [one["text/plain"] for one in outputs(cells) if set(one) == {"text/plain"}]
    items, width = data.items.num_rows, data.tower("cover").width
    assert f"({items}, {width})" in told[-2]  # what was exported
    assert told[-1] == f"({items + 1}, {width})"  # and with padding, as others want it


@pytest.mark.slow
def test_train_and_compare_tells_what_the_commands_tell(
    dataset: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    cells = execute(
        "04_train_and_compare.ipynb",
        kernel,
        VERSA_DATASET=dataset,
        VERSA_RUNS=tmp_path,
        VERSA_EPOCHS=1,
    )
    folders = [tmp_path / name for name in ("raw-image", "seed-2", "intra", "text-only", "id")]
    configs = [models.load(folder).config for folder in folders]
    assert [config.train.seed for config in configs] == [1, 2, 1, 1, 1]
    assert [config.side.parts for config in configs] == ["both", "both", "intra", "both", "both"]
    assert [config.item for config in configs] == [*["side-network"] * 4, "id"]

    assert len(shown(cells, "image/png")) == 3  # curves, cost against worth, who has it better
    tested, cost = shown(cells, "text/markdown")
    assert tested == compare(folders).show("markdown")
    for folder in (folders[0], folders[2], folders[3]):
        parameters = sum(p.numel() for p in models.load(folder).model.parameters())
        assert re.search(rf"{re.escape(str(folder))} .*\| {parameters:,} +\|", cost)

    numbers = re.findall(r"<td>(\d+)</td>", shown(cells, "text/html")[0])
    sizes = map(int, numbers[2::3])  # after least and most
    assert sum(sizes) == len(models.load(folders[0]).splits.user_ids)  # each in one group


@pytest.mark.slow
def test_bring_your_own_data_finds_what_was_broken_and_trains_on_the_features(
    synth_dump: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    cells = execute(
        "05_bring_your_own_data.ipynb",
        kernel,
        VERSA_DUMP=synth_dump,
        VERSA_EPOCHS=1,
        TMPDIR=tmp_path,
    )
    (work,) = tmp_path.glob("versa-*")
    assert "no file has the columns 'customer' (user), 'sku' (item)" in said(cells)
    data, theirs = open_dataset(work / "dataset"), pd.read_csv(next(synth_dump.glob("*_pairs.csv")))
    assert data.items.num_rows == len(list((synth_dump / "covers").iterdir()))
    assert data.interactions.num_rows == len(theirs) + 1  # the order that was booked twice
    broken = data.errors.to_pandas().query("error_class != 'too_few_interactions'")
    assert sorted(zip(broken["step"], broken["error_class"], strict=True)) == [
        ("covers", "corrupt"),
        ("covers", "missing"),
        *[(f"encode:{tower}", "missing") for tower in ("cover", "hues") for _ in range(2)],
        ("ingest", "duplicate_id"),
        ("ingest", "unknown_item"),
    ]
    hues = data.states("hues")[1:, 0].float()
    assert hues.shape == (data.items.num_rows, 24)
    assert sorted(hues.sum(dim=1).round(decimals=2).tolist())[:3] == [0, 0, 1]  # shares; two lack

    verdict = json.loads((work / "dataset" / "report.json").read_text())["verdict"]
    html_shown = shown(cells, "text/html")
    assert any(html.escape(verdict[0]["what"]) in table for table in html_shown)
    runs = [work / name for name in ("title", "title and hues", "title and cover")]
    assert shown(cells, "text/markdown") == [compare(runs).show("markdown")]
    assert models.load(runs[1]).config.towers == ["title", "hues"]
    recommended = models.load(runs[2]).recommend([data.item_ids.ids[5:8]], k=6)
    assert all(id_ in html_shown[-2] for id_ in recommended["item_id"].to_pylist())


def share_users(data: Dataset, tower: str, state: int) -> tuple[float, float]:
    """How many pairs of items have a user in common in training: of all, and of each with its ten nearest."""
    histories = [set(row[row > 0].tolist()) for row in data.splits().train]
    together = {pair for history in histories for pair in combinations(sorted(history), 2)}
    known = sorted(set().union(*histories))
    vectors = data.states(tower)[known, state].double().numpy()
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hits = 0
    for item, likeness in zip(known, vectors @ vectors.T, strict=True):
        nearest = sorted(zip(-likeness, known, strict=True))
        others = [other for _, other in nearest if other != item][:10]
        hits += sum((min(item, other), max(item, other)) in together for other in others)
    return len(together) / (len(known) * (len(known) - 1) / 2), hits / (10 * len(known))


def framed(table: str) -> list[int]:
    """Which of a table's tiles have the frame, counted from 0."""
    borders = re.findall(r"border: 3px solid (\w+)", table)
    return [place for place, colour in enumerate(borders) if colour == "green"]
