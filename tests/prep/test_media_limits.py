"""A clip over its time limit is quarantined, the run goes on, and a higher limit mends it."""

from pathlib import Path

import pytest

from prep import MediaConfig, PrepConfig, check, ingest, media
from toolkit import UserError, open_dataset


def config(seconds: float) -> PrepConfig:
    return PrepConfig(media=MediaConfig(clip_seconds=seconds, workers=1))


def test_clips_over_their_limit_are_told_and_can_be_done_again(
    own_dump: Path, tmp_path: Path
) -> None:
    for clip in sorted((own_dump / "videos").iterdir())[3:]:
        clip.unlink()  # a process is killed and started for each
    data = tmp_path / "data"
    ingest(own_dump, data)
    media(own_dump, data, config(1e-6))  # no clip is decoded that fast
    frames = [r for r in open_dataset(data).frames.to_pylist() if r["status"] != "missing"]
    assert {row["status"] for row in frames} == {"timeout"} and len(frames) == 3
    errors = [row for row in open_dataset(data).errors.to_pylist() if row["step"] == "frames"]
    errors = [row for row in errors if row["error_class"] != "missing"]
    assert {row["item_id"] for row in errors} == {row["item_id"] for row in frames}
    assert {row["error_class"] for row in errors} == {"timeout"}
    assert "a higher media.clip_seconds may do" in errors[0]["message"]
    assert check(data) == []

    media(own_dump, data, config(60.0), retry_failed=True)
    statuses = [row["status"] for row in open_dataset(data).frames.to_pylist()]
    assert (statuses.count("ok"), statuses.count("missing")) == (3, 21)
    assert check(data) == []


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"media\.clip_seconds is 0"):
        MediaConfig(clip_seconds=0)
