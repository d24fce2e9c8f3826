"""Runs with fusions: over tokens of encoders that train and over stored states; saved, loaded, reported, refused."""

from pathlib import Path

import pytest
import torch
from tiny_dataset import ITEMS, walks, write_covers, write_dataset
from tiny_encoders import jpegs

import models
import prep
from models.build import build, make_features
from models.config import RunConfig, parse_run_config
from models.evaluate import evaluate
from models.report import report
from models.runs.model_files import read_weights
from models.train import train
from prep import EncodeConfig, PrepConfig
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json

NO_COVER = 7
WORDS = ["--train.trackers=[]", "--side.embedding_dim=16", "--sequence.max_len=5", "--train.batch_size=32",
         "--train.epochs=2"]  # fmt: skip
ENCODERS = ["--item=encoders", "--items.activation=none"]
STORED = ["--encoders.title.from_layer=stored", "--encoders.title.adapt=top-1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_vit: Path) -> Path:
    """Token states of titles after layer 2; pooled states of titles and covers; item 7 has no cover."""
    folder = write_dataset(tmp_path_factory.mktemp("fusions") / "data", walks(), items=ITEMS)
    covers = zip(range(1, ITEMS + 1), jpegs(0, ITEMS), strict=True)
    write_covers(folder, {f"i{n}": image for n, image in covers if n != NO_COVER})
    title = EncodeConfig(str(tiny_bert), pooling="mean", layers=[2], tokens=2)
    cover = EncodeConfig(str(tiny_vit), source="cover", layers=[1])
    prep.encode(folder, PrepConfig(encode={"title": title, "cover": cover}))
    return folder


def config(data: Path, output: Path, *more: str) -> RunConfig:
    return parse_run_config([*WORDS, f"--data={data}", f"--output={output}", *more])


CO = [*ENCODERS, *STORED, "--towers=[title, cover]", "--fusion.kind=co-attention", "--fusion.inner_width=24"]  # fmt: skip


def test_a_co_attention_run_is_trained_resumed_loaded_and_reported(
    data: Path, tmp_path: Path
) -> None:
    """Titles from stored token states, covers from pictures."""
    run, parts = tmp_path / "run", tmp_path / "parts"
    train(config(data, run, *CO))
    train(config(data, parts, *CO, "--train.epochs=1"))
    train(config(data, parts, *CO, "--resume"))
    whole, resumed = models.load(run), models.load(parts)
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    saved = read_json(run / "model" / "config.json")["item_encoder"]
    assert saved["fusion"] == {"kind": "co-attention", "inner_width": 24}
    assert saved["activation"] == "none"
    assert evaluate(run) == read_json(run / "metrics" / "test.json")
    assert whole.recommend([["i1", "i2"]], k=3).num_rows == 3
    assert "over 2 towers of raw content" in (run / "model" / "README.md").read_text()
    assert report([run], output=tmp_path / "page.html", progress=False)["runs"]


def test_each_item_is_encoded_as_it_is_alone(data: Path, tmp_path: Path) -> None:
    """Tokens are padded to the longest of a batch; a missing cover and `id` are one token."""
    chosen, dataset = config(data, tmp_path, *CO), open_dataset(data)
    encoder = build(chosen, dataset).eval().item_encoder
    features = make_features(chosen, dataset, item_encoder=encoder)
    items = torch.tensor([1, 10, NO_COVER, 33])
    with torch.no_grad():
        encoder.missing["cover"].state.fill_(2.0)
        parts = encoder.parts(features.gather(items))
        together = encoder(features.gather(items))
        alone = torch.cat([encoder(features.gather(item[None])) for item in items])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    title, cover = parts["title"], parts["cover"]
    assert title.real.sum(1).unique().numel() > 1 and title.states.shape[2] == 16
    assert cover.real.sum(1).tolist() == [5, 5, 1, 5]  # a class token and 2 x 2 patches
    head = encoder.heads["cover"].first
    missing = head(torch.full((16,), 2.0))
    torch.testing.assert_close(cover.states[2, 0], missing)
    torch.testing.assert_close(encoder.fusion(parts), together)


def test_an_id_is_one_token_of_merge_attention(data: Path, tmp_path: Path) -> None:
    more = [*ENCODERS, "--adapt=frozen", "--towers=[id, title]", "--fusion.kind=merge-attention"]
    run = tmp_path / "run"
    train(config(data, run, *more, "--train.epochs=1"))
    trained = models.load(run)
    encoder = trained.model.item_encoder
    features = make_features(trained.config, open_dataset(data), item_encoder=encoder)
    given = features.gather(torch.tensor([4, 2]))
    tokens = encoder.parts(given)["id"]
    assert torch.equal(tokens.states[:, 0], encoder.vectors.table.weight[[4, 2]])
    assert tokens.real.tolist() == [[True], [True]] and not trained.config.knows_new_items


@pytest.mark.parametrize(
    ("item", "words", "saved"),
    [
        ("pooled", ["kind=film", "norm=true", "mlp=2", "condition=cover"], {"norm": True, "mlp": 2, "condition": "cover"}),
        ("encoders", ["kind=gated", "mlp=1", "mlp_dropout=0"], {"mlp": 1, "mlp_dropout": 0.0}),
        ("side-network", ["kind=sum", "maps=true"], {"maps": True}),
    ],
)  # fmt: skip
def test_a_fusion_of_vectors_is_trained_saved_and_loaded(
    item: str, words: list[str], saved: dict[str, object], data: Path, tmp_path: Path
) -> None:
    more = [f"--item={item}", "--towers=[title, cover]", *(f"--fusion.{word}" for word in words)]
    more += ["--train.epochs=1", *(["--adapt=frozen"] if item == "encoders" else [])]
    train(config(data, tmp_path / "run", *more))
    trained = models.load(tmp_path / "run")
    record = read_json(tmp_path / "run" / "model" / "config.json")["item_encoder"]["fusion"]
    assert record == {"kind": words[0].removeprefix("kind="), **saved}
    stored = read_weights(tmp_path / "run" / "model" / "model.safetensors").tensors
    weights = trained.model.item_encoder.fusion.state_dict()
    assert weights
    for name, value in weights.items():
        assert torch.equal(value, stored[f"item_encoder.fusion.{name}"])
    assert trained.recommend([["i1", "i2"]], k=3).num_rows == 3


TWO = "--towers=[title, cover]"
REFUSED = [
    (["--item=pooled", TWO, "kind=co-attention"],
     r"kind co-attention joins tokens, but the parts of a two-stage model are vectors; choose --item encoders, or one of "
     r"these fusions: concat, sum, film, gated"),
    (["--item=side-network", TWO, "kind=merge-attention"], "the parts of a side network are vectors"),
    (["--item=encoders", "--towers=[title]", "kind=merge-attention"], r"joins at least 2 towers, and the run has \['title'\]"),
    (["--item=pooled", "--towers=[title]", "kind=film"], "film joins at least 2 towers"),
    (["--item=pooled", "--towers=[id, title, cover]", "kind=gated"],
     r"fusion.kind gated: joins exactly two parts, and the item has \['id', 'title', 'cover'\]"),
    (["--item=side-network", TWO, "kind=film"], r"exactly two parts, .*'inter'\]; .* --side.parts intra"),
    (["--item=encoders", "--adapt=frozen", "--towers=[id, title, cover]", "kind=co-attention"],
     "fusion.kind co-attention: joins exactly two parts"),
    (["--item=pooled", TWO, "kind=film", "condition=titel"], r"condition is 'titel'; the parts are \['title', 'cover'\]"),
    (["--item=encoders", "--adapt=frozen", TWO, "kind=merge-attention", "heads=3"],
     "fusion.kind merge-attention: embedding_dim 16 is not divisible by heads 3"),
    ([TWO, "kind=film", "mlp=-1"], r"fusion.mlp is -1; it must be at least 0"),
    ([TWO, "kind=sum", "mlp_dropout=1"], r"fusion.mlp_dropout is 1.0; it must be in \[0, 1\)"),
    ([TWO, "kind=concat", "dropout=1"], r"fusion.dropout is 1.0; it must be in"),
    ([TWO, "kind=co-attention", "layers=0"], "fusion.layers is 0; it must be at least 1"),
    ([TWO, "kind=co-attention", "dropout=-0.1"], "fusion.dropout is -0.1; it must be in"),
    ([TWO, "kind=gated", "maps=true"], r"--fusion\.maps"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_does_not_fit_is_refused(
    words: list[str], message: str, data: Path, tmp_path: Path
) -> None:
    more = [word if word.startswith("--") else f"--fusion.{word}" for word in words]
    with pytest.raises(UserError, match=message):
        build(config(data, tmp_path / "run", *more), open_dataset(data))


def test_without_the_inter_tower_a_side_network_has_two_parts(data: Path, tmp_path: Path) -> None:
    more = [TWO, "--fusion.kind=film", "--side.parts=intra"]
    model = build(config(data, tmp_path / "run", *more), open_dataset(data))
    assert model.item_encoder.fusion.parts == ("title", "cover")


def test_the_preset_of_mmsr_builds_with_its_fusions(
    data: Path, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    more = ["--config=mmsr", f"--encoders.title.encoder={tiny_bert}", f"--encoders.cover.encoder={tiny_vit}",
            "--side.embedding_dim=24", "--encoders.title.revision=null"]  # fmt: skip
    merged = build(config(data, tmp_path, *more), open_dataset(data)).item_encoder
    assert isinstance(merged.fusion, models.FUSIONS["merge-attention"].fusion)
    assert merged.fusion.attention[0].heads == 12 and merged.activation == "none"
    film = config(
        data, tmp_path, *more, "--fusion.kind=film", "--fusion.norm=true", "--fusion.mlp=3"
    )
    assert len(build(film, open_dataset(data)).item_encoder.fusion.mlp) == 9
