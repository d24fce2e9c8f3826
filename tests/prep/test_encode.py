"""Hidden states equal the library's own, item by item; a change of anything they depend on is refused."""

import json
import re
import shutil
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import prep
import toolkit
from models.inputs.features import load_live
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.encode import _placed
from prep.steps import manifest
from prep.steps.pipeline import errors_of
from toolkit import UserError
from toolkit.backbones import load_backbone, pooling
from toolkit.backbones.fingerprint import fingerprint_of_parts
from toolkit.images import decode_jpeg
from toolkit.store import Table, read_file

TITLES = ["a much longer Title than the others are", "Short", "abc def", "x", "one two three"]


@pytest.fixture
def dataset(write_microlens, tmp_path):
    """Five titles and one that is empty."""
    rows = "".join(f"i{number},{title}\n" for number, title in enumerate(TITLES))
    dump = write_microlens(titles=f"item,title\n{rows}i9,\n", pairs_tsv="u\ti0 i1 i2 i3 i4\n")
    prep.ingest(dump, tmp_path / "out")
    return tmp_path / "out"


def towers(**towers):
    return PrepConfig(media=MediaConfig(workers=1), encode=towers)


def encoded(dataset, **options):
    prep.encode(dataset, towers(title=EncodeConfig(**options)))
    return toolkit.open_dataset(dataset)


def close_to_a_half(found, expected):
    """Equal to float16 rounding: half a unit in the last place, and float32's noise."""
    expected = expected.float()
    return torch.allclose(found.float(), expected, rtol=2**-11 + 1e-5, atol=2e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_states_are_the_library_s_own_item_by_item(dataset, tiny_bert, pooling):
    data = encoded(dataset, encoder=str(tiny_bert), pooling=pooling, batch_size=2)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_bert),
        AutoModel.from_pretrained(tiny_bert),
    )
    pool = {"cls": lambda h: h[0, 0], "mean": lambda h: h[0].mean(0), "last": lambda h: h[0, -1]}
    found = data.states("title")
    assert found.shape == (7, 4, 16)
    for row, title in enumerate(TITLES, start=1):
        inputs = tokenizer(title.lower(), truncation=True, max_length=30, return_tensors="pt")
        with torch.no_grad():
            hidden = model.eval()(**inputs, output_hidden_states=True).hidden_states
        expected = torch.stack([pool[pooling](layer) for layer in hidden])
        assert close_to_a_half(found[row], expected)
    assert not found[0].any() and not found[6].any()


