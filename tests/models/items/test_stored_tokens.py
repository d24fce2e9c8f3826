"""Top layers that train on stored token states: the same gradients as live ones, one identity, and refusals."""

import io
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from tiny_dataset import ITEMS, walks, write_dataset
from transformers import AutoModel

import models
import prep
from models.build import build, make_features
from models.config import RunConfig, parse_run_config
from models.evaluate import evaluate
from models.inputs.batches import Batches
from models.recommender import Recommender
from models.runs.export_merged import export_encoder
from models.runs.model_files import read_weights
from models.train import train
from prep import EncodeConfig, PrepConfig
from toolkit import UserError, open_dataset, schema
from toolkit.json_files import read_json
from toolkit.store import Table, read_file

LAYER, TOP = 2, 1  # of the three layers of the tiny BERT
NO_COVER, BROKEN = 7, 9
FAST = ["--item=encoders", "--train.epochs=2", "--train.trackers=[]", "--side.embedding_dim=16", "--sequence.max_len=5",
        "--train.batch_size=32", "--items.dropout=0", "--encoders.title.from_layer=stored", "--adapt=top-1", "--train.items_at_once=16"]  # fmt: skip


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 255 - shade, 2 * shade % 255)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_vit: Path) -> Path:
    """Token states of titles after layer 2 and of covers after layer 1; item 7 has no cover, and 9 a broken one."""
    folder = write_dataset(tmp_path_factory.mktemp("tokens") / "data", walks(), items=ITEMS)
    numbers = [n for n in range(1, ITEMS + 1) if n != NO_COVER]
    rows = [
        {
            **dict.fromkeys(schema.COVERS.names),
            "item_id": f"i{n}",
            "image": jpeg(4 * n) if n != BROKEN else b"no JPEG",
            "status": "ok",
        }
        for n in numbers
    ]
    Table(folder / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    title = EncodeConfig(str(tiny_bert), pooling="mean", layers=[2], tokens=LAYER)
    cover = EncodeConfig(str(tiny_vit), source="cover", layers=[1], tokens=1)
    prep.encode(folder, PrepConfig(encode={"title": title, "cover": cover}))
    return folder


def config(data: Path, output: Path, *more: str) -> RunConfig:
    towers = [] if any(x.startswith("--towers") for x in more) else ["--towers=[title]"]
    return parse_run_config([*FAST, *towers, f"--data={data}", f"--output={output}", *more])


def recommender(config: RunConfig) -> tuple[Recommender, Batches]:
    dataset = open_dataset(config.data)
    torch.manual_seed(1)
    model = build(config, dataset)
    features = make_features(config, dataset, item_encoder=model.item_encoder)
    return model, Batches(dataset.splits(max_len=5), features, batch_size=16, seed=1)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("stored") / "run"
    train(config(data, output))
    return output


STILL = ["--towers=[title, cover]", "--encoders.title.dropout=0", "--encoders.cover.dropout=0",
         "--sequence.dropout=0"]  # fmt: skip


def test_gradients_are_those_of_live_layers_on_the_same_states(data: Path, tmp_path: Path) -> None:
    stored, batches = recommender(
        config(data, tmp_path, *STILL, "--encoders.cover.from_layer=stored")
    )
    live, raw = recommender(config(data, tmp_path, *STILL, "--encoders.title.from_layer=null"))
    live.load_state_dict(stored.state_dict(), strict=False)
    batch, same = next(batches.epoch(1)), next(raw.epoch(1))
    assert batch.items.tolist() == same.items.tolist()
    assert {NO_COVER, BROKEN} <= set(batch.items.tolist())  # they have a learned state in both

    def rounded(layer: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        return output.half().float()

    encoders = live.item_encoder.encoders
    encoders["title"].model.encoder.layer[LAYER - 1].register_forward_hook(rounded)
    encoders["cover"].model.layers[0].register_forward_hook(rounded)
    grads = []
    for model, given in ((stored, batch), (live, same)):
        model.train()
        model(given).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    assert sum(".encoder.layer.2." in name for name in grads[0]) == 16
    for name, gradient in grads[1].items():
        scale = float(gradient.abs().max())
        assert float((grads[0][name] - gradient).abs().max()) <= 1e-6 * max(scale, 1e-3), name
    below = "item_encoder.encoders.title.model.encoder.layer.0."
    names = [[name for name, _ in model.named_parameters()] for model in (stored, live)]
    assert [any(name.startswith(below) for name in each) for each in names] == [False, True]


def test_a_step_in_which_no_item_has_states_calls_the_encoder(data: Path, tmp_path: Path) -> None:
    """Its gradients are zero, and there: other processes wait for them."""
    model, batches = recommender(
        config(data, tmp_path, *STILL, "--encoders.cover.from_layer=stored")
    )
    encoder = model.item_encoder.train()
    encoder(batches.features.gather(torch.tensor([BROKEN, NO_COVER]))).sum().backward()
    trained = [p for p in encoder.encoders["cover"].parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and not p.grad.any() for p in trained)


def test_a_run_is_trained_resumed_and_kept_whole(
    run: Path, data: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    train(config(data, parts, "--train.epochs=1"))
    train(config(data, parts, "--resume"))
    ours, theirs = (models.load(path).model.state_dict() for path in (parts, run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # The model folder holds what trains, and without the dataset's token states it is a whole model of raw titles.
    kept = set(read_weights(run / "model" / "model.safetensors").tensors)
    assert sum(".encoder.layer.2." in name for name in kept) == 16
    assert not any(".encoder.layer.1." in name or ".embeddings." in name for name in kept)
    fresh = models.from_pretrained(run / "model", encoders={"title": str(tiny_bert)})
    titles = open_dataset(data).source("title").to_pylist()
    with torch.no_grad():
        vectors = fresh.encode_items(fresh.item_encoder.prepare({"title": titles}))
    # They differ from those of stored states by the rounding to float16.
    difference = (vectors - models.load(run).item_embeddings()[1:]).abs().max()
    assert 0 < difference < 2e-3 * vectors.abs().max()
    (tuned,) = export_encoder(run, tmp_path / "tuned").values()
    layers = AutoModel.from_pretrained(tuned).encoder.layer
    assert len(layers) == 3 and torch.equal(
        layers[2].output.dense.weight,
        fresh.item_encoder.encoders["title"].model.encoder.layer[2].output.dense.weight,
    )
    made_with = read_json(run / "model" / "config.json")["made_with"]["encode"]["title"]
    assert (made_with["tokens_layer"], made_with["tokens_precision"]) == ("2", "float32")


def test_other_token_states_are_refused(run: Path, data: Path, tmp_path: Path) -> None:
    recorded = read_json(run / "environment.json")["dataset"]
    assert "tower title tokens_sha256" in recorded and recorded["tower title tokens_layer"] == "2"
    other = tmp_path / "data"
    shutil.copytree(data, other)
    assert models.load(run, data=other).recommend([["i1"]], k=2).num_rows == 2  # it may move
    path = next((other / "tokens/title").glob("*.arrow"))
    stored = read_file(path)
    column = stored["tokens"].to_pylist()
    column[20][3] += 0.5
    column = pa.array(column, stored.schema.field("tokens").type)
    index = stored.schema.get_field_index("tokens")
    changed = stored.set_column(index, stored.schema.field("tokens"), column)
    Table(other / "tokens/title", compression=None).replace(0, changed)
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with pytest.raises(UserError, match=r"trained on other token states of tower title than"):
        train(config(other, copy, "--resume", "--train.epochs=3"))
    with pytest.raises(UserError, match=r"other token states of tower title"):
        evaluate(copy, data=other)


def test_what_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    cases = {
        r"stored after layer 2, and adapt trains the layers above 1; .*tokens 1": ["--adapt=top-2"],
        r"adapt full does not train the top layers .*top-1 … top-2": ["--adapt=full"],
        r"adapt lora does not train the top layers": ["--adapt=lora"],
        r"adapt frozen does not train": ["--adapt=frozen"],
        r"adapt k-adapter does not train": ["--adapt=k-adapter"],
        r"adapt top-3 does not train": ["--adapt=top-3"],
        r"stored with max_tokens 30, and the run has 20": ["--encoders.title.max_tokens=20"],
        r"stored with lowercase True, and the run has False": ["--encoders.title.lowercase=false"],
        r"encoders.words.from_layer stored: no token states of tower 'words' .*--encode.words.tokens": [
            "--towers=[title, words]", "--encoders.words.from_layer=stored",
            "--encoders.words.source=title", "--encoders.words.encoder=x",
        ],
    }  # fmt: skip
    for message, more in cases.items():
        with pytest.raises(UserError, match=message):
            train(config(data, tmp_path / "run", *more))


def test_two_towers_share_their_upper_part(data: Path, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    again = EncodeConfig(str(tiny_bert), pooling="mean", layers=[2], tokens=LAYER, max_tokens=4)
    prep.encode(folder, PrepConfig(encode={"again": again}))
    more = ["--towers=[title, again]", "--encoders.again.from_layer=stored"]
    model, batches = recommender(config(folder, tmp_path / "run", *more))
    assert list(model.item_encoder.encoders) == ["title"]
    given = batches.features.gather(torch.tensor([11, 12]))
    shapes = {name: x.batches[0].tensors["inputs_embeds"].shape[1] for name, x in given.items()}
    assert shapes["again"] == 4 < shapes["title"]
    live, _ = recommender(config(folder, tmp_path / "run", "--towers=[title, again]"))
    assert list(live.item_encoder.encoders) == ["title", "again"]  # one whole, one upper part
