"""A clip over its time limit is quarantined, the run goes on, and a higher limit mends it."""

from pathlib import Path

import pytest

from prep import MediaConfig, PrepConfig, check, ingest, media
from toolkit import UserError, open_dataset


def config(seconds: float) -> PrepConfig:
    return PrepConfig(media=MediaConfig(clip_seconds=seconds, workers=1))


def test_clips_over_their_limit_are_told_and_can_be_done_again(
    synth_dump: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    ingest(synth_dump, data)
    media(synth_dump, data, config(1e-6))  # no clip is decoded that fast
    frames = open_dataset(data).frames.to_pylist()
    assert {row["status"] for row in frames} == {"timeout"} and len(frames) == 24
    errors = [row for row in open_dataset(data).errors.to_pylist() if row["step"] == "frames"]
    assert {row["item_id"] for row in errors} == {row["item_id"] for row in frames}
    assert {row["error_class"] for row in errors} == {"timeout"}
    assert "a higher media.clip_seconds may do" in errors[0]["message"]
    assert check(data) == []

    media(synth_dump, data, config(60.0), retry_failed=True)
    assert {row["status"] for row in open_dataset(data).frames.to_pylist()} == {"ok"}
    assert check(data) == []


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"media\.clip_seconds is 0"):
        MediaConfig(clip_seconds=0)