def test_layers_tokens_and_case_are_heeded(dataset, tiny_bert):
    data = encoded(dataset, encoder=str(tiny_bert), layers=[0, 2], max_tokens=4, lowercase=False)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_bert),
        AutoModel.from_pretrained(tiny_bert),
    )
    inputs = tokenizer(TITLES[0], truncation=True, max_length=4, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval()(**inputs, output_hidden_states=True).hidden_states
    expected = torch.stack([hidden[index][0, 0] for index in (0, 1, 3)])
    assert close_to_a_half(data.states("title")[1], expected)


def test_images_too(synth_dump, tiny_vit, tmp_path):
    config = towers(picture=EncodeConfig(str(tiny_vit), source="cover"))
    prep.build(synth_dump, tmp_path / "out", config)
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.tower("picture") == toolkit.TowerSpec("picture", 3, 16, "image")
    processor, model = (
        AutoImageProcessor.from_pretrained(tiny_vit),
        AutoModel.from_pretrained(tiny_vit),
    )
    covers = data.source("cover")
    for row in (1, 24):
        image = processor(images=decode_jpeg(covers[row - 1].as_py()), return_tensors="pt")
        with torch.no_grad():
            hidden = model.eval()(**image, output_hidden_states=True).hidden_states
        expected = torch.stack([layer[0, 0] for layer in hidden])
        assert close_to_a_half(data.states("picture")[row], expected)


def test_an_empty_title_has_zeros_and_an_errors_row(dataset, tiny_bert):
    data = encoded(dataset, encoder=str(tiny_bert))
    (row,) = errors_of(dataset, "encode:title").to_pylist()
    assert row == {
        "item_id": "i9",
        "step": "encode:title",
        "error_class": "empty",
        "message": "the title is empty",
    }
    assert data.manifest["steps"]["encode:title"]["items"] == {"ok": 5, "empty": 1}
    assert prep.check(dataset) == []


def test_a_missing_or_undecodable_cover_has_an_errors_row(own_dump, tiny_vit, tmp_path):
    covers = sorted((own_dump / "covers").iterdir())
    covers[4].unlink()
    config, out = towers(cover=EncodeConfig(str(tiny_vit), source="cover")), tmp_path / "out"
    prep.ingest(own_dump, out, config)
    prep.media(own_dump, out, config)
    shard = Table(out / "covers", compression=None)
    rows = shard.read()
    spoilt = rows["image"].to_pylist()
    spoilt[7] = b"no image"
    position = rows.schema.get_field_index("image")
    shard.replace(0, rows.set_column(position, rows.schema.field("image"), [spoilt]))
    prep.encode(out, config)
    told = {
        row["item_id"]: row["error_class"] for row in errors_of(out, "encode:cover").to_pylist()
    }
    assert told == {covers[4].stem: "missing", rows["item_id"][7].as_py(): "corrupt"}
    assert prep.check(out) == []
    data = toolkit.open_dataset(out)
    stored = data.states("cover")[1:].float()
    assert (~stored.any(dim=2).any(dim=1)).sum() == 2
    live = load_live(data, ["cover"]).gather(torch.arange(1, len(stored) + 1))["cover"]
    torch.testing.assert_close(live, stored, rtol=1e-3, atol=1e-4)  # zeros for the same two


def test_shards_say_what_they_were_made_with(dataset, tiny_bert):
    encoded(dataset, encoder=str(tiny_bert), layers="group-2")
    (shard,) = Table(dataset / "states" / "title").shards()
    metadata = {k.decode(): v.decode() for k, v in read_file(shard.path).schema.metadata.items()}
    config = json.loads(metadata.pop("versa_config"))
    revision = metadata.pop("revision")
    assert revision.startswith("sha256:")
    assert metadata == {
        "encoder": str(tiny_bert),
        "layers": "3",
        "width": "16",
        "pooling": "cls",
        "source": "title",
        "modality": "text",
        "kept": "0,2,3",
        "precision": "float32",
        "quantize": "none",
        "dtype": "float16",
    }
    assert config["revision"] == revision and config["layers"] == "0,2,3"


def test_states_are_mapped_without_a_copy(dataset, tiny_bert):
    encoded(dataset, encoder=str(tiny_bert))
    (shard,) = Table(dataset / "states" / "title").shards()
    before = pa.total_allocated_bytes()
    states = read_file(shard.path).column("states").chunk(0).flatten()
    assert pa.total_allocated_bytes() == before
    assert states.to_numpy(zero_copy_only=True).dtype == np.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "mean"}, r'title was made with pooling = "cls", and now pooling = "mean"'),
        ({"layers": [1]}, r'layers = "0,1,2,3", and now layers = "0,2"'),
        ({"max_tokens": 5}, r"max_tokens = 30, and now max_tokens = 5"),
        ({"dtype": "bfloat16"}, r'precision = "float32", and now precision = "bfloat16"'),
        ({"lowercase": False}, r"lowercase = true, and now lowercase = false.*delete .*title"),
    ],
)
def test_other_states_are_refused(dataset, tiny_bert, change, message):
    encoded(dataset, encoder=str(tiny_bert))
    with pytest.raises(UserError, match=message):
        encoded(dataset, encoder=str(tiny_bert), **change)


def test_another_training_of_the_same_encoder_is_refused(dataset, tiny_bert, tmp_path):
    copy = shutil.copytree(tiny_bert, tmp_path / "bert")
    encoded(dataset, encoder=str(copy))
    model = AutoModel.from_pretrained(copy)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(copy)
    with pytest.raises(UserError, match=r'revision = "sha256:\w+", and now revision = "sha256:'):
        encoded(dataset, encoder=str(copy))


def test_the_same_layers_by_another_name_are_the_same(dataset, tiny_bert):
    encoded(dataset, encoder=str(tiny_bert), layers="all")
    encoded(dataset, encoder=str(tiny_bert), layers=[0, 1, 2], batch_size=1)


def test_shards_do_not_change_the_states(dataset, tiny_bert, monkeypatch):
    whole = encoded(dataset, encoder=str(tiny_bert)).states("title").clone()
    prep.encode(dataset, towers(once=EncodeConfig(str(tiny_bert))))
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 2)
    prep.encode(dataset, towers(twice=EncodeConfig(str(tiny_bert))))
    data = toolkit.open_dataset(dataset)
    assert len(Table(dataset / "states" / "twice").shards()) == 3
    assert torch.equal(data.states("once"), whole)
    assert torch.allclose(data.states("twice").float(), whole.float(), rtol=2**-10)


