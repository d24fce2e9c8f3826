"""The estimate against the dataset that is then built."""

import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import prep
import toolkit
from prep import CaptionConfig, EncodeConfig, Estimate, MediaConfig, PrepConfig
from prep.cli import main
from prep.estimate import StepEstimate, _measure
from prep.steps.pipeline import Step, run_step
from prep.synth import write_dump
from prep.towers.rows import state_rows
from toolkit import UserError, schema
from toolkit.json_files import MANIFEST, write_json

ITEMS = 200


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Many more items than the sample has; one clip is broken, one cover missing."""
    out = tmp_path_factory.mktemp("estimate") / "dump"
    write_dump(out, items=ITEMS, users=60, progress=False)
    (out / "prep.yaml").unlink()
    next((out / "videos").iterdir()).write_bytes(b"no clip")
    next((out / "covers").iterdir()).unlink()
    return out


@pytest.fixture(scope="module")
def config(tiny_bert, tiny_vit, tmp_path_factory):
    towers = {
        "title": EncodeConfig(encoder=str(tiny_bert), layers=[1]),
        "cover": EncodeConfig(encoder=str(tiny_vit), source="cover"),
        "said": EncodeConfig(encoder=str(tiny_bert), source="concat:title+told"),
    }
    told = CaptionConfig(
        source="cover", model="package:prep/synth/tiny_vlm", max_new_tokens=24, batch_size=32
    )
    return PrepConfig(
        media=MediaConfig(workers=1, frame_count=2),
        caption={"told": told},
        caption_cache=str(tmp_path_factory.mktemp("cache")),
        encode=towers,
    )


@pytest.fixture(scope="module")
def estimated(dump, config):
    before = listing(dump)
    result = prep.estimate(dump, config)
    assert listing(dump) == before  # nothing is written into the dump
    return result


@pytest.fixture(scope="module")
def built(dump, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "out"
    prep.build(dump, out, config)
    return out


def listing(folder: Path):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def size(out: Path, table: str) -> int:
    return sum(path.stat().st_size for path in (out / table).glob("*.arrow"))


def test_every_step_has_its_rows(estimated, built):
    data = toolkit.open_dataset(built)
    rows = {step.step: step.rows for step in estimated.steps}
    assert estimated.items == data.items.num_rows == ITEMS
    assert rows.pop("ingest") == data.interactions.num_rows
    towers = ("encode:title", "encode:cover", "encode:said")
    assert rows == dict.fromkeys(["covers", "frames", "caption:told", *towers], ITEMS)


@pytest.mark.parametrize("tower", ["title", "cover", "said"])
def test_states_are_predicted_within_two_percent(estimated, built, tower):
    (step,) = [step for step in estimated.steps if step.step == f"encode:{tower}"]
    assert step.disk_bytes == pytest.approx(size(built, f"states/{tower}"), rel=0.02)
    assert step.low_bytes == step.disk_bytes == step.high_bytes


@pytest.mark.parametrize("dtype", schema.STATES_TYPES)
def test_states_of_every_dtype_within_two_percent(tmp_path, dtype):
    def work(batch):
        outcomes = [("ok", None)] * batch.num_rows
        return state_rows(batch, np.zeros((batch.num_rows, 6 * 32), np.float32), outcomes, dtype)

    columns = schema.states(6, 32, dtype).with_metadata({"dtype": dtype})
    step = Step("encode:tower", "states/tower", columns, {}, work, shard_rows=64)
    ids, numbers = [f"item {n}" for n in range(300)], pa.array(range(1, 301), pa.int32())
    items = pa.table({"item_id": ids, "item": numbers})
    write_json(tmp_path / "sample" / MANIFEST, {"schema_version": 1, "steps": {}})
    found = _measure(tmp_path / "sample", step, items.slice(0, 64), rows=300, workers=1)
    run_step(tmp_path / "whole", step, items)
    assert found.disk_bytes == pytest.approx(size(tmp_path / "whole", "states/tower"), rel=0.02)


@pytest.mark.parametrize("table", ["covers", "frames"])
def test_media_lie_within_the_stated_range(estimated, built, table):
    (step,) = [step for step in estimated.steps if step.step == table]
    assert step.low_bytes <= size(built, table) <= step.high_bytes
    assert 0.5 < step.low_bytes / step.high_bytes < 1  # a range that says something


def test_captions_lie_within_the_stated_range(estimated, built):
    """They are compressed, so the range is wide; asked of the model itself, they take time."""
    (step,) = [step for step in estimated.steps if step.step == "caption:told"]
    assert step.low_bytes <= size(built, "captions/told") <= step.high_bytes
    assert step.seconds > 0


def test_what_cannot_be_had_is_told_before_the_dump_is_read(dump, monkeypatch):
    monkeypatch.setattr(import_module("prep.estimate"), "number_items", None)
    absent = CaptionConfig(model="./absent")
    with pytest.raises(UserError, match=r"captions 'told': .*'\./absent': no such folder"):
        prep.estimate(dump, PrepConfig(caption={"told": absent}))
    tower = EncodeConfig("x", source="sound")
    with pytest.raises(UserError, match="tower 'heard': source 'sound' is unknown"):
        prep.estimate(dump, PrepConfig(encode={"heard": tower}))


def test_ingest_lies_within_its_range(estimated, built):
    step = estimated.steps[0]
    assert step.low_bytes <= size(built, "items") + size(built, "interactions") <= step.high_bytes


def test_more_workers_take_less_time_and_more_memory(dump, config, estimated):
    four = prep.estimate(
        dump, replace(config, media=replace(config.media, workers=4), caption={}, encode={})
    )
    one_frames, four_frames = estimated.steps[2], four.steps[2]
    assert (one_frames.step, four_frames.step) == ("frames", "frames")
    assert four_frames.memory_bytes > one_frames.memory_bytes
    assert four.workers == 4


def test_a_small_dump_is_measured_whole(synth_dump, config):
    steps = {
        step.step: step
        for step in prep.estimate(synth_dump, replace(config, caption={}, encode={})).steps
    }
    assert set(steps) == {"ingest", "covers", "frames"}
    # 20 of 24 are in the sample: what is left open is small.
    assert steps["covers"].low_bytes > 0.9 * steps["covers"].high_bytes


def test_the_command_prints_a_table(own_dump, capsys):
    (own_dump / "prep.yaml").unlink()
    shutil.rmtree(own_dump / "covers")
    assert main(["estimate", str(own_dump), "--media.workers", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["step", "rows", "time", "disk", "peak", "memory"]
    assert [text.split()[0] for text in told[1:4]] == ["ingest", "frames", "total"]
    assert told[4] == "with 1 decoding process; measured on a sample, on this machine"


def test_too_little_disk_is_a_warning():
    step = StepEstimate("frames", 10, 90.0, 3 * 2**30, 2 * 2**30, 4 * 2**30, 2**30)
    enough = Estimate(items=10, workers=2, free_bytes=4 * 2**30, steps=(step,))
    assert "warning" not in str(enough)
    assert "frames    10  2 min  3.0 GiB (2.0 GiB to 4.0 GiB)      1.0 GiB" in str(enough)
    assert "warning: the dataset needs 1.0 GiB more" in str(replace(enough, free_bytes=3 * 2**30))
