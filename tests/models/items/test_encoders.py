"""Encoders that train: against a plain reference that encodes every slot, and runs from the command line."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

import models
from models.adaptation import ADAPTATIONS
from models.build import build, make_features
from models.cli import main
from models.config import parse_run_config
from models.inputs.batches import Batches
from models.inputs.sources import Sources
from models.items import TrainedEncoders
from models.recommender import Recommender
from models.runs.adapter_files import adapters_of
from models.runs.model_files import read_weights
from models.train import train
from toolkit import UserError, open_dataset, schema
from toolkit.backbones import Encoder, EncoderSpec, load_encoder
from toolkit.backbones.prepared import Prepared
from toolkit.json_files import read_json
from toolkit.store import Table
from toolkit.workers import cpu_count

FAST = ["--item=encoders", "--train.epochs=2", "--train.trackers=[]", "--side.embedding_dim=16", "--sequence.max_len=5",
        "--train.batch_size=32", "--items.dropout=0"]  # fmt: skip
NO_COVER = 7


def jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles and covers, and nothing stored; item 7 has no cover, and 9 one that cannot be decoded."""
    folder = write_dataset(tmp_path_factory.mktemp("raw") / "data", walks(), items=ITEMS)
    covers = [
        {
            "item_id": f"i{n}",
            "image": jpeg((4 * n, 255 - 4 * n, 9 * n % 255)) if n != 9 else b"no JPEG",
        }
        for n in range(1, ITEMS + 1)
        if n != NO_COVER
    ]
    rows = [{**dict.fromkeys(schema.COVERS.names), "status": "ok", **row} for row in covers]
    Table(folder / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    return folder


def words(data: Path, output: Path, *more: str) -> list[str]:
    return [*FAST, f"--data={data}", f"--output={output}", *more]


@pytest.fixture(scope="module")
def title(tiny_bert: Path) -> list[str]:
    return [
        "--towers=[title]",
        f"--encoders.title.encoder={tiny_bert}",
        "--encoders.title.pooling=mean",
    ]


@pytest.fixture(scope="module")
def run(data: Path, title: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("encoders") / "run"
    train(parse_run_config(words(data, output, *title)))
    return output


def recommender(data: Path, *more: str) -> tuple[Recommender, Batches]:
    """A fresh model and its batches."""
    config = parse_run_config(words(data, Path("out"), *more))
    dataset = open_dataset(data)
    torch.manual_seed(1)
    model = build(config, dataset)
    features = make_features(config, dataset, item_encoder=model.item_encoder)
    splits = dataset.splits(max_len=5)
    return model, Batches(splits, features, batch_size=16, seed=1)


def test_gradients_are_those_of_encoding_every_slot(
    data: Path, tiny_bert: Path, tiny_vit: Path
) -> None:
    more = [
        "--towers=[id, title, cover]", f"--encoders.title.encoder={tiny_bert}",
        f"--encoders.cover.encoder={tiny_vit}", "--encoders.title.dropout=0", "--sequence.dropout=0",
        "--encoders.cover.dropout=0",
    ]  # fmt: skip
    model, batches = recommender(data, *more)
    model.train()
    batch = next(batches.epoch(1))
    assert len(batch.items) == len(set(batch.items.tolist()))  # each item once
    loss = model(batch)
    loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    # Plainly: an item for every slot, each text padded with the others to the longest.
    encoder = model.item_encoder
    numbers = torch.cat([torch.zeros(1, dtype=torch.long), batch.items])
    slots = numbers[batch.inputs].flatten()
    sources = {name: open_dataset(data).source_reader(name) for name in ("title", "cover")}

    def vectors(items: torch.Tensor) -> torch.Tensor:
        features: dict[str, object] = {"id": items}
        for name, reader in sources.items():
            payloads = reader.read(items.tolist()).to_pylist()
            payloads = [None if x == b"no JPEG" else x for x in payloads]
            real = [row for row, x in enumerate(payloads) if x is not None]
            rows = torch.full((len(items),), len(real))
            rows[real] = torch.arange(len(real))
            inputs = encoder.preparers[name]([payloads[row] for row in real])
            features[name] = Prepared((inputs,), rows)
        return encoder(features)

    inputs = torch.zeros(*batch.inputs.shape, 16)
    real = slots != 0
    inputs = inputs.flatten(0, 1).index_put((real.nonzero()[:, 0],), vectors(slots[real]))
    states = model.encode_sequences(inputs.view(*batch.inputs.shape, 16), batch.inputs != 0)
    table = torch.cat([torch.zeros(1, 16), vectors(batch.items)])
    plain = model.criterion(states.flatten(0, 1)[batch.rows], table, batch)
    plain.backward()
    assert torch.allclose(plain, loss, rtol=1e-6)
    assert "item_encoder.encoders.title.model.encoder.layer.0.output.dense.weight" in grads
    for name, parameter in model.named_parameters():
        if name in grads:
            assert parameter.grad is not None
            scale = max(
                float(grads[name].abs().max()), 1e-5
            )  # a key's bias has rounding errors alone
            assert (parameter.grad - grads[name]).abs().max() <= 1e-4 * scale, name


def test_texts_are_batched_without_padding_rows_and_what_is_absent_is_counted(
    data: Path, tiny_bert: Path, tiny_vit: Path
) -> None:
    more = ["--towers=[title, cover]", f"--encoders.title.encoder={tiny_bert}",
            f"--encoders.cover.encoder={tiny_vit}"]  # fmt: skip
    model, batches = recommender(data, *more)
    features = batches.features
    given = features.gather(torch.tensor([9, NO_COVER, 3]))
    assert given["cover"].rows.tolist() == [1, 1, 0] and len(given["cover"].batches) == 1
    assert features.missing() == {"title": 0, "cover": 1}
    assert features.broken == {"title": set(), "cover": {9}}
    model.eval()
    with torch.no_grad():
        model.item_encoder.missing["cover"].state.fill_(3.0)
        parts = model.item_encoder.parts(given)["cover"]
        head = model.item_encoder.heads["cover"]
        assert torch.equal(parts[0], parts[1]) and not torch.allclose(parts[0], parts[2])
        assert torch.allclose(parts[0], head(torch.full((1, 16), 3.0))[0])


def test_inputs_do_not_depend_on_workers(data: Path, tiny_vit: Path) -> None:
    items = torch.tensor([9, 3, NO_COVER, *range(10, 30)])
    made, broken = [], []
    for workers in (0, 1, 4):
        more = ["--towers=[cover]", f"--encoders.cover.encoder={tiny_vit}"]
        _, batches = recommender(data, *more, f"--train.workers={workers}")
        assert isinstance(batches.features, Sources)
        assert batches.features.workers == (workers or cpu_count())
        made.append(batches.features.gather(items)["cover"])
        broken.append(batches.features.broken["cover"])
    assert broken == [{9}] * 3
    for prepared in made[1:]:
        assert torch.equal(prepared.rows, made[0].rows)
        pairs = zip(prepared.batches, made[0].batches, strict=True)
        assert all(torch.equal(*(x.tensors["pixel_values"] for x in pair)) for pair in pairs)


def test_a_run_of_trained_encoders_is_trained_saved_and_loaded(
    run: Path, data: Path, tiny_bert: Path
) -> None:
    model = models.load(run)
    encoder = model.model.item_encoder
    assert isinstance(encoder, TrainedEncoders)
    saved = read_json(run / "model" / "config.json")["item_encoder"]
    assert saved["encoders"]["title"]["encoder"] == tiny_bert.name  # no path of this machine
    assert saved["revisions"]["title"].startswith("sha256:")
    fresh = models.from_pretrained(run / "model", encoders={"title": str(tiny_bert)})
    ours, theirs = model.model.state_dict(), fresh.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    card = (run / "model" / "README.md").read_text()
    assert "encoders that were trained with it" in card and "a learned state" in card
    assert "| `full` |" in card
    assert model.recommend([["i1", "i2"]], k=3).num_rows == 3
    environment = read_json(run / "environment.json")["dataset"]
    assert "tower title source_sha256" in environment and "tower title revision" in environment
    base = open_dataset(data).manifest["steps"]
    assert base == {}  # nothing was stored


def test_a_missing_or_changed_base_encoder_is_refused(
    data: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bert"
    shutil.copytree(tiny_bert, copy)
    more = [
        "--towers=[title]",
        f"--encoders.title.encoder={copy}",
        "--encoders.title.pooling=mean",
        "--adapt=frozen",
    ]
    output = tmp_path / "run"
    train(parse_run_config(words(data, output, *more)))
    names = set(read_weights(output / "model" / "model.safetensors").tensors)
    assert not any(
        name.startswith("item_encoder.encoders.") for name in names
    )  # base encoders are not saved
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"gelu"', '"relu"'))
    with pytest.raises(UserError, match=r"'title'.*is at revision sha256.*restore that encoder"):
        models.load(output)
    with pytest.raises(UserError, match=r"revision"):
        train(parse_run_config(words(data, output, *more, "--resume", "--train.epochs=3")))
    shutil.rmtree(copy)
    with pytest.raises(UserError, match="no such folder"):
        models.load(output)


def test_a_base_encoder_that_has_moved_is_named(
    run: Path, data: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace(str(tiny_bert), "/gone/bert"))
    commands = {
        "evaluate": [], "recommend": [], "export": [str(tmp_path / "items.npy")],
        "report": ["--output", str(tmp_path / "report.html")],
    }  # fmt: skip
    for command, more in commands.items():
        with pytest.raises(UserError, match=r"^encoder '/gone/bert': no such folder$"):
            main([command, str(moved), *more])
        assert main([command, str(run), *more]) == 0
    found = models.load(moved, encoders={"title": str(tiny_bert)})
    assert torch.equal(found.item_embeddings(), models.load(run).item_embeddings())
    with pytest.raises(UserError, match=r"encoders names cover, but .* trains encoders of title"):
        models.load(moved, encoders={"cover": str(tiny_bert)})
    trusted = []

    def note(spec: EncoderSpec) -> Encoder:
        trusted.append(spec.trust_remote_code)
        return load_encoder(spec, final_norm=True)

    monkeypatch.setattr("models.items.encoders.load_encoder", lambda spec, **_: note(spec))
    models.load(run)
    models.load(run, trust_remote_code=True)
    assert trusted == [False, True]


def test_resumed_runs_are_bit_equal(
    data: Path, title: list[str], run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    train(parse_run_config(words(data, output, *title, "--train.epochs=1")))
    train(parse_run_config(words(data, output, *title, "--resume")))
    ours, theirs = (models.load(path).model.state_dict() for path in (output, run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_json(output / "metrics" / "test.json") == read_json(run / "metrics" / "test.json")


@pytest.mark.slow
@pytest.mark.parametrize("method", [name.replace("K", "1") for name in ADAPTATIONS])
def test_every_method_is_resumed_bit_for_bit_and_saves_what_trains(
    data: Path, title: list[str], tmp_path: Path, method: str
) -> None:
    more = [*title, f"--adapt={method}", "--train.items_at_once=16", "--train.batch_size=64"]
    train(parse_run_config(words(data, tmp_path / "whole", *more)))
    train(parse_run_config(words(data, tmp_path / "parts", *more, "--train.epochs=1")))
    train(parse_run_config(words(data, tmp_path / "parts", *more, "--resume")))
    whole, parts = (models.load(tmp_path / name).model for name in ("whole", "parts"))
    ours, theirs = parts.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    weights = read_weights(tmp_path / "whole" / "model" / "model.safetensors")
    kept = {*weights.tensors, *(n for one in adapters_of(whole) for n in one.names)}
    assert {n for n, p in whole.named_parameters() if p.requires_grad} <= set(kept)
    assert not {f"item_encoder.{name}" for name in whole.item_encoder.base_names} & set(kept)


def test_a_method_has_settings(data: Path, title: list[str]) -> None:
    more = [*title, "--adapt=lora", "--adapt_settings={rank: 2}"]
    model, _ = recommender(data, *more)
    assert model.item_encoder.chosen["title"].adapt_settings == {"rank": 2}
    added = [p for n, p in model.item_encoder.named_parameters() if "lora_A" in n]
    assert added and all(p.shape[0] == 2 for p in added)
    with pytest.raises(
        UserError, match="adapt_settings names ranks, and adapt lora has rank, alpha"
    ):
        recommender(data, *title, "--adapt=lora", "--encoders.title.adapt_settings={ranks: 2}")


def test_settings_are_those_of_the_stored_tower(
    data: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    ids = [f"i{n}" for n in range(1, ITEMS + 1)]
    states = np.zeros((ITEMS, 2, 16))
    write_tower(
        folder, "words", ids, states, encoder=str(tiny_bert), source="title", pooling="mean"
    )
    model, _ = recommender(
        folder, "--towers=[words]", "--adapt=top-1", "--encoders.words.dropout=0.3"
    )
    chosen = model.item_encoder.chosen["words"]
    assert (chosen.source, chosen.pooling, chosen.dtype, chosen.adapt) == (
        "title",
        "mean",
        "float32",
        "top-1",
    )
    assert chosen.max_tokens == 30
    bert = model.item_encoder.encoders["words"].model
    assert {m.p for m in bert.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    trains = {n for n, p in bert.named_parameters() if p.requires_grad}
    assert trains and all(name.startswith("encoder.layer.2.") for name in trains)


def test_one_encoder_serves_two_towers(data: Path, tiny_bert: Path) -> None:
    more = ["--towers=[title, again]", f"--encoders.title.encoder={tiny_bert}",
            f"--encoders.again.encoder={tiny_bert}", "--encoders.again.source=title",
            "--encoders.again.max_tokens=4"]  # fmt: skip
    model, batches = recommender(data, *more)
    encoder = model.item_encoder
    assert list(encoder.encoders) == ["title"] and encoder.owners == {
        "title": "title",
        "again": "title",
    }
    given = batches.features.gather(torch.tensor([11, 12]))
    lengths = {name: x.batches[0].tensors["input_ids"].shape[1] for name, x in given.items()}
    assert lengths["again"] == 4 < lengths["title"]
    assert encoder(given).shape == (2, 16)
    apart, _ = recommender(data, *more, "--encoders.again.shared=false")
    assert list(apart.item_encoder.encoders) == ["title", "again"]


def test_what_cannot_be_is_refused(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    cases = {
        "no content is named 'blurb'": ["--towers=[blurb]", "--encoders.blurb.encoder=x"],
        "encoders.title.encoder: not set": ["--towers=[title]"],
        r"encoders names \['cover'\]": ["--towers=[title]", "--encoders.cover.encoder=x"],
        "towers: the list is empty": [],
        "adapt 'loraa' is unknown": ["--towers=[title]", "--adapt=loraa"],
    }
    for message, more in cases.items():
        with pytest.raises(UserError, match=message):
            train(parse_run_config(words(data, output, *more)))
    with pytest.raises(
        UserError, match=r"^adapt: item side-network reads states of frozen .* add --item encoders"
    ):
        parse_run_config([f"--data={data}", "--output=o", "--towers=[title]", "--adapt=lora"])
    file = tmp_path / "evil.yaml"
    file.write_text("encoders: {title: {trust_remote_code: true}}\n")
    with pytest.raises(UserError, match=r"asks for encoders\.title\.trust_remote_code"):
        parse_run_config(words(data, output, f"--config={file}"))
    typed = parse_run_config(
        words(data, output, f"--config={file}", "--encoders.title.trust_remote_code=true")
    )
    assert typed.encoders["title"].trust_remote_code


def test_compilation_of_encoders_that_train_is_refused(
    data: Path, title: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"train\.compile is not supported with item encoders"):
        train(parse_run_config(words(data, tmp_path / "run", *title, "--train.compile=true")))
    assert not (tmp_path / "run").exists()


def test_a_run_with_the_gradient_cache_is_the_run_without(
    data: Path, title: list[str], tmp_path: Path
) -> None:
    still = ["--encoders.title.dropout=0", "--sequence.dropout=0", "--train.epochs=1"]
    weights = []
    for name, more in {"plain": [], "cached": ["--train.items_at_once=5"],
                       "both": ["--train.items_at_once=5", "--train.activation_checkpointing=true"]}.items():  # fmt: skip
        train(parse_run_config(words(data, tmp_path / name, *title, *still, *more)))
        weights.append(models.load(tmp_path / name).model.state_dict())
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, atol=1e-4, rtol=0)


def test_the_gradients_of_an_encoder_are_checked_once_an_item_has_a_source(
    data: Path, tiny_bert: Path, tiny_vit: Path
) -> None:
    more = ["--towers=[title, cover]", f"--encoders.title.encoder={tiny_bert}",
            f"--encoders.cover.encoder={tiny_vit}"]  # fmt: skip
    model, batches = recommender(data, *more)
    encoder, gather = model.item_encoder, batches.features.gather

    def backward(*items: int) -> None:
        encoder.zero_grad()
        encoder(gather(torch.tensor(items))).square().sum().backward()

    backward(9, NO_COVER)
    covers = list(encoder.encoders["cover"].parameters())
    assert all(p.grad is not None and not p.grad.any() for p in covers if p.requires_grad)
    assert not encoder.check_gradients() and encoder.unchecked == {"cover"}
    backward(3, 4)
    encoder.zero_grad()
    with pytest.raises(UserError, match=r"cover\..* should train and got no gradient"):
        encoder.check_gradients()
    backward(3, 4)
    assert encoder.check_gradients()


def test_evaluations_come_every_so_many_epochs(
    data: Path, title: list[str], tmp_path: Path
) -> None:
    more = ["--train.epochs=3", "--train.evaluate_every=2", "--adapt=bitfit"]
    train(parse_run_config(words(data, tmp_path / "run", *title, *more)))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "valid" in line] == [2, 3]


def test_a_run_whose_items_have_collapsed_is_no_success(
    data: Path, title: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--train.epochs=1", "--train.rates.text_encoder=10", "--train.rates.base=1"]
    with pytest.raises(UserError, match="no success: item vectors have collapsed"):
        train(parse_run_config(words(data, tmp_path / "run", *title, *more)))
    assert capsys.readouterr().err.count("warning: item vectors have collapsed") == 1
    assert read_json(tmp_path / "run" / "metrics" / "test.json")["users"]


@pytest.mark.slow
def test_an_encoder_that_trains_learns_what_a_random_one_does_not_show(
    data: Path, title: list[str], tmp_path: Path
) -> None:
    """Users step to the next item number, which the titles spell out."""
    more = [*title, "--train.epochs=20", "--train.batch_size=16", "--train.rates.base=3e-3", "--sequence.dropout=0",
            "--train.rates.text_encoder=3e-3", "--encoders.title.dropout=0", "--side.embedding_dim=32"]  # fmt: skip
    found = {
        method: train(parse_run_config(words(data, tmp_path / method, *more, f"--adapt={method}")))[
            "metrics"
        ]["NDCG@10"]
        for method in ("frozen", "full")
    }
    assert found["full"]["low"] > found["frozen"]["high"] and found["full"]["value"] > 0.85
