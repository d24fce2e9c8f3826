"""A clip over its time limit is quarantined, the run continues, and a higher limit repairs it."""

import io
import multiprocessing
from pathlib import Path

import misbehaving
import pyarrow as pa
import pytest
from PIL import Image

from prep import MediaConfig, PrepConfig, check, ingest, media
from prep.pictures.covers import make_covers
from prep.pictures.stills import make_stills
from prep.pictures.watchdog import sharing
from toolkit import UserError, open_dataset

pytestmark = pytest.mark.usefixtures("own_decoder")


def config(seconds: float) -> PrepConfig:
    return PrepConfig(media=MediaConfig(clip_seconds=seconds, workers=1))


def test_clips_over_their_limit_are_told_and_can_be_done_again(
    own_dump: Path, tmp_path: Path
) -> None:
    for folder, kept in {"covers": 1, "videos": 3}.items():
        for file in sorted((own_dump / folder).iterdir())[kept:]:
            file.unlink()  # a process is killed and started for each
    data = tmp_path / "data"
    ingest(own_dump, data)
    media(own_dump, data, config(1e-6))  # no clip is decoded that fast
    frames = [r for r in open_dataset(data).frames.to_pylist() if r["status"] != "missing"]
    assert {row["status"] for row in frames} == {"timeout"} and len(frames) == 3
    errors = [row for row in open_dataset(data).errors.to_pylist() if row["step"] == "frames"]
    errors = [row for row in errors if row["error_class"] != "missing"]
    assert {row["item_id"] for row in errors} == {row["item_id"] for row in frames}
    assert {row["error_class"] for row in errors} == {"timeout"}
    assert "try a higher media.clip_seconds" in errors[0]["message"]
    assert check(data) == []

    media(own_dump, data, config(60.0), retry_failed=True)
    statuses = [row["status"] for row in open_dataset(data).frames.to_pylist()]
    assert (statuses.count("ok"), statuses.count("missing")) == (3, 21)
    assert check(data) == []


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"media\.clip_seconds is 0"):
        MediaConfig(clip_seconds=0)


def progressive(path: Path, scans: int) -> None:
    """A progressive JPEG with its last scan repeated: a decoder refines the whole picture each time anew."""
    buffer = io.BytesIO()
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    picture.save(buffer, format="JPEG", progressive=True, quality=90)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + last * scans + data[-2:])


def test_a_picture_that_decodes_for_minutes_by_its_scans_is_unsafe(tmp_path: Path) -> None:
    (tmp_path / "covers").mkdir()
    progressive(tmp_path / "covers" / "bomb.jpg", 600)
    progressive(tmp_path / "covers" / "fine.jpg", 10)
    items = pa.RecordBatch.from_pydict({"item_id": ["bomb", "fine"]})
    table = make_covers(items, dump=tmp_path, folder=tmp_path / "covers", cover_px=32)
    bomb, fine = table.to_pylist()
    assert (bomb["status"], fine["status"]) == ("unsafe", "ok")
    assert "JPEG of 610 scans, more than 500" in bomb["message"]


def test_pictures_over_their_limit_do_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "covers"
    folder.mkdir()
    for name in ("a", "slow", "crash", "z", "a-1", "slow-1", "z-1"):
        Image.new("RGB", (32, 32), "red").save(folder / f"{name}.jpg")
    monkeypatch.setattr("prep.pictures.covers.cover_of", misbehaving.read_slowly)
    monkeypatch.setattr("prep.pictures.stills.still_of", misbehaving.read_slowly)
    place = {"dump": tmp_path, "folder": folder, "limit_seconds": 2.0}
    with sharing():
        items = pa.RecordBatch.from_pydict({"item_id": ["a", "slow", "crash", "z"]})
        covers = make_covers(items, cover_px=32, **place).to_pylist()
        items = pa.RecordBatch.from_pydict({"item_id": ["a", "slow", "z"]})
        frames = make_stills(items, frame_count=1, frame_px=32, **place).to_pylist()
    assert multiprocessing.active_children() == []
    assert [row["status"] for row in covers] == ["ok", "timeout", "corrupt", "ok"]
    assert covers[1]["message"] == "slow.jpg: not done after 2 s; try a higher media.clip_seconds"
    assert covers[2]["message"].startswith("crash.jpg: the decoder crashed")
    assert [row["status"] for row in frames] == ["ok", "timeout", "ok"]
