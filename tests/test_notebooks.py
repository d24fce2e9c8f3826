"""Every notebook runs, defines no functions, and is committed without outputs."""

import html
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from circle import PLACES, states
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from tiny_dataset import write_dataset
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

import models
from models.compare import compare
from models.config import parse_run_config
from models.facial.face import WholePicture
from models.facial.inference import load_trained
from models.facial.stored import read_test
from models.ranking.ranks import rank_targets
from models.train import train
from prep import CaptionConfig, EncodeConfig, MediaConfig, PrepConfig, build
from prep import audit as audit_of
from toolkit import Dataset, metrics, open_dataset
from toolkit.faces import open_faces
from toolkit.facs import facs
from toolkit.images import decode_jpeg
from toolkit.significance import paired_test

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
# A network of faces over 32 pixels, whose texts have words after a few seconds.
TINY_FACES = """
backbone: {architecture: {model_type: resnet, layer_type: basic, embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1]}}
view: {resize_px: 36, crop_px: 32, jitter: 0.0}
network: {width: 32, grid_stage: 2, reduction: 4, kernel: 3, shared_decoder: true, decoder_layers: 1, decoder_heads: 2,
  decoder_dropout: 0.0, told_states: 1.0}
train: {batch_size: 8, rates: {backbone: 1.0e-2, base: 1.0e-2}}
"""
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
    process = manager.provisioner.process
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)
    process.wait()  # shutdown waits five seconds at most, and a process of 2 GB may take longer to end


