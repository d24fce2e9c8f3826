"""Every notebook runs, defines no functions, and is committed without outputs."""

import html
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import models
from models.config import parse_run_config
from models.train import train
from prep import CaptionConfig, EncodeConfig, MediaConfig, PrepConfig, build
from toolkit import open_dataset

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FRAMES = 5  # of a clip, by default
GALLERY_ITEMS = 6
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


def execute(name: str, monkeypatch: pytest.MonkeyPatch, **environment: object) -> list[dict]:
    """Runs a notebook; what its cells show, by MIME type, in order."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    return [out["data"] for out in outputs if "data" in out]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert "def " not in cell.source


@pytest.mark.slow
def test_first_look_draws_and_trains(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shown = execute(
        "01_first_look.ipynb", monkeypatch, VERSA_DATASET=dataset, VERSA_RUN=run, VERSA_EPOCHS=2
    )
    pictures = [data for data in shown if "image/png" in data]
    assert len(pictures) == 3  # covers and frames, curves, recommendations
    assert (run / "metrics" / "test.json").exists()


@pytest.mark.slow
def test_scenarios_shows_captions_beside_pictures_and_ranks_as_the_test_did(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "text-only"
    what = ["--config=text-only", f"--data={dataset}", f"--output={there}", "--train.epochs=1"]
    train(parse_run_config(what))
    shown = execute(
        "02_scenarios.ipynb",
        monkeypatch,
        VERSA_DATASET=dataset,
        VERSA_RUNS=tmp_path,
        VERSA_EPOCHS=2,
    )
    assert len([data for data in shown if "image/png" in data]) == 1  # metrics with intervals
    tables = [data["text/html"] for data in shown if "text/html" in data]
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
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell that builds another library's matrix checks a row of it against the dataset itself."""
    shown = execute("03_hidden_states.ipynb", monkeypatch, VERSA_DATASET=dataset)
    assert len([data for data in shown if "image/png" in data]) == 2  # similarity, neighbours
    told = [data["text/plain"] for data in shown if set(data) == {"text/plain"}]
    items, width = open_dataset(dataset).items.num_rows, open_dataset(dataset).tower("cover").width
    assert f"({items}, {width})" in told[-2]  # what was exported
    assert told[-1] == f"({items + 1}, {width})"  # and with padding, as others want it


def framed(table: str) -> list[int]:
    """Which of a table's tiles have the frame, counted from 0."""
    borders = re.findall(r"border: 3px solid (\w+)", table)
    return [place for place, colour in enumerate(borders) if colour == "green"]
