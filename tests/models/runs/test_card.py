"""The model card: its statements match the run, unusual names are escaped, and its code examples run."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from tiny_dataset import ITEMS, walks, write_captions, write_dataset, write_tower

import models
import models.runs.markdown
import prep
from models.config import parse_run_config
from models.evaluate import evaluate
from models.train import train
from prep import CaptionConfig, EncodeConfig, MediaConfig, PrepConfig
from prep.cli import main as prep_command
from toolkit import open_dataset
from toolkit.json_files import read_json, write_json

PROMPT = "Say what {title} shows.\n```\nNot | the `frame`.\n```"
ODD = "a|b `c` <d> *e*\n---\nf"


def run_of(data: Path, output: Path, *more: str) -> Path:
    train(parse_run_config([f"--data={data}", f"--output={output}", "--train.epochs=2", *more]))
    return output


def card_of(run: Path) -> ModelCard:
    return ModelCard.load(run / "model" / "README.md")


def tables(card: ModelCard) -> list[list[list[str]]]:
    """The text of every cell of every table, as whoever renders the card sees it."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(card.text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level == 4:
            found[-1][-1].append("".join(child.content for child in token.children or []))
    return found


def blocks(card: ModelCard, language: str) -> list[str]:
    """What stands in its fenced blocks of one language."""
    tokens = MarkdownIt().parse(card.text)
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