def execute(
    name: str, kernel: AsyncKernelManager, *, stop: str = "", **environment: object
) -> list[dict]:
    """Runs a notebook, or the part before the heading `stop`; its code cells, with what they show."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    if stop:
        (end,) = [i for i, cell in enumerate(notebook.cells) if cell.source.startswith(f"{stop}\n")]
        del notebook.cells[end:]
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


@pytest.mark.slow
def test_adapt_an_encoder_measures_what_changed_in_its_layers(
    dataset: Path, tiny_bert: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    recipe = tmp_path / "recipe.yaml"  # few steps, which move weights far
    recipe.write_text("train: {batch_size: 16, rates: {base: 1.0e-3, text_encoder: 1.0e-2}}")
    cells = execute(
        "06_adapt_an_encoder.ipynb",
        kernel,
        VERSA_RECIPE=recipe,
        VERSA_DATASET=dataset,
        VERSA_RUNS=tmp_path,
        VERSA_TOWER="title",
        VERSA_EPOCHS=2,
        TMPDIR=tmp_path,
    )
    folders = {name: tmp_path / name for name in ("frozen", "lora", "full")}
    runs = {name: models.load(folder) for name, folder in folders.items()}
    assert [run.config.adapt for run in runs.values()] == [*folders]
    assert len(shown(cells, "image/png")) == 2  # quality by cost; layers
    tested, cost = shown(cells, "text/markdown")
    assert tested == compare([*folders.values()]).show("markdown")

    # What trains: LoRA's A and B beside query and value, and all that the outputs depend on.
    original = load_file(tiny_bert / "model.safetensors")
    rank, width, layers = 8, 16, 3
    trainable = {
        name: int(
            re.search(rf"{re.escape(str(path))} .*?\| ([\d,]+) +\|", cost)[1].replace(",", "")
        )
        for name, path in folders.items()
    }
    assert trainable["lora"] - trainable["frozen"] == layers * 2 * 2 * rank * width
    reached = sum(x.numel() for name, x in original.items() if not name.startswith("pooler"))
    assert trainable["full"] - trainable["frozen"] == reached

    # Weights: of LoRA, (alpha / rank) B A by itself, over the norm of the whole layer.
    *_, change, strongest, alike = map(table, shown(cells, "text/html"))
    assert (
        set(change["frozen"].values()) == {"0.0000%"} and change["lora"]["embeddings"] == "0.0000%"
    )
    factors = dict(runs["lora"].model.named_parameters())
    for layer in range(layers):
        products = [
            (16 / rank) * factors[name.replace("lora_A", "lora_B")] @ x
            for name, x in factors.items()
            if f".layer.{layer}." in name and "lora_A" in name
        ]
        assert len(products) == 2
        before = [x for name, x in original.items() if f".layer.{layer}." in name]
        expected = (square(products) / square(before)) ** 0.5
        assert float(change["lora"][str(layer)][:-1]) == pytest.approx(100 * expected, rel=1e-2)
        assert float(change["full"][str(layer)][:-1]) > 0
    share = strongest["share of the 8 strongest directions"]
    assert (share["frozen"], share["lora"]) == ("", "100.0%") and float(share["full"][:-1]) < 100

    # States: as transformers computes them from the exported folder, compared by their Gram matrices.
    (exported,) = tmp_path.glob("versa-*/full")
    titles = open_dataset(dataset).source("title").to_pylist()
    first, last = (mean_states(folder, titles) for folder in (tiny_bert, exported))
    for layer, state in enumerate(map(str, range(layers + 1))):
        expected = gram_alignment(first[:, layer], last[:, layer])
        assert float(alike["full"][state]) == pytest.approx(expected, abs=2e-4)
        assert alike["frozen"][state] == "1.0000"  # nothing changed
        assert float(alike["permuted"][state]) < float(alike["full"][state]) + 0.1
        assert float(alike["lora"][state]) > 0.99
    assert float(alike["full"][str(layers)]) < 0.99


@pytest.mark.slow
def test_transfer_helps_where_the_source_means_something_and_only_there(
    tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    write_platform(source, seed=1, users=300)
    write_platform(target, seed=2, users=150)
    cells = execute(
        "07_transfer.ipynb",
        kernel,
        VERSA_SOURCE=source,
        VERSA_TARGET=target,
        VERSA_TOWERS="[title]",
        VERSA_WORK=tmp_path / "work",
        VERSA_EPOCHS=8,
    )
    runs = tmp_path / "work" / "runs"
    few = [runs / f"{method} 10%" for method in ("new", "transferred", "control")]
    assert shown(cells, "text/markdown") == [compare(few).show("markdown")]
    assert len(shown(cells, "image/png")) == 1  # curves; there are no covers
    sizes, curves, taken, drift = map(table, shown(cells, "text/html"))
    assert sizes["source"]["items"] == "48" and sizes["source"]["item ids in common"] == "0"

    # Zero-shot, from the source's own weights and the target's own splits.
    there = models.load(runs / "source", data=target)
    test = open_dataset(target).splits().test
    ndcg = 100 * metrics.ndcg(rank_targets(there.model, there.catalogue_of(test), test), 10).mean()
    assert float(curves["value"]["zero-shot"]) == pytest.approx(ndcg, abs=0.006)
    value = {name: float(text) for name, text in curves["value"].items()}
    chance = 100 * metrics.ndcg(np.arange(1, 11), 10).sum() / 48
    assert value["zero-shot"] > 3 * chance
    gains = [metrics.ndcg(pd.read_feather(run / "ranks" / "test.arrow")["rank"], 10) for run in few]
    assert paired_test(gains[0], gains[1]).low > 0 > paired_test(gains[1], gains[2]).high

    tensors = [load_file(run / "model" / "model.safetensors") for run in (runs / "source", few[1])]
    assert int(taken["values"]["title"].replace(",", "")) == sum(
        x.numel() for name, x in tensors[0].items() if name.startswith("item_encoder.heads.title.")
    )
    before, after = (
        [x for name, x in sorted(one.items()) if name.startswith("sequence_encoder.")] for one in tensors
    )  # fmt: skip
    moved = (square([b - a for a, b in zip(before, after, strict=True)]) / square(before)) ** 0.5
    assert float(drift["10% of users"]["sequence"][:-1]) == pytest.approx(100 * moved, abs=0.06)


@pytest.mark.slow
def test_transfer_draws_two_platforms_if_there_are_none(
    tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    work = tmp_path / "work"
    sizes = "[[20, 60], [22, 50]]"
    cells = execute(
        "07_transfer.ipynb", kernel, stop="## Train", VERSA_WORK=work, VERSA_SIZES=sizes
    )
    assert len(shown(cells, "image/png")) == 1  # covers of both
    data = [open_dataset(work / name) for name in ("source", "target", "permuted")]
    assert [one.items.num_rows for one in data] == [20, 22, 20]
    counts = [sorted(one.splits().train_counts.tolist()) for one in (data[0], data[2])]
    assert counts[0] == counts[1]  # popularity stays
    assert data[0].states("cover").equal(data[2].states("cover"))
    assert not data[0].interactions["item"].equals(data[2].interactions["item"])


@pytest.mark.slow
def test_faces_are_predicted_explained_and_described_as_the_test_did(
    tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    preset = tmp_path / "tiny.yaml"
    preset.write_text(TINY_FACES)
    cells = execute(
        "08_faces.ipynb",
        kernel,
        VERSA_WORK=tmp_path,
        VERSA_SIZES='{"subjects": 6, "frames": 8, "items": 20, "users": 60}',
        VERSA_FACE_PRESET=preset,
        VERSA_FACE_EPOCHS=15,
        VERSA_EPOCHS=1,
    )
    # Faces, F1, the clip, maps, their heights, calibration, captions beside frames, recommendations.
    assert len(shown(cells, "image/png")) == 8
    run = tmp_path / "runs" / "vl-fau"
    test, printed = read_test(run), said(cells)
    rates, predicted, agreed, texts, thresholds = map(table, shown(cells, "text/html"))
    data = open_faces(tmp_path / "faces")
    assert float(rates["active in fold 1"]["AU12"]) == pytest.approx(
        data.labels[data.folds == 1, data.units.index(12)].mean(), abs=0.006
    )

    # F1 by scikit-learn, and the expected calibration error bin by bin.
    active = test.logits >= 0
    f1 = np.mean(
        [f1_score(y, p, zero_division=0) for y, p in zip(test.labels.T, active.T, strict=True)]
    )
    assert any(f"F1, mean over AUs {f1:.3f} [" in " ".join(text.split()) for text in plain(cells))
    assert float(thresholds["value"]["at 0.5"]) == pytest.approx(f1, abs=6e-4)
    errors = []
    for p, y in zip(test.probabilities.T, test.labels.T, strict=True):
        bins = np.minimum((p * 15).astype(int), 14)
        errors.append(sum(abs((p - y)[bins == one].sum()) for one in range(15)) / len(p))
    assert f"with temperatures {np.mean(errors):.3f}" in printed

    # Pictures in a folder are predicted as those of the dataset were.
    assert len(predicted["AU12_p"]) == 4
    for path, probability in predicted["AU12_p"].items():
        (place,) = [
            i
            for i, name in enumerate(test.item_ids)
            if Path(path).stem[7:] in name.replace("/", "-")
        ]
        expected = test.probabilities[place, test.aus.index(12)]
        assert float(probability) == pytest.approx(expected, abs=0.006)

    # Each text states one state of its own AU alone, or it does not agree.
    phrases = {au: (unit.inactive, unit.active) for au, unit in facs().units.items()}
    right = [
        [(au, state) for au, pair in phrases.items() for state in (0, 1) if pair[state] in text]
        == [(test.aus[column], int(active[row, column]))]
        for row, of_face in enumerate(test.au_texts)
        for column, text in enumerate(of_face)
    ]
    assert (
        agreed["share"]["texts about an AU that state its predicted state"]
        == f"{np.mean(right):.1%}"
    )
    assert set(texts["labels"].values()) <= {
        facs().face_text(np.array(test.aus)[row == 1]) for row in test.labels
    }

    # Attention, from the pictures themselves.
    trained = load_trained(run)
    pixels = [
        trained.record.view.plain(decode_jpeg(data.table["image"][row].as_py()))
        for row in data.rows(1, "test").tolist()
    ]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        of_rows = trained.network(images).attention.mean(dim=(0, 3))
    height = (
        (of_rows * (torch.arange(of_rows.shape[1]) + 0.5)).sum(1)
        / of_rows.sum(1)
        / of_rows.shape[1]
    )
    upper = torch.tensor(trained.aus) <= 7
    means = f"upper-face AUs {height[upper].mean():.3f}, lower-face AUs {height[~upper].mean():.3f}"
    assert means in printed

    # Captions: the most frequent text of the frames; the control is the same texts.
    dataset = open_dataset(tmp_path / "dataset")
    captions, shuffled = (
        [text or "" for text in dataset.captions(name)["text"].to_pylist()]
        for name in ("face_caption", "shuffled_caption")
    )
    assert any(captions)
    frames = dataset.source("frames")[0].as_py()
    of_frames = trained.predict(np.stack([trained.recipe.without_margin().crop(x, WholePicture().faces(x)[0]) for x in map(decode_jpeg, frames)])).face_texts  # fmt: skip
    assert captions[0] == Counter(of_frames).most_common(1)[0][0]
    assert sorted(shuffled) == sorted(captions)
    runs = [tmp_path / "runs" / name for name in ("title", "face", "shuffled")]
    assert shown(cells, "text/markdown") == [compare(runs).show("markdown")]
    towers = [["title"], ["title", "face_caption"], ["title", "shuffled_caption"]]
    assert [models.load(run).config.towers for run in runs] == towers


@pytest.mark.slow
def test_is_my_dataset_fit_finds_planted_faults_and_measures_every_protocol(
    dataset: Path, tmp_path: Path, kernel: AsyncKernelManager
) -> None:
    cells = execute(
        "09_is_my_dataset_fit.ipynb",
        kernel,
        VERSA_DATASET=dataset,
        VERSA_RUNS=tmp_path / "runs",
        VERSA_EPOCHS=1,
        TMPDIR=tmp_path,
    )
    assert len(shown(cells, "image/png")) == 3  # times, popularity, protocols
    audit, printed, data = audit_of(dataset), said(cells), open_dataset(dataset)
    assert audit["verdict"]["line"] in printed

    # Leakage and drift, pair by pair.
    log = data.interactions.to_pandas()
    last = log.groupby("user_id")["timestamp_ms"].max()[log.groupby("user_id").size() >= 5]
    later = np.mean([(log["timestamp_ms"] > time).mean() for time in last])
    assert f"mean {later:.4f}; the audit: {later:.4f}" in printed
    kept = log[log["user_id"].isin(last.index)].sort_values("timestamp_ms")
    assert kept["timestamp_ms"].is_unique  # so tenths are tenths of the rows
    ordered = kept["item"].tolist()
    early, late = ordered[: int(0.1 * len(ordered))], ordered[int(0.9 * len(ordered)) :]
    variation = sum(
        abs(early.count(item) / len(early) - late.count(item) / len(late)) for item in {*ordered}
    ) / 2  # fmt: skip
    assert f"total variation {variation:.3f}; the audit: {variation:.3f}" in printed

    tables = [table(one) for one in shown(cells, "text/html")]
    findings, order, copies, titles, planted, values, places, sampled, slices = tables
    assert [*findings["what"]] == [*dict.fromkeys(finding["kind"] for finding in audit["findings"])]
    assert order["value"]["at the same time"] == f"{audit['ties']['share']:.1%}"
    by_title = Counter(data.items["title"].to_pylist())
    assert int(copies["with a near-equal"]["titles"]) == sum(n for n in by_title.values() if n > 1)
    assert [int(n) for n in titles["items with this title"].values()] == [
        n for _, n in by_title.most_common(5)
    ]

    # Each planted fault is found, and the log as it is has none of them.
    faults = {
        "no times, sorted by item": ("unfit", "no_times"),
        "one time per user, sorted by item": ("unfit", "simultaneous"),
        "one row in twenty copied": ("caution", "identical_interactions"),
        "a program": ("caution", "long_users"),
        "seconds read as milliseconds": ("caution", "implausible_time"),
    }
    for name, (verdict, kind) in faults.items():
        assert kind in planted["findings"][name] and kind not in planted["findings"]["as it is"]
        assert verdict in (planted["verdict"][name], "caution")
    assert planted["verdict"]["as it is"] != "unfit"

    # Popularity by hand: counts of training, the kept history masked or not.
    splits = data.splits(protocol="paper")
    gains = {"paper": [], "unmasked": []}
    for row, target in enumerate(splits.test.targets.tolist()):
        history = {*splits.test.masked(np.array([row])).ravel().tolist()} - {0}
        for protocol, ranked in (
            ("paper", {*splits.test.catalogue.tolist()} - history),
            ("unmasked", {*splits.test.catalogue.tolist()}),
        ):
            scores = splits.train_counts[[*(ranked | {target})]]
            mine = splits.train_counts[target]
            rank = 1 + (scores > mine).sum() + ((scores == mine).sum() - 1) / 2
            gains[protocol].append(metrics.ndcg([rank], 10)[0])
    for protocol, of_users in gains.items():
        assert float(values[protocol]["popularity"]) == pytest.approx(
            100 * np.mean(of_users), abs=0.006
        )
    best = max(values["time"], key=lambda name: float(values["time"][name]))
    assert shown(cells, "text/markdown")[0] == compare(
        [tmp_path / "runs" / "time" / name for name in values["time"]]
    ).show("markdown")
    assert best in values["time"] and places and slices
    assert sampled["HR@10, full catalogue"] == sampled["HR@10, 23 sampled"]  # all other items


def plain(cells: list[dict]) -> list[str]:
    """What cells show without markup."""
    return [one["text/plain"] for one in outputs(cells)]


def write_platform(folder: Path, *, seed: int, users: int) -> None:
    """Items on a circle (`circle.states`) in an order of the platform's own, and users who walk around it."""
    rng = np.random.default_rng(seed)
    number = rng.permutation(PLACES)  # of each place, from 0
    starts, lengths = rng.integers(0, PLACES, users), rng.integers(5, 12, users)
    walks = [
        [int(number[(start + step) % PLACES]) + 1 for step in range(length)]
        for start, length in zip(starts, lengths, strict=True)
    ]
    ids = [f"{seed}-{item}" for item in range(PLACES)]
    towers = {"title": states()[np.argsort(number)]}
    write_dataset(folder, walks, items=PLACES, towers=towers, ids=ids)


