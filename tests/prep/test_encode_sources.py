"""Towers over frames, captions and joined texts: the library's own states, and what is refused."""

from dataclasses import replace
from importlib import import_module

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_dataset import write_captions
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import prep
import toolkit
from prep import CaptionConfig, EncodeConfig, PrepConfig
from prep.encode import refuse_incomplete
from prep.executors.local import here
from prep.steps import manifest
from prep.steps.pipeline import errors_of
from prep.towers.encoding import Encoding, load
from toolkit import UserError, schema
from toolkit.images import decode_jpeg
from toolkit.json_files import write_json
from toolkit.store import Table, read_file, write_table

FRAMES = {"a": 3, "b": None, "c": 1, "d": 5, "e": 2}  # of each clip; b's could not be decoded
CAPTIONS = {"a": "One two", "b": None, "c": "three " * 60, "d": "four", "e": "five six seven"}


def jpegs(seed, count):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", frame)[1].tobytes() for frame in pixels]


@pytest.fixture
def dataset(write_microlens, tmp_path):
    """Five items: clips of different lengths, two of them cut, one broken; captions, one missing."""
    titles = "item,title\na,first\nb,\nc,third\nd,\ne,fifth\n"
    folder = tmp_path / "out"
    prep.ingest(write_microlens(titles=titles, pairs_tsv="u\ta b c d e\n"), folder)
    rows = [
        {
            "item_id": id_,
            "frames": jpegs(seed, count) if count else None,
            "status": {None: "corrupt", 5: "ok"}.get(count, "truncated"),
        }
        for seed, (id_, count) in enumerate(FRAMES.items())
    ]
    Table(folder / "frames").append(pa.Table.from_pylist(rows, schema=schema.FRAMES))
    manifest.record_step(folder, "frames", {"frame_count": 5})
    write_captions(folder, "told", CAPTIONS)
    return folder


def encoded(dataset, **towers):
    prep.encode(dataset, PrepConfig(encode=towers))
    return toolkit.open_dataset(dataset)


def states_of_text(folder, text, max_tokens):
    """The library's own, of one text alone: (K, D), pooled by cls."""
    model = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        text.lower(), truncation=True, max_length=max_tokens, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model(**tokens, output_hidden_states=True).hidden_states
    return torch.stack([layer[0, 0] for layer in hidden])


def assert_stored(found, expected):
    """Equal to float16 rounding: half a unit in the last place, and float32's noise."""
    torch.testing.assert_close(found.float(), expected, rtol=2**-11 + 1e-5, atol=2e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 128])
def test_frames_have_the_mean_of_the_library_s_own_states(dataset, tiny_vit, batch_size):
    config = EncodeConfig(str(tiny_vit), source="frames", batch_size=batch_size)
    data = encoded(dataset, frames=config)
    assert data.tower("frames") == toolkit.TowerSpec("frames", 3, 16, "image")
    processor = AutoImageProcessor.from_pretrained(tiny_vit)
    model = AutoModel.from_pretrained(tiny_vit).eval()
    for row, clip in enumerate(data.source("frames").to_pylist(), start=1):
        frames = []
        for frame in clip or []:
            with torch.no_grad():
                pixels = processor(images=decode_jpeg(frame), return_tensors="pt")
                hidden = model(**pixels, output_hidden_states=True).hidden_states
            frames.append(torch.stack([layer[0, 0] for layer in hidden]))
        expected = torch.stack(frames).mean(0) if frames else torch.zeros(3, 16)
        assert_stored(data.states("frames")[row], expected)


def test_failed_frames_and_captions_have_errors_rows(dataset, tiny_vit, tiny_bert):
    config = {
        "frames": EncodeConfig(str(tiny_vit), source="frames"),
        "told": EncodeConfig(str(tiny_bert), source="told"),
        "joint": EncodeConfig(str(tiny_bert), source="concat:title+told"),
    }
    data = encoded(dataset, **config)
    told = {
        tower: [
            (row["item_id"], row["error_class"], row["message"])
            for row in errors_of(dataset, f"encode:{tower}").to_pylist()
        ]
        for tower in config
    }
    assert told == {
        "frames": [("b", "missing", "no frames are stored (why: step frames)")],
        "told": [("b", "missing", "it has no usable caption (why: step caption:told)")],
        "joint": [("b", "empty", "it has none of title, told")],
    }
    for tower in config:
        assert not data.states(tower)[data.item_ids.number("b")].any()


