"""Training end to end on tiny data: it learns, stays at chance on random data, and is reproducible."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

import models
from models.cli import main as command
from models.config import RunConfig, parse_run_config
from models.evaluate import evaluate
from models.machine.launcher import refuse_cut_up
from models.train import main as train_command
from models.train import train
from toolkit import UserError

ACCELERATE = Path(models.__file__).parent / "configs" / "accelerate"
FAST = ["--train.epochs=40", "--train.rates.base=5e-3", "--train.rates.side_block=5e-3",
        "--train.rates.text_head=5e-3", "--train.rates.image_head=5e-3",
        "--side.embedding_dim=32", "--sequence.dropout=0", "--sequence.max_len=5"]  # fmt: skip


def config(preset: str, data: Path, output: Path, *more: str) -> RunConfig:
    arguments = ["--config", preset, "--data", str(data), "--output", str(output), *FAST, *more]
    return parse_run_config(arguments)


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for preset in ("id", "text-only", "raw-image"):
        train(config(preset, dataset, folder / preset))
    return {preset: folder / preset for preset in ("id", "text-only", "raw-image")}


@pytest.mark.parametrize("preset", ["id", "text-only", "raw-image"])
def test_predictable_sequences_are_learnt(runs: dict[str, Path], preset: str) -> None:
    report = json.loads((runs[preset] / "metrics" / "test.json").read_text())
    assert report["protocol"] == "paper"
    assert report["metrics"]["HR@5"]["value"] > 0.9, report["metrics"]["HR@5"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["id", "raw-image"])
def test_enough_predictable_sequences_put_the_next_item_first(tmp_path: Path, preset: str) -> None:
    rng = np.random.default_rng(1)
    towers = {
        "title": rng.normal(size=(ITEMS, 3, 16)),
        "cover": rng.normal(size=(ITEMS, 4, 24)),
    }
    data = write_dataset(tmp_path / "data", walks(users=1000), items=ITEMS, towers=towers)
    many = ["--train.epochs=10", "--train.batch_size=16"]
    train(config(preset, data, tmp_path / "run", *many))
    ranks = pa.ipc.open_file(tmp_path / "run" / "ranks" / "test.arrow").read_all().column("rank")
    assert np.mean(ranks.to_numpy() == 1) > 0.95


def test_random_sequences_stay_at_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.permutation(ITEMS)[:8].tolist() for _ in range(1000)]
    data = write_dataset(
        tmp_path / "data", [[i + 1 for i in history] for history in histories], items=ITEMS
    )
    report = train(config("id", data, tmp_path / "run", "--train.epochs=3"))
    chance = 10 / (ITEMS - 7)  # seven items of the user's own are masked
    assert report["metrics"]["HR@10"]["low"] <= chance <= report["metrics"]["HR@10"]["high"]


def test_a_run_folder_holds_what_the_design_says(runs: dict[str, Path], dataset: Path) -> None:
    run = runs["text-only"]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["processes"] == 1
    assert environment["versions"]["torch"] == torch.__version__
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0]
    valid = {e["epoch"]: e["valid"]["HR@10"] for e in log if "valid" in e}
    best = next(e["best_epoch"] for e in log if "best_epoch" in e)
    assert best == min(epoch for epoch, value in valid.items() if value == max(valid.values()))
    assert {p.name for p in (run / "model").iterdir()} == {
        "README.md", "config.json", "model.safetensors"
    }  # fmt: skip
    ranks = pa.ipc.open_file(run / "ranks" / "test.arrow").read_all()
    assert ranks.schema.names == ["user_id", "item_id", "rank"]
    hits = np.mean(ranks.column("rank").to_numpy() <= 10)
    report = json.loads((run / "metrics" / "test.json").read_text())
    assert report["metrics"]["HR@10"]["value"] == pytest.approx(hits)
    assert report["users"] == ranks.num_rows
    resolved = parse_run_config(["--config", str(run / "config.yaml")])
    assert resolved.train.epochs == 40 and resolved.data == str(dataset)


def test_the_saved_model_is_the_best_epoch(runs: dict[str, Path]) -> None:
    for run in runs.values():
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        best = next(e["valid HR@10"] for e in log if "best_epoch" in e)
        assert evaluate(run, split="valid")["metrics"]["HR@10"]["value"] == pytest.approx(best)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_alone(
    dataset: Path, tmp_path: Path
) -> None:
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(weights))  # must not matter
        before = torch.get_rng_state()
        train(
            config(
                "raw-image",
                dataset,
                tmp_path / name,
                f"--train.seed={seed}",
                "--train.epochs=2",
                "--sequence.dropout=0.2",
            )
        )
        assert torch.equal(before, torch.get_rng_state())
        weights.append(models.load(tmp_path / name).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_other_protocols_are_written_beside_the_own_one(runs: dict[str, Path]) -> None:
    own = (runs["id"] / "metrics" / "test.json").read_text()
    clean = evaluate(runs["id"], protocol="clean")
    unmasked = evaluate(runs["id"], protocol="unmasked")
    assert clean["catalogue"] == unmasked["catalogue"]
    written = json.loads((runs["id"] / "metrics" / "test.clean.json").read_text())
    assert written == clean and clean["protocol"] == "clean"
    assert (runs["id"] / "ranks" / "test.unmasked.arrow").exists()
    assert (runs["id"] / "metrics" / "test.json").read_text() == own


def test_recommendations_are_the_best_unseen_items(runs: dict[str, Path]) -> None:
    model = models.load(runs["raw-image"])
    histories = [["i3", "i4", "i5"], ["i20"]]
    table = model.recommend(histories, k=4)
    assert table.column("row").to_pylist() == [0] * 4 + [1] * 4
    assert table.column("rank").to_pylist() == [1, 2, 3, 4] * 2
    items = model.item_embeddings()
    assert items.shape == (ITEMS + 1, 32) and not items[0].any()
    for row, history in enumerate(histories):
        numbers = torch.tensor([[int(i[1:]) for i in history]])
        user = model.model.encode_users(numbers, items)[0]
        scores = {f"i{n}": float(items[n] @ user) for n in model.splits.catalogue.tolist()}
        expected = sorted((i for i in scores if i not in history), key=lambda i: -scores[i])[:4]
        mine = table.filter(pa.compute.equal(table.column("row"), row))
        assert mine.column("item_id").to_pylist() == expected
        np.testing.assert_allclose(mine.column("score"), [scores[i] for i in expected], rtol=1e-5)
    assert table.column("item_id")[0].as_py() == "i6"  # what was learnt


def test_fewer_items_come_where_the_catalogue_has_fewer_left(runs: dict[str, Path]) -> None:
    model = models.load(runs["id"])
    seen = ["i1", "i2", "i2", "i9"]
    left = {f"i{n}" for n in model.splits.catalogue.tolist()} - set(seen)
    table = model.recommend([seen, ["i5"]], k=10_000)
    rows = table.column("row").to_numpy()
    assert set(table.column("item_id").to_numpy(zero_copy_only=False)[rows == 0]) == left
    assert (rows == 1).sum() == len(model.splits.catalogue) - 1


def test_bad_histories_are_named(runs: dict[str, Path]) -> None:
    model = models.load(runs["id"])
    with pytest.raises(UserError, match="item 'nope' is not in this dataset"):
        model.recommend([["i1"], ["nope"]])
    with pytest.raises(UserError, match="history 1 is empty"):
        model.recommend([["i1"], []])
    with pytest.raises(UserError, match="k must be at least 1"):
        model.recommend([["i1"]], k=0)


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one_does(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--config", "raw-image", "--data", str(dataset), "--output", str(run), *FAST]
    forked.run_two("models.train", *arguments, "--train.epochs=8", log=tmp_path / "told")
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    two = json.loads((run / "metrics" / "test.json").read_text())
    assert evaluate(run) == two  # one process, the same checkpoint
    assert len(list((run / "trackers" / "versa").glob("events*"))) == 1
    shipped = ["--config_file", str(ACCELERATE / "multi-gpu.yaml"), "--mixed_precision", "no"]
    words = ["evaluate", str(run), "--protocol", "clean"]
    forked.run_two("models.__main__", *words, log=tmp_path / "told", options=shipped)
    two = json.loads((run / "metrics" / "test.clean.json").read_text())
    assert evaluate(run, protocol="clean") == two


def test_two_processes_see_every_user_once_an_epoch(dataset: Path) -> None:
    from models.inputs.batches import Batches
    from models.inputs.features import ItemNumbers
    from toolkit import open_dataset

    splits = open_dataset(dataset).splits(max_len=5)
    options = {"batch_size": 16, "seed": 1, "world": 2}
    two = [Batches(splits, ItemNumbers(ITEMS), rank=rank, **options) for rank in (0, 1)]  # type: ignore[arg-type]
    rows = np.concatenate([b.rows(1, n, b.rank) for b in two for n in range(len(b))])
    assert sorted(rows) == list(range(len(splits.user_ids)))
    assert [len(list(b.epoch(1))) for b in two] == [len(b) for b in two]
    assert not np.array_equal(two[0].order(1), two[0].order(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--train.epoch=3"],
            r"--train\.epoch=3; did you mean --train\.epochs.*see python -m models\.train --help",
        ),
        (["--train.epochs=many"], r"train\.epochs.*many.*text-only\.yaml"),
        (["--train.loss=ful"], r"train\.loss: Expected one of 'in-batch', 'full', 'sampled'.*ful"),
        (
            ["--config=unheard-of"],
            "neither a file nor a preset; presets: adapter, all-towers, bert4rec-recbole",
        ),
        (["--towers=[smell]"], "no hidden states for tower 'smell' .stored: "),
        (["--towers=[]"], "towers: the list is empty"),
        (["--side.modality={titel: image}"], r"side\.modality names unknown towers \['titel'\]"),
    ],
)
def test_a_users_mistake_is_named(
    dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config("text-only", dataset, tmp_path / "run", *arguments))


def test_a_users_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "run")]
    process = forked.start("models.train", words, log=tmp_path / "told")
    process.join(300)
    assert process.exitcode == 2
    told = (tmp_path / "told").read_text()
    assert "Traceback" not in told and told.count("\n") == 1
    expected = (
        "error: the following arguments are required: --data; see python -m models.train --help"
    )
    assert re.search(expected, told)


def test_a_run_prints_its_test_as_json_and_nothing_else(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--config=id", f"--data={dataset}", "--train.epochs=1"]
    monkeypatch.setattr(sys, "argv", ["train", *words, f"--output={tmp_path / 'run'}", "--json"])
    assert train_command() == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "run" / "metrics" / "test.json").read_text())
    assert "epoch 1: valid HR@10" in err
    monkeypatch.setattr(sys, "argv", ["train", *words, f"--output={tmp_path / 'other'}", "--quiet"])
    assert train_command() == 0
    assert capsys.readouterr() == ("", "")


def test_runs_answer_commands_in_words_and_as_json(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(runs["id"])
    assert command(["evaluate", run, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((runs["id"] / "metrics" / "test.json").read_text())
    assert command(["evaluate", run]) == 0
    assert f"test · protocol paper · {report['users']:,} users" in capsys.readouterr().out
    (tmp_path / "users").write_text("u1\n")
    words = ["recommend", run, "-k=2", f"--users={tmp_path / 'users'}"]
    assert command([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["user_id"], row["rank"]) for row in rows] == [("u1", 1), ("u1", 2)]
    assert command([*words, "--quiet", f"--output={tmp_path / 'best.arrow'}"]) == 0
    assert capsys.readouterr() == ("", "")
    kept = pa.ipc.open_file(tmp_path / "best.arrow").read_all()
    assert kept.column("item_id").to_pylist() == [row["item_id"] for row in rows]


def test_a_run_is_not_overwritten_and_a_folder_that_is_none_is_named(
    runs: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="not empty; choose another folder"):
        train(config("id", dataset, runs["id"]))
    with pytest.raises(UserError, match=r"it has no dataset\.json"):
        train(config("id", tmp_path, tmp_path / "run"))
    with pytest.raises(UserError, match="not a run folder"):
        models.load(tmp_path)


def test_a_run_refuses_a_dataset_whose_items_have_changed(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", walks(users=40), items=ITEMS)
    train(config("id", data, tmp_path / "run", "--train.epochs=1"))
    shutil.rmtree(data)
    write_dataset(data, walks(users=40), items=ITEMS + 1)
    with pytest.raises(UserError, match="trained on items_sha256"):
        models.load(tmp_path / "run")


def test_a_run_refuses_states_that_another_encoder_made(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(ITEMS, 3, 16))
    data = write_dataset(tmp_path / "data", walks(users=40), items=ITEMS, towers={"title": states})
    train(config("text-only", data, tmp_path / "run", "--train.epochs=1"))
    models.load(tmp_path / "run")
    shutil.rmtree(data / "states")
    ids = [f"i{number}" for number in range(1, ITEMS + 1)]
    write_tower(data, "title", ids, states, encoder="another")
    with pytest.raises(UserError, match=r"tower title encoder=random.*now has encoder=another"):
        models.load(tmp_path / "run")


@pytest.fixture
def other_precision() -> Iterator[None]:
    """Accelerate settles on one precision a process; this test may have its own."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("path", sorted(ACCELERATE.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_files_for_it_that_we_ship(path: Path) -> None:
    read = load_config_from_file(str(path))
    assert read.mixed_precision == "bf16"
    assert read.num_processes == 8 * read.num_machines or path.stem == "one-gpu"


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_a_launcher_that_cuts_the_model_up_is_refused(kind: DistributedType) -> None:
    with pytest.raises(UserError, match=rf"{kind.value}.*takes a whole model in every process"):
        refuse_cut_up(kind)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"FSDP_VERSION": "1"}, "FSDP_VERSION is 1.*add --fsdp_version 2"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "FSDP_OFFLOAD_PARAMS is true.*leave out"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "use --train.activation_checkpointing true"),
    ],
)  # fmt: skip
def test_fsdp_that_training_does_not_do_is_refused(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    message: str,
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **settings}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        train(config("raw-image", dataset, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_only_encoders_that_train_are_sharded(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.prepare.launcher_shards", lambda: True)
    with pytest.raises(UserError, match=r"FSDP.*what trains is small.*--item encoders"):
        train(config("raw-image", dataset, tmp_path / "run"))


@pytest.mark.usefixtures("other_precision")
def test_what_the_launcher_sets_goes_before_the_config(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    train(config("raw-image", dataset, tmp_path / "run", "--train.epochs=1"))
    assert "bf16, from the launcher, overrides no" in capsys.readouterr().out
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["mixed_precision"] == "bf16"