def test_resumed_states_are_the_same(dataset, tiny_bert, monkeypatch):
    whole = encoded(dataset, encoder=str(tiny_bert)).states("title").clone()
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 2)
    prep.encode(dataset, towers(parts=EncodeConfig(str(tiny_bert))))
    Table(dataset / "states" / "parts").shards()[1].path.unlink()
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 1)
    prep.encode(dataset, towers(parts=EncodeConfig(str(tiny_bert), batch_tokens=1)))
    parts = toolkit.open_dataset(dataset).states("parts")
    assert torch.allclose(parts.float(), whole.float(), rtol=2**-10)


@pytest.fixture
def loud_bert(tiny_bert, tmp_path):
    """Its states reach beyond float16, all of them."""
    copy = shutil.copytree(tiny_bert, tmp_path / "bert")
    model = AutoModel.from_pretrained(copy)
    with torch.no_grad():
        model.embeddings.LayerNorm.bias += 1e5
    model.save_pretrained(copy)
    return str(copy)


def test_states_beyond_float16_are_stored_in_bfloat16(dataset, loud_bert, capsys):
    data = encoded(dataset, encoder=loud_bert)
    told = r"encode:title: encoder .* up to 10\d+, and float16 ends at 65504; .* bfloat16, so the table"
    assert len(re.findall(told, capsys.readouterr().out)) == 1
    found = data.states("title")
    expected = load_backbone(loud_bert, modality="text").encode(TITLES)
    assert found.dtype == torch.bfloat16 and found.isfinite().all()
    assert torch.allclose(found[1:6].float(), expected, rtol=2**-8)
    assert prep.check(dataset) == []


def test_a_table_that_has_begun_in_float16_is_written_afresh(
    dataset, tiny_bert, monkeypatch, capsys
):
    """The last text alone has states that are too large; those before it are stored by then."""
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 1)
    loud = pooling.cls

    def cls(states, mask):
        return loud(states, mask) * (1e6 if mask.sum() == 13 else 1.0)

    monkeypatch.setitem(pooling.POOLINGS, "cls", cls)  # "one two three": 11 letters, [CLS], [SEP]
    data = encoded(dataset, encoder=str(tiny_bert), batch_tokens=1)
    assert data.states("title").dtype == torch.bfloat16
    assert len(Table(dataset / "states" / "title").shards()) == 6
    assert prep.check(dataset) == []
    prep.encode(dataset)  # goes on in bfloat16, and has nothing left to do
    assert "encode:title: 0 of 6 items done now" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_states_are_stored_in_the_asked_precision(dataset, tiny_bert, dtype):
    data = encoded(dataset, encoder=str(tiny_bert), store=dtype)
    expected = load_backbone(str(tiny_bert), modality="text").encode(TITLES)
    found = data.states("title")[1:6]
    assert found.dtype == getattr(torch, dtype)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=2**-7, atol=1e-5)
    with pytest.raises(UserError, match=f'made with store = "{dtype}", and now store = "float16"'):
        encoded(dataset, encoder=str(tiny_bert))


def test_states_that_are_not_finite_are_refused(dataset, tiny_bert, monkeypatch):
    monkeypatch.setitem(pooling.POOLINGS, "cls", lambda states, mask: states[:, 0] / 0)
    with pytest.raises(UserError, match="gives states that are not finite; compute in a wider"):
        encoded(dataset, encoder=str(tiny_bert))
    assert not Table(dataset / "states" / "title").exists()


def test_what_is_recorded_goes_on(dataset, tiny_bert, capsys):
    encoded(dataset, encoder=str(tiny_bert))
    prep.encode(dataset)
    assert "encode:title: 0 of 6 items done now" in capsys.readouterr().out


def test_trust_in_an_encoder_s_code_is_not_handed_on_with_a_dataset(dataset, tiny_bert):
    encoded(dataset, encoder=str(tiny_bert), trust_remote_code=True, batch_size=7)
    again = manifest.recorded_config(dataset).encode["title"]
    assert again == EncodeConfig(str(tiny_bert), batch_size=7, trust_remote_code=False)


