"""Released frames: count, order, and the status of every kind of defect."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.pictures.stills import make_stills
from prep.steps.pipeline import errors_of
from toolkit import UserError
from toolkit.images import decode_jpeg

NAME = "MicroLens-100k_frames_interval_1_number_5"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "dump" / NAME / NAME
    path.mkdir(parents=True)
    return path


def draw(folder, item_id, ks=range(1, 6), size=(64, 32)):
    """Frame k is grey of level 40 k, so that a stored frame tells its k."""
    for k in ks:
        Image.new("RGB", size, (40 * k,) * 3).save(folder / f"{item_id}-{k}.jpg")


def stills_of(folder, item_id="7", count=5, px=224):
    batch = pa.RecordBatch.from_pydict({"item_id": [item_id]})
    dump = folder.parents[1]
    table = make_stills(batch, dump=dump, folder=folder, frame_count=count, frame_px=px)
    (row,) = table.to_pylist()
    return row


def levels(row):
    return [round(decode_jpeg(frame).mean() / 40) for frame in row["frames"]]


def test_frames_come_in_their_order_and_without_times(folder):
    draw(folder, "7")
    row = stills_of(folder)
    assert levels(row) == [1, 2, 3, 4, 5]
    assert (row["status"], row["message"], row["backend"]) == ("ok", None, "released")
    assert (row["pts_seconds"], row["duration_seconds"], row["fps"]) == (None, None, None)


def test_they_shrink_like_frames_of_clips(folder):
    draw(folder, "7", size=(640, 320))
    assert {decode_jpeg(frame).shape for frame in stills_of(folder)["frames"]} == {(224, 448, 3)}


def test_fewer_are_the_first_and_more_than_there_are_is_truncated(folder):
    draw(folder, "7")
    assert levels(stills_of(folder, count=2)) == [1, 2]
    row = stills_of(folder, count=6)
    assert (row["status"], len(row["frames"])) == ("truncated", 5)
    assert row["message"] == f"5 of 6 frames are readable: {NAME}/7-6.jpg is not in the dump"


def test_some_absent_or_broken_is_truncated(folder):
    draw(folder, "7", ks=(1, 2, 4, 5))
    (folder / "7-4.jpg").write_bytes(b"")
    row = stills_of(folder)
    assert (row["status"], levels(row)) == ("truncated", [1, 2, 5])
    assert row["message"] == (
        f"3 of 5 frames are readable: {NAME}/7-3.jpg is not in the dump; {NAME}/7-4.jpg has zero bytes"
    )


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (None, "missing", "7-1.jpg is not in the dump"),
        (b"", "empty", "7-2.jpg has zero bytes"),
        (b"not a picture", "corrupt", "7-2.jpg has no readable image header"),
        (b"\x00\x00\x00\x18ftypmp42", "unsupported", "7-2.jpg holds MP4, not image data"),
    ],
)
def test_none_at_all(folder, data, status, message):
    if data is not None:
        (folder / "7-2.jpg").write_bytes(data)
    row = stills_of(folder)
    assert (row["status"], row["frames"]) == (status, None)
    assert message in row["message"]


@pytest.mark.parametrize("item_id", ["../7", "a/b", ".."])
def test_an_id_that_would_leave_the_folder(folder, item_id):
    assert stills_of(folder, item_id=item_id)["status"] == "unsafe"


def test_a_link_out_of_the_dump(folder, tmp_path):
    draw(tmp_path, "7", ks=[1])
    (folder / "7-1.jpg").symlink_to(tmp_path / "7-1.jpg")
    row = stills_of(folder)
    assert (row["status"], "is a link out of the dump" in row["message"]) == ("unsafe", True)


# --- as a step


@pytest.fixture
def released_dump(write_microlens):
    """Two items: a has released frames, b has two of five; no clips."""
    dump = write_microlens()
    inner = dump / NAME / NAME
    inner.mkdir(parents=True)
    draw(inner, "a")
    draw(inner, "b", ks=(1, 2))
    return dump


def built(dump, out, **media):
    config = PrepConfig(media=MediaConfig(workers=1, **media))
    prep.build(dump, out, config)
    return toolkit.open_dataset(out)


def test_a_dump_without_clips_takes_its_released_frames(released_dump, tmp_path):
    data = built(released_dump, tmp_path / "out")
    assert data.frames["status"].to_pylist() == ["ok", "truncated"]
    assert data.frames["backend"].to_pylist() == ["released"] * 2
    (told,) = errors_of(data.path, "frames").to_pylist()
    assert (told["item_id"], told["error_class"]) == ("b", "truncated")
    assert data.manifest["steps"]["frames"]["config"]["backend"] == "released"
    assert data.manifest["steps"]["covers"]["skipped"] == "the dump has none"
    assert prep.check(data.path) == []


@pytest.fixture
def dump_with_both(synth_dump, tmp_path):
    dump = Path(shutil.copytree(synth_dump, tmp_path / "both"))
    (dump / "frames").mkdir()
    for path in list((dump / "videos").iterdir()):
        draw(dump / "frames", path.stem, ks=(1, 2))
    return dump


@pytest.mark.parametrize(
    ("frames_from", "backend"), [("auto", "pyav"), ("videos", "pyav"), ("released", "released")]
)
def test_clips_go_before_released_frames(dump_with_both, tmp_path, frames_from, backend):
    media = {"frame_count": 2, "frames_from": frames_from, "backend": "pyav"}
    data = built(dump_with_both, tmp_path / "out", **media)
    assert set(data.frames["backend"].to_pylist()) == {backend}
    assert np.all(data.frames["status"].to_numpy() == "ok")


@pytest.mark.parametrize("frames_from", ["videos", "released"])
def test_what_was_asked_for_by_name_must_be_there(write_microlens, tmp_path, frames_from):
    with pytest.raises(
        UserError, match=f"frames_from is {frames_from}, but the dump has no such folder"
    ):
        built(write_microlens(), tmp_path / "out", frames_from=frames_from)


def test_a_table_of_the_other_kind_is_refused(dump_with_both, tmp_path):
    built(dump_with_both, tmp_path / "out", frame_count=2, backend="pyav")
    with pytest.raises(UserError, match=r'backend = "pyav", and now backend = "released"'):
        built(dump_with_both, tmp_path / "out", frame_count=2, frames_from="released")