def test_a_clip_with_a_broken_frame_is_corrupt(dataset, tiny_vit):
    clip = [*jpegs(9, 1), b"no picture"]
    row = {"item_id": "a", "frames": clip, "status": "ok"}
    rest = Table(dataset / "frames").read().slice(1)
    table = pa.concat_tables([pa.Table.from_pylist([row], schema=schema.FRAMES), rest])
    Table(dataset / "frames").replace(0, table)
    encoded(dataset, frames=EncodeConfig(str(tiny_vit), source="frames"))
    first, second = errors_of(dataset, "encode:frames").to_pylist()
    assert (first["item_id"], first["error_class"]) == ("a", "corrupt")
    assert first["message"].startswith("the stored frames cannot be decoded (10 bytes that are no")
    assert (second["item_id"], second["error_class"]) == ("b", "missing")


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"source": "title"}, 30),
        ({"source": "told"}, 128),
        ({"source": "concat:told+title"}, 128),
        ({"source": "told", "max_tokens": 7}, 7),
        ({"source": "title", "max_tokens": 7}, 7),
    ],
)
def test_texts_are_cut_where_their_source_says(dataset, tiny_bert, options, limit):
    config = EncodeConfig(str(tiny_bert), **options)
    assert config.token_limit == limit
    data = encoded(dataset, tower=config)
    for row, text in enumerate(data.source(config.source).to_pylist(), start=1):
        expected = states_of_text(tiny_bert, text, limit) if text else torch.zeros(4, 16)
        assert_stored(data.states("tower")[row], expected)
    assert data.manifest["steps"]["encode:tower"]["config"]["max_tokens"] == limit


def test_a_dataset_of_before_the_limit_was_left_open_goes_on(dataset, tiny_bert, capsys):
    """It has max_tokens 30 on record, for every tower."""
    title = EncodeConfig(str(tiny_bert), max_tokens=30)
    encoded(dataset, title=title)
    prep.encode(dataset)
    encoded(dataset, title=replace(title, max_tokens=None))
    assert capsys.readouterr().out.count("encode:title: 0 of 5 items done now") == 2


@pytest.mark.parametrize("source", ["told", "concat:title+told"])
def test_states_of_other_captions_are_refused(dataset, tiny_bert, source):
    config = EncodeConfig(str(tiny_bert), source=source)
    data = encoded(dataset, tower=config)
    about = data.manifest["steps"]["caption:told"]["config_hash"]
    assert data.states_metadata("tower")["captions"] == f"told {about}"
    (shard,) = Table(dataset / "captions" / "told").shards()
    shard.path.unlink()
    write_captions(dataset, "told", CAPTIONS, model="another")
    message = (
        rf'tower was made with captions = "told {about}", and now captions = "told (?!{about})'
    )
    with pytest.raises(UserError, match=message):
        encoded(dataset, tower=config)


def test_unfinished_captions_are_refused(dataset, tiny_bert):
    config = EncodeConfig(str(tiny_bert), source="concat:title+told")
    half = read_file(Table(dataset / "captions" / "told").shards()[0].path).slice(0, 2)
    Table(dataset / "captions" / "told").replace(0, half)
    with pytest.raises(
        UserError, match=r"'told' are not finished, 2 of 5 items have theirs; run pr"
    ):
        encoded(dataset, tower=config)
    about = manifest.require(dataset)
    del about["steps"]["caption:told"]
    write_json(dataset / "dataset.json", about)
    with pytest.raises(UserError, match="captions 'told' are not finished; run prep caption first"):
        encoded(dataset, tower=config)
    assert not (dataset / "states").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sound", r"tower 'x': source 'sound' is unknown; known: title, cover, frames, told; "),
        ("concat:title+sound", "tower 'x': source 'sound' is unknown"),
        (
            "concat:title+frames",
            "tower 'x': source 'concat:title.frames' joins texts, but 'frames'",
        ),
        ("concat:title", "tower 'x': source 'concat:title' must join two or more texts"),
    ],
)
def test_an_unknown_source_is_refused_before_anything_runs(
    dataset, write_microlens, tmp_path, source, message
):
    config = PrepConfig(encode={"x": EncodeConfig("./absent", source=source)})
    with pytest.raises(UserError, match=message):
        prep.encode(dataset, config)
    with pytest.raises(UserError, match=message.replace(", told", "")):
        prep.build(tmp_path / "small", tmp_path / "built", config)
    assert not (tmp_path / "built").exists()


