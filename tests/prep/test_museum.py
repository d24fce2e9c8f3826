"""Every exhibit of the museum gets a row with the expected status, with every backend, through the real path."""

import re
from pathlib import Path

import museum
import pyarrow as pa
import pytest
from museum import EXHIBITS, SHAPE

from prep.pictures.covers import make_covers
from prep.pictures.frames import make_frames
from prep.pictures.watchdog import close_shared
from toolkit.images import decode_jpeg

# Exhibits that a backend calls by another word: the FFmpeg inside these two has no AV1 decoder, and decord
# opens nothing without a duration.
OTHERWISE = {
    ("decord", "av1"): "unsupported",
    ("opencv", "av1"): "unsupported",
    ("decord", "no_duration"): "unsupported",
}
ASKED = 5


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("museum") / "dump"
    museum.build_museum(path)
    return path


def ids(folder: str) -> pa.RecordBatch:
    names = [exhibit.item_id for exhibit in EXHIBITS if exhibit.folder == folder]
    return pa.RecordBatch.from_pydict({"item_id": [*names, "absent"]})


def rows_of(dump: Path, backend: str, sampling: str = "uniform") -> dict[str, dict]:
    table = make_frames(
        ids("videos"),
        dump=dump,
        folder=dump / "videos",
        backend=backend,
        sampling=sampling,
        frame_count=ASKED,
        frame_px=64,
        clip_seconds=60.0,
    )
    close_shared()
    return {row["item_id"]: row for row in table.to_pylist()}


def statuses(folder: str) -> dict[str, str]:
    expected = {e.item_id: e.status for e in EXHIBITS if e.folder == folder}
    return {**expected, "absent": "missing"}


def test_every_clip_ends_as_a_row_with_its_word(dump: Path, backend: str) -> None:
    rows = rows_of(dump, backend)
    otherwise = {clip: word for (name, clip), word in OTHERWISE.items() if name == backend}
    assert {name: row["status"] for name, row in rows.items()} == statuses("videos") | otherwise
    for row in rows.values():
        assert (row["message"] is None) == (row["status"] == "ok")
        assert row["backend"] == backend and row["backend_version"]
        given = len(row["frames"] or [])
        assert given == len(row["pts_seconds"] or [])
        assert given == ASKED if row["status"] == "ok" else given < ASKED
        heights = {decode_jpeg(frame).shape[0] for frame in row["frames"] or []}
        assert heights <= {64}  # all of them lie, or are turned to lie, on their longer side
    for clip in otherwise:
        message = rf"{clip}.mp4: {backend} cannot decode its \w+ video, but media.backend pyav can"
        assert re.fullmatch(message, rows[clip]["message"])


# Of the clips whose end is missing, what these policies ask for lies in the part that is there.
SPARED = {
    "near": {},
    "keyframes": dict.fromkeys(("cut_at_90_index_first", "hollow", "zeroed"), "ok"),
    "middle": {"cut_at_90_index_first": "ok"},
}


@pytest.mark.parametrize("sampling", SPARED)
def test_other_policies_have_the_same_words(dump: Path, sampling: str) -> None:
    words = {name: row["status"] for name, row in rows_of(dump, "pyav", sampling).items()}
    assert words == statuses("videos") | SPARED[sampling]


def test_every_cover_ends_as_a_row_with_its_word(dump: Path) -> None:
    table = make_covers(ids("covers"), dump=dump, folder=dump / "covers", cover_px=64)
    rows = {row["item_id"]: row for row in table.to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == statuses("covers")
    for row in rows.values():
        assert (row["message"] is None) == (row["status"] == "ok")
        assert (row["source_sha256"] is None) == (row["status"] in ("missing", "empty", "unsafe"))
    for name in ("whole", "png", "webp", "turned"):
        pixels = decode_jpeg(rows[name]["image"])
        assert pixels.shape == (64, round(64 * SHAPE[1] / SHAPE[0]), 3)
        assert pixels[8, 40, 0] > 150 > pixels[8, 40, 2]  # red above
        assert pixels[-8, 40, 2] > 150 > pixels[-8, 40, 0]  # blue below