@pytest.fixture(scope="module")
def built(
    synth_dump: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A dataset with captions that answer a prompt of the user's own, and a run over it."""
    folder = tmp_path_factory.mktemp("card")
    dump = shutil.copytree(synth_dump, folder / "dump", ignore=shutil.ignore_patterns("videos"))
    (folder / "asked.txt").write_text(PROMPT)
    text = EncodeConfig(encoder=str(tiny_bert), pooling="mean", layers=[0, 2])
    vlm = CaptionConfig(
        model="package:prep/synth/tiny_vlm", prompt=str(folder / "asked.txt"), max_new_tokens=8
    )
    config = PrepConfig(
        name="scenes",
        media=MediaConfig(workers=1, cover_px=64),
        caption={"said": vlm},
        encode={"title": text, "said": replace(text, source="said", max_tokens=7)},
    )
    prep.build(dump, folder / "dataset", config)
    return folder / "dataset", run_of(
        folder / "dataset", folder / "run", "--towers=[title,said]", "--sequence.max_len=5"
    )


def test_markup_is_written_as_its_examples_say() -> None:
    assert models.runs.markdown.fenced("a\n````\n", "text") == "`````text\na\n````\n`````"


def test_every_number_stands_beside_what_it_was_measured_on(built: tuple[Path, Path]) -> None:
    run = built[1]
    assert evaluate(run, protocol="clean", progress=False)["protocol"] == "clean"
    card = card_of(run)
    head, *rows = tables(card)[0]
    assert head == ["split", "protocol", "users", "catalogue", "k", "HR@k", "NDCG@k", "MRR@k"]
    assert [row[:2] for row in rows[::4]] == [["test", "paper"], ["test", "clean"], ["valid", "paper"]]  # fmt: skip
    for name, first in (("test", 0), ("test.clean", 4), ("valid", 8)):
        report = read_json(run / "metrics" / f"{name}.json")
        for row in rows[first : first + 4]:
            found = report["metrics"][f"NDCG@{row[4]}"]
            shown = [f"{100 * found[key]:.2f}" for key in ("value", "low", "high")]
            assert row[6] == f"{shown[0]} [{shown[1]}, {shown[2]}]"
            assert row[2:4] == [str(report["users"]), str(report["catalogue"])]


def test_the_front_matter_is_the_hubs(built: tuple[Path, Path]) -> None:
    run = built[1]
    data = card_of(run).data
    assert data.library_name == "versa-toolkit" and data.license is None
    found = {
        (one.dataset_split, one.dataset_config, one.metric_type): one for one in data.eval_results
    }
    report = read_json(run / "metrics" / "test.json")
    one = found["test", "paper", "HR@10"]
    assert one.metric_value == pytest.approx(report["metrics"]["HR@10"]["value"], abs=1e-6)
    assert one.metric_args["high_95"] == pytest.approx(report["metrics"]["HR@10"]["high"], abs=1e-6)
    assert one.dataset_args == {"users": report["users"], "catalogue": report["catalogue"]}
    assert one.dataset_name == "scenes"


def test_it_says_what_the_run_and_its_dataset_say(built: tuple[Path, Path]) -> None:
    data, run = open_dataset(built[0]), built[1]
    card = card_of(run)
    _, beyond, about, towers, captions, training = tables(card)
    assert beyond[0][:4] == ["split", "protocol", "coverage@10, %", "popularity@10, interactions"]
    facts = {row[0]: row[1] for row in about + training}
    splits = data.splits(max_len=5)
    assert facts["users"] == "60" and facts["items"] == "24"
    assert facts["train"].startswith(f"{(splits.train != 0).sum():,} interactions")
    environment = read_json(run / "environment.json")
    assert facts["SHA-256 of interactions"] == environment["dataset"]["interactions_sha256"]
    model = models.from_pretrained(run / "model")
    assert facts["trainable parameters"] == f"{sum(p.numel() for p in model.parameters()):,}"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    seconds = [line["train_seconds"] for line in log if "valid" in line]
    assert facts["seconds per epoch"].startswith(f"{sum(seconds) / 2:.2f}")  # of two, the median
    best = max((line for line in log if "valid" in line), key=lambda line: line["valid"]["HR@10"])
    assert f"epoch {best['epoch']} of 2" in card.text
    assert [row[0] for row in towers[1:]] == ["title", "said"]
    assert towers[1][3] == data.states_metadata("title")["revision"]
    assert towers[1][4] == "0,1,3" and towers[1][7] == "24 ok"
    step = data.manifest["steps"]["caption:said"]
    assert captions[1][2:] == [
        "package:prep/synth/tiny_vlm", step["revision"], "asked.txt", step["config"]["prompt_hash"]
    ]  # fmt: skip
    assert blocks(card, "text") == [f"{PROMPT}\n"]


def test_nothing_in_the_model_folder_says_where_it_was_made(
    built: tuple[Path, Path], tiny_bert: Path
) -> None:
    for name in ("README.md", "config.json"):
        text = (built[1] / "model" / name).read_text()
        assert tiny_bert.name in text
        assert str(tiny_bert.parent) not in text and str(built[0].parent) not in text


def test_its_recipe_makes_the_states_again_and_its_python_recommends(
    built: tuple[Path, Path], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else, who has the dump, the model folder, and what the card says is to be found."""
    card = card_of(built[1])
    assert f"Local folders that you must supply; the revisions above are their fingerprints: `{tiny_bert.name}`." in card.text  # fmt: skip
    assert "Prompt files that you must create with the prompts above: `asked.txt`." in card.text
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bert, tiny_bert.name)
    shutil.copytree(built[1] / "model", "model")
    Path("asked.txt").write_text(blocks(card, "text")[0])
    (recipe,) = blocks(card, "yaml")
    Path("prep.yaml").write_text(recipe)
    words = [
        "build",
        str(built[0].parent / "dump"),
        "dataset",
        "--config",
        "prep.yaml",
        "--media.workers",
        "1",
    ]
    assert prep_command(words) == 0
    there, here = open_dataset(built[0]), open_dataset("dataset")
    for tower in ("title", "said"):
        assert torch.equal(there.states(tower), here.states(tower)), tower
    (python,) = blocks(card, "python")
    names: dict = {}
    exec(python.replace("FOLDER", "model").replace("DATASET", "dataset"), names)
    expected = models.load(built[1]).recommend([names["history"]], k=5)
    assert names["best"] == expected.column("item_id").to_pylist()


def test_the_id_baseline_reads_no_content(dataset: Path, tmp_path: Path) -> None:
    run = run_of(dataset, tmp_path / "run", "--config=id", "--side.embedding_dim=8")
    card = card_of(run)
    assert "Towers" not in card.text and "no content" in card.text
    assert read_json(run / "model" / "config.json")["made_with"] == {}
    (python,) = blocks(card, "python")
    names: dict = {}
    exec(python.replace("FOLDER", str(run / "model")).replace("DATASET", str(dataset)), names)
    expected = models.load(run).recommend([names["history"]], k=5)
    assert names["best"] == expected.column("item_id").to_pylist()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose dataset, encoder, captioner and folder have names that would act as markup."""
    folder = tmp_path_factory.mktemp("odd")
    states = np.random.default_rng(0).normal(size=(ITEMS, 1, 8))
    data = write_dataset(folder / "data", walks(users=40), items=ITEMS, towers={"title": states})
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    write_captions(data, "told", dict.fromkeys(ids, "a caption"), model=ODD)
    write_tower(data, "clip", ids, states, encoder="file:a|`b`.npy")
    write_tower(data, "cap", ids, states, encoder=ODD, source="told")
    write_json(data / "dataset.json", {**read_json(data / "dataset.json"), "name": ODD})
    return run_of(data, folder / "x_*y*_z", "--towers=[title,clip,cap]")


def test_names_do_not_act_as_markup(odd: Path) -> None:
    line = " ".join(ODD.split())
    card = card_of(odd)
    assert card.data.eval_results[0].dataset_name == ODD
    assert re.fullmatch(r"[\w.-]+", card.data.eval_results[0].dataset_type)
    _, _, about, towers, captions, _ = tables(card)
    assert about[1][1] == line
    assert [row[2] for row in towers[1:]] == ["random", "file:a|`b`.npy", line]
    assert captions[1][0] == "told" and captions[1][2] == line
    tokens = MarkdownIt().parse(card.text)
    title = next(t.children for t in tokens if t.type == "inline")
    assert "".join(child.content for child in title) == "x_*y*_z"
    assert not [t for t in tokens if t.type.startswith("html")]


def test_a_tower_that_came_ready_has_no_recipe(odd: Path) -> None:
    card = card_of(odd)
    (recipe,) = blocks(card, "yaml")
    assert set(yaml.safe_load(recipe)["encode"]) == {"title", "cap"}
    assert "Towers imported from a file" in card.text
    assert read_json(odd / "model" / "config.json")["made_with"]["encode"]["clip"]["encoder"] == "file:a|`b`.npy"  # fmt: skip
