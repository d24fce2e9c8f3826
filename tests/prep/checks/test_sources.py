"""`prep check DATASET --dump DUMP` names covers, clips and released frames that changed after the build."""

import shutil

import pytest
from PIL import Image

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.cli import main
from toolkit import UserError


@pytest.fixture
def dump(write_microlens):
    """Two items, each with a cover and two released frames; and a third without either."""
    dump = write_microlens(titles="item,title\na,one\nb,two\nc,three\n")
    for folder in ("covers", "frames"):
        (dump / folder).mkdir()
    for at, item_id in enumerate("ab"):
        draw(dump / "covers" / f"{item_id}.png", at)
        for k in (1, 2):
            draw(dump / "frames" / f"{item_id}-{k}.jpg", 10 * k + at)
    return dump


def draw(path, level):
    Image.new("L", (16, 16), level).save(path)


@pytest.fixture
def dataset(dump, tmp_path):
    prep.build(dump, tmp_path / "out", PrepConfig(media=MediaConfig(workers=1, frame_count=2)))
    return tmp_path / "out"


def test_files_as_they_were_are_no_reason(dump, dataset, capsys):
    assert prep.check_sources(dataset, dump) == []
    assert toolkit.open_dataset(dataset).frames["source_bytes"].to_pylist()[2] is None
    assert main(["check", str(dataset), "--dump", str(dump)]) == 0


def test_a_file_that_was_replaced_is_named_with_what_to_do(dump, dataset, capsys):
    draw(dump / "covers" / "b.png", 99)
    draw(dump / "frames" / "a-2.jpg", 99)
    covers, frames = prep.check_sources(dataset, dump)
    assert covers.startswith(
        "covers: 1 of 2 files have changed since they were read (items: b); to read"
    )
    assert frames.startswith(
        "frames: 1 of 2 files have changed since they were read (items: a); to read"
    )
    assert f"delete {dataset / 'covers'} and the captions and states that depend on it" in covers
    capsys.readouterr()
    assert main(["check", str(dataset), "--dump", str(dump)]) == 1
    assert capsys.readouterr().err.count("broken: ") == 2
    assert (
        main(["check", str(dataset)]) == 0
    )  # nothing of the dump is looked at without being asked


def test_a_file_that_is_gone_is_named(dump, dataset):
    (dump / "covers" / "a.png").unlink()
    (dump / "frames" / "b-1.jpg").unlink()
    covers, frames = prep.check_sources(dataset, dump)
    assert (
        "1 of 2 files are not available (items: a (covers/a.jpg is not in the dump)); restore them"
        in covers
    )
    assert "1 of 2 files have changed since they were read (items: b)" in frames
    for folder in ("covers", "frames"):
        shutil.rmtree(dump / folder)
    covers, _ = prep.check_sources(dataset, dump)
    assert covers == "covers: none of the 2 files that were read can be compared: the dump has none"


def test_a_dump_that_is_not_there(dump, dataset):
    with pytest.raises(UserError, match="absent: no such folder"):
        prep.check_sources(dataset, "absent")
    assert "dataset.json" in prep.check_sources(dump, dump)[0]


def test_clips_are_compared_too(own_dump, tmp_path):
    clips = sorted((own_dump / "videos").iterdir())
    for path in (*clips[2:], *(own_dump / "covers").iterdir()):
        path.unlink()
    prep.ingest(own_dump, tmp_path / "out")
    prep.media(own_dump, tmp_path / "out", PrepConfig(media=MediaConfig(workers=1)))
    assert prep.check_sources(tmp_path / "out", own_dump) == []
    clips[0].write_bytes(clips[1].read_bytes())
    (told,) = prep.check_sources(tmp_path / "out", own_dump)
    assert told.startswith(
        f"frames: 1 of 2 files have changed since they were read (items: {clips[0].stem});"
    )