def test_the_record_of_a_tower_has_the_keys_that_it_had_before_encoder_specs(dataset, tiny_bert):
    """Of version 0.1's `asdict(EncodeConfig)` and states: a rerun compares them, whoever wrote them."""
    data = encoded(dataset, encoder=str(tiny_bert))
    step = data.manifest["steps"]["encode:title"]["config"]
    assert step == {
        "encoder": str(tiny_bert),
        "source": "title",
        "pooling": "cls",
        "layers": "all",
        "revision": None,
        "max_tokens": 30,
        "lowercase": True,
        "device": "auto",
        "batch_size": 128,
        "batch_tokens": None,
        "device_map": None,
        "dtype": "auto",
        "store": "float16",
        "quantize": "none",
        "trust_remote_code": False,
    }
    settings = data.states_settings("title")
    assert settings == {
        "encoder": str(tiny_bert),
        "revision": settings["revision"],
        "source": "title",
        "pooling": "cls",
        "layers": "0,1,2,3",
        "precision": "float32",
        "quantize": "none",
        "store": "float16",
        "processor": "BertTokenizer (tokenizers)",
        "max_tokens": 30,
        "lowercase": True,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ({"batch_tokens": 0}, "batch_tokens is 0; it must be at least 1"),
        ({"device": "cpu", "device_map": "auto"}, "device is cpu and device_map is auto; set one"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        EncodeConfig("x", **options)


@pytest.mark.parametrize(
    ("options", "gpus", "device", "dtype"),
    [
        ({}, 0, "cpu", "float32"),
        ({}, 0.5, "auto", "saved"),
        ({"dtype": "float16"}, 1, "auto", "float16"),
        ({"device_map": "auto"}, 2, "auto", "saved"),
    ],
)
def test_what_a_cluster_computes_on_and_in_is_settled_before(options, gpus, device, dtype):
    config = PrepConfig(executor="ray", gpus_per_worker=gpus)
    placed = _placed(EncodeConfig("x", **options), config)
    assert (placed.device, placed.dtype) == (device, dtype)
    assert _placed(EncodeConfig("x", **options), PrepConfig()) == EncodeConfig("x", **options)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            towers(title=EncodeConfig()),
            "tower 'title' has no encoder; give one with --encode.title.enc",
        ),
        (towers(**{"a/b": EncodeConfig("x")}), "tower name 'a/b' cannot name a folder"),
        (
            towers(cover=EncodeConfig("x", source="cover")),
            "covers: no such table; run the prep step",
        ),
        (towers(title=EncodeConfig("./absent")), r"encoder '\./absent': no such folder"),
    ],
)
def test_towers_that_cannot_be(dataset, config, message):
    with pytest.raises(UserError, match=message):
        prep.encode(dataset, config)


def test_encode_needs_an_ingested_dataset(tmp_path):
    with pytest.raises(UserError, match="nothing has been ingested yet"):
        prep.encode(tmp_path)


def recorded_as(dataset, tower, **changes):
    """The tower as an older Versa, or another library, has recorded it: settings that are None are left out."""
    table = Table(dataset / "states" / tower, compression=None)
    for shard in table.shards():
        found = read_file(shard.path)
        metadata = {key.decode(): value.decode() for key, value in found.schema.metadata.items()}
        settings = {**json.loads(metadata["versa_config"]), **changes}
        kept = {key: value for key, value in settings.items() if value is not None}
        metadata |= {"versa_config": json.dumps(kept, sort_keys=True)}
        metadata |= {"revision": settings["revision"]}
        table.replace(shard.index, found.replace_schema_metadata(metadata))


def test_states_record_their_processor_and_settings(dataset, tiny_bert):
    settings = encoded(dataset, encoder=str(tiny_bert)).states_settings("title")
    assert settings["processor"] == "BertTokenizer (tokenizers)"
    assert {"max_tokens", "lowercase", "quantize", "precision", "revision"} <= set(settings)


def test_another_processor_is_refused(dataset, tiny_bert):
    data = encoded(dataset, encoder=str(tiny_bert))
    recorded_as(dataset, "title", processor="BertTokenizer (python)")
    with pytest.raises(
        UserError, match=r'processor = "BertTokenizer \(python\)", and now .*tokenizers'
    ):
        encoded(dataset, encoder=str(tiny_bert))
    with pytest.raises(UserError, match=r"has processor .*tokenizers.*came from .*python"):
        load_live(data, ["title"])


def test_states_of_an_older_versa_go_on(dataset, tiny_bert, tmp_path, monkeypatch, capsys):
    """Its fingerprint is of parts of the files, and it did not record the processor."""
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 2)
    copy = shutil.copytree(tiny_bert, tmp_path / "bert")
    whole = encoded(dataset, encoder=str(copy)).states("title").clone()
    then = fingerprint_of_parts(copy)
    recorded_as(dataset, "title", revision=then, processor=None)
    Table(dataset / "states" / "title").shards()[1].path.unlink()
    capsys.readouterr()
    data = encoded(dataset, encoder=str(copy))
    assert "an older Versa that hashed only parts of the encoder's files" in capsys.readouterr().out
    assert torch.equal(data.states("title"), whole)
    assert data.states_metadata("title")["revision"] == then
    assert torch.equal(
        load_live(data, ["title"]).gather(torch.arange(1, 3))["title"].half(), whole[1:3]
    )
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=rf'revision = "{then}", and now revision = "sha256:'):
        encoded(dataset, encoder=str(copy))
