"""Tuned encoders outside their run: transformers opens them unaided, and prep stores states with them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_encoders import payloads_of, source_of, write_model

import models
from models.adaptation import ADAPTATIONS, adapt, merge
from models.cli import main
from models.config import parse_run_config
from models.train import train
from prep.cli import main as prep
from toolkit import UserError, open_dataset
from toolkit.backbones import EncoderSpec, FrozenEncoder, load_backbone, load_encoder
from toolkit.backbones.saving import save_encoder
from toolkit.json_files import read_json

MERGED = [name for name, kind in ADAPTATIONS.items() if kind.merge is not None]
FAST = ["--item=encoders", "--train.epochs=1", "--train.trackers=[]", "--side.embedding_dim=16", "--sequence.max_len=5",
        "--train.batch_size=32"]  # fmt: skip


@pytest.fixture(scope="module")
def run(
    raw_dataset: Path, tiny_bert: Path, tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Titles with LoRA, covers fully fine-tuned, at rates with which weights move."""
    output = tmp_path_factory.mktemp("tuned") / "run"
    words = [
        *FAST, f"--data={raw_dataset}", f"--output={output}", "--towers=[title, cover]",
        f"--encoders.title.encoder={tiny_bert}", "--encoders.title.pooling=mean", "--encoders.title.adapt=lora",
        "--encoders.title.adapt_settings={rank: 2, biases: true}", f"--encoders.cover.encoder={tiny_vit}",
        "--train.rates.text_adapter=0.01", "--train.rates.image_encoder=0.01",
    ]  # fmt: skip
    train(parse_run_config(words))
    return output


def test_a_tuned_encoder_is_opened_by_transformers_and_feeds_prep(
    run: Path, raw_dataset: Path, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    trained: Any = models.load(run).model.item_encoder
    sources = {name: open_dataset(raw_dataset).source_reader(name) for name in ("title", "cover")}
    for name, base in (("title", tiny_bert), ("cover", tiny_vit)):
        folder = tmp_path / name
        assert main(["export", str(run), "--merged", str(folder), "--tower", name]) == 0
        model = transformers.AutoModel.from_pretrained(folder)
        assert type(model) is type(transformers.AutoModel.from_pretrained(base))
        encoder = trained.encoders[name]
        payloads = sources[name].read([1, 2, 3]).to_pylist()
        with torch.no_grad():
            expected = encoder.hidden(encoder.prepare(payloads)).states
        pooling = encoder.spec.pooling
        prepared = load_backbone(str(folder), modality=encoder.modality, pooling=pooling)
        states = prepared.encoder.hidden(prepared.encoder.prepare(payloads)).states
        for ours, theirs in zip(states, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        untouched = load_backbone(str(base), modality=encoder.modality, pooling=pooling)
        assert not torch.allclose(
            untouched.encode(payloads), prepared.encode(payloads), atol=1e-3
        )  # as it would be, were the base exported
        facts = read_json(folder / "provenance.json")
        assert facts["base"] == {"encoder": base.name, "revision": trained.revisions[name]}
        assert facts["run"] == "run" and facts["run"] in (folder / "README.md").read_text()

    copy = tmp_path / "data"
    shutil.copytree(raw_dataset, copy)
    folder = tmp_path / "title"
    assert prep(["encode", str(copy), "--encode.tuned.encoder", str(folder),
                 "--encode.tuned.source", "title", "--encode.tuned.pooling", "mean"]) == 0  # fmt: skip
    data = open_dataset(copy)
    stored = data.state_table("tuned").gather(torch.tensor([1, 2, 3]))
    with torch.no_grad():
        inputs = trained.encoders["title"].prepare(sources["title"].read([1, 2, 3]).to_pylist())
        theirs = trained.encoders["title"](inputs)[:, -1]
    torch.testing.assert_close(stored[:, -1].float(), theirs, atol=2e-3, rtol=0)  # float16
    words = ["--config=text-only", "--towers=[tuned]", f"--data={copy}", f"--output={tmp_path / 'side'}",
             "--train.epochs=1", "--train.trackers=[]", "--sequence.max_len=5"]  # fmt: skip
    train(parse_run_config(words))


@pytest.mark.parametrize("method", [name.replace("K", "1") for name in MERGED])
@pytest.mark.parametrize("family", ["bert", "t5", "clip image", "vit"])
def test_every_method_that_is_merged_keeps_its_outputs(
    family: str, method: str, tmp_path: Path
) -> None:
    if family == "t5" and method == "bitfit":
        return  # it has no biases
    spec = EncoderSpec(
        write_model(tmp_path, family), source=source_of(family), pooling="mean", dtype="float32"
    )
    encoder = load_encoder(spec, final_norm=True)
    adapt(encoder, method)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        inputs = encoder.prepare(payloads_of(family))
        expected = encoder(inputs)
        merge(encoder, method)
        torch.testing.assert_close(encoder(inputs), expected, atol=1e-5, rtol=1e-5)
        save_encoder(encoder, tmp_path / "saved")
        saved = load_encoder(
            EncoderSpec(str(tmp_path / "saved"), source=spec.source, pooling="mean"),
            final_norm=True,
        )
        torch.testing.assert_close(
            saved(saved.prepare(payloads_of(family))), expected, atol=1e-5, rtol=1e-5
        )
    assert FrozenEncoder(saved).encode(payloads_of(family)).shape == expected.shape


def test_what_cannot_be_exported_is_refused(
    run: Path, circle_run: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(EncoderSpec(str(tiny_bert)))
    adapt(encoder, "houlsby")
    with pytest.raises(
        UserError,
        match=r"adapt houlsby adds modules .* frozen, full, top-K, bitfit, layernorm, lora, ",
    ):
        merge(encoder, "houlsby")
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    cases = {
        "a side network trains no encoder, so there is none": [str(circle_run), "--merged", str(tmp_path / "a")],
        "--tower: not given; .* trains encoders of title, cover": [str(run), "--merged", str(tmp_path / "a")],
        "--tower: 'frames'": [str(run), "--merged", str(tmp_path / "a"), "--tower", "frames"],
        "not an empty folder": [str(run), "--merged", str(full), "--tower", "title"],
        "nothing to write: expected OUT.npy": [str(run)],
        "--index requires OUT.npy": [str(run), "--merged", "a", "--index", "b"],
        "--tower requires --merged": [str(run), "a.npy", "--tower", "title"],
    }  # fmt: skip
    for message, words in cases.items():
        with pytest.raises(UserError, match=message):
            main(["export", *words])