def test_captions_that_are_configured_are_a_known_source(tmp_path):
    towers = {"x": EncodeConfig("y", source="concat:title+soon")}
    config = PrepConfig(caption={"soon": CaptionConfig(model="z")}, encode=towers)
    refuse_incomplete(config, tmp_path)


def test_workers_carry_the_batch_size(dataset, tiny_vit):
    work = Encoding(dataset, EncodeConfig(str(tiny_vit), source="frames", batch_size=3))
    assert work.frozen.batch_size == load(work.config).batch_size == 3


def test_every_stored_image_is_decoded_once(dataset, tiny_vit, monkeypatch):
    work = Encoding(dataset, EncodeConfig(str(tiny_vit), source="frames", batch_size=2))
    assert work.frozen.encoder.layers == 3  # loaded now: that decodes two blank images
    decoded, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(1) or imdecode(*args))
    (batch,) = work.data.items.select(["item_id", "item"]).to_batches()
    rows = work(batch)
    assert rows["status"].to_pylist() == ["ok", "missing", "ok", "ok", "ok"]
    assert len(decoded) == sum(filter(None, FRAMES.values()))


def test_states_do_not_depend_on_workers(dataset, tiny_vit, monkeypatch, capsys):
    """Shards of two items, so that each is read while an earlier one is encoded; one clip is broken, one is absent."""
    monkeypatch.setattr(import_module("prep.encode"), "SHARD", 2)
    (shard,) = Table(dataset / "frames").shards()
    rows = read_file(shard.path).to_pylist()
    rows[3]["frames"][2] = b"no image"
    write_table(shard.path, pa.Table.from_pylist(rows, schema=schema.FRAMES), compression="zstd")
    towers = {
        f"workers{workers}": EncodeConfig(
            str(tiny_vit), source="frames", batch_size=2, workers=workers, tokens=1
        )
        for workers in (0, 1, 4)
    }
    data = encoded(dataset, **towers)
    first, *others = (data.states(tower) for tower in towers)
    assert first[[1, 3, 5]].abs().sum(dim=(1, 2)).all() and not first[[2, 4]].any()
    assert all(torch.equal(first, other) for other in others)
    shards = [Table(dataset / "tokens" / tower).shards() for tower in towers]
    kept, *rest = (pa.concat_tables(read_file(shard.path) for shard in one) for one in shards)
    assert kept.num_rows == len(FRAMES) and all(table.equals(kept) for table in rest)
    errors = [errors_of(dataset, f"encode:{tower}").drop_columns("step") for tower in towers]
    assert errors[0].num_rows == 2 and all(one.equals(errors[0]) for one in errors)
    assert capsys.readouterr().out.count("% of the time for its inputs") == 2 * len(towers)


def test_a_shard_is_read_while_the_one_before_is_encoded(dataset, tiny_vit):
    work = Encoding(dataset, EncodeConfig(str(tiny_vit), source="frames"))
    batches = work.data.items.select(["item_id", "item"]).slice(0).to_batches(max_chunksize=2)
    expected = [work(batch) for batch in batches]
    asked, payloads = [], work.payloads
    work.payloads = lambda batch: asked.append(batch) or payloads(batch)
    results = here(work, batches)
    assert next(results).equals(expected[0])
    ((batch, reading),) = work._expected
    next(reading.batches)  # was begun by nobody's request
    assert batch is batches[1] and len(asked) == 2
    work._expected.clear()
    assert all(table.equals(other) for table, other in zip(results, expected[1:], strict=True))