def table(shown_html: str) -> dict[str, dict[str, str]]:
    """The cells of a table by column and by row; rows are named by their first cell."""
    texts = [
        [html.unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)]
        for row in shown_html.split("<tr")[1:]
    ]  # fmt: skip
    head, *rows = [row for row in texts if any(row[1:])]
    return {
        name: {row[0]: row[place] for row in rows}
        for place, name in enumerate(head)
        if place and name
    }


def square(tensors: list[Tensor]) -> float:
    """The sum of all squares."""
    return float(sum(tensor.detach().square().sum() for tensor in tensors))


@torch.no_grad()
def mean_states(folder: Path, texts: list[str]) -> Tensor:
    """(N, layers + 1, D) by transformers alone: the mean over the tokens of each text."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    tokens = tokenizer(
        [text.lower() for text in texts], truncation=True, max_length=30, padding=True, return_tensors="pt"
    )  # fmt: skip
    hidden = torch.stack(model.eval()(**tokens, output_hidden_states=True).hidden_states, dim=1)
    mask = tokens["attention_mask"][:, None, :, None]
    return (hidden * mask).sum(dim=2) / mask.sum(dim=2)


def gram_alignment(x: Tensor, y: Tensor) -> float:
    """Linear CKA as HSIC(K, L) / (HSIC(K, K) HSIC(L, L))^½ of the Gram matrices (arXiv 1905.00414, equation 3)."""
    centre = torch.eye(len(x)) - 1 / len(x)
    k, m = (centre @ states @ states.T @ centre for states in (x, y))
    return float((k * m).sum() / ((k * k).sum() * (m * m).sum()) ** 0.5)


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
