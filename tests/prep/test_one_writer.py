"""One writer for each part of a dataset; foreign folders and files are kept, whatever their names."""

import os
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from tiny_dataset import write_dataset

import prep
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.comments import comments
from prep.steps import manifest
from prep.steps.writing import clear_scratch, clear_table, clear_temporary, writing
from toolkit import UserError, open_dataset
from toolkit.lock import locked
from toolkit.store import write_table

NO_MEDIA = PrepConfig(media=MediaConfig(workers=1))
FIRST = rf"is being written by process {os.getpid()} on .* since \d"


@pytest.fixture
def small(write_microlens):
    return write_microlens()


@pytest.fixture
def dataset(small, tmp_path):
    prep.ingest(small, tmp_path / "out")
    return tmp_path / "out"


# --- who is refused ---


def test_a_second_build_or_ingest_is_refused_and_names_the_first(small, tmp_path):
    out = tmp_path / "out"
    with locked(out, "ingest"):
        for second in (prep.build, prep.ingest):
            with pytest.raises(UserError, match=rf"out: ingest {FIRST}"):
                second(small, out)
    assert [path.name for path in out.iterdir()] == [".locks"]
    prep.build(small, out, NO_MEDIA)
    assert prep.check(out) == []


def test_a_build_beside_one_that_has_ingested_already_is_refused(small, dataset):
    with locked(dataset, "ingest"), pytest.raises(UserError, match=rf"ingest {FIRST}"):
        prep.build(small, dataset, NO_MEDIA)


@pytest.mark.parametrize("step", ["covers", "frames"])
def test_a_second_media_is_refused(small, dataset, step):
    with locked(dataset, step), pytest.raises(UserError, match=rf"{step} {FIRST}"):
        prep.media(small, dataset, NO_MEDIA)


def test_other_second_writers_are_refused(small, dataset, tiny_bert):
    towers = {"title": EncodeConfig(str(tiny_bert), pooling="mean")}
    with locked(dataset, "encode-title"), pytest.raises(UserError, match=rf"encode-title {FIRST}"):
        prep.encode(dataset, PrepConfig(encode=towers))
    with locked(dataset, "report"), pytest.raises(UserError, match=rf"report {FIRST}"):
        prep.report(dataset)
    with locked(dataset, "comments"), pytest.raises(UserError, match=rf"comments {FIRST}"):
        comments(small, dataset)
    assert not (dataset / "states").exists() and not (dataset / "report.json").exists()


def test_two_towers_are_encoded_at_once(dataset, tiny_bert):
    """Nothing that the one writes is the other's, and both are recorded."""
    towers = {"title": EncodeConfig(str(tiny_bert), pooling="mean")}
    half = dataset / "errors" / ".encode-cover-00000.arrow.123.tmp"
    half.write_bytes(b"half")  # what the other writes at this moment
    with locked(dataset, "encode-cover"):
        prep.encode(dataset, PrepConfig(encode=towers))
    assert half.exists() and open_dataset(dataset).towers() == ["title"]


def test_blocks_within_blocks_hold_one_lock_and_threads_do_not_share_it(tmp_path):
    refused = []

    def other():
        try:
            with writing(tmp_path, "ingest"):
                refused.append("no")
        except UserError as error:
            refused.append(str(error))

    with writing(tmp_path, "ingest"):
        with writing(tmp_path, "ingest"), writing(tmp_path, "encode:title"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1 and "ingest is being written by" in refused[0]
    with writing(tmp_path, "ingest"):
        pass


# --- the manifest ---


def test_two_steps_that_end_at_once_are_both_recorded(tmp_path):
    """The second waits: it reads the manifest when the first has written it."""
    write_dataset(tmp_path, [[1, 2]], items=2)
    waiting = threading.Thread(target=manifest.record_step, args=(tmp_path, "encode:b", {}))
    with writing(tmp_path, "dataset.json"):
        waiting.start()
        manifest.record_step(tmp_path, "encode:a", {})
    waiting.join()
    assert sorted(manifest.require(tmp_path)["steps"]) == ["encode:a", "encode:b"]


def test_what_another_process_has_added_since_stays_configured(tmp_path):
    write_dataset(tmp_path, [[1, 2]], items=2)
    manifest.record_config(tmp_path, encode={"old": {"encoder": "o"}, "gone": {"encoder": "g"}})
    before = manifest.require(tmp_path)["config"]  # here both begin
    manifest.record_config(
        tmp_path, before, encode={"old": {"encoder": "o"}, "a": {"encoder": "a"}}
    )
    manifest.record_config(
        tmp_path, before, encode={"old": {"encoder": "o"}, "b": {"encoder": "b"}}
    )
    recorded = manifest.require(tmp_path)["config"]["encode"]
    assert sorted(recorded) == ["a", "b", "old"]  # `gone` was taken out by both


def test_a_temporary_manifest_of_a_killed_process_goes_with_the_next_record(tmp_path):
    write_dataset(tmp_path, [[1, 2]], items=2)
    (tmp_path / ".dataset.json.4711.tmp").write_bytes(b"half")
    (tmp_path / ".report.json.4711.tmp").write_bytes(b"half")
    manifest.record_step(tmp_path, "encode:a", {})
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [".report.json.4711.tmp"]


# --- what is removed ---


@pytest.mark.parametrize(
    "mine",
    [
        "items/notes.txt",
        "items/part-0.arrow",
        "items/part-00000.arrow",  # of somebody else's: no Arrow file of ours
        "items/part-00000.arrow/notes.txt",
        "interactions/2024/notes.txt",
        "errors/covers.arrow",
        "errors/.hidden",
        "items/.mine.tmp",
        ".mine.tmp",
        "mine.tmp",
        "comments.tmp/notes.txt",
    ],
)
def test_a_folder_with_anything_of_others_is_left_alone(small, tmp_path, mine):
    kept = tmp_path / "mine" / mine
    kept.parent.mkdir(parents=True)
    kept.write_text("three years of work")
    for command in (prep.ingest, prep.build):
        with pytest.raises(UserError, match=r"holds .* but no dataset\.json: not a dataset"):
            command(small, tmp_path / "mine")
    assert kept.read_text() == "three years of work"
    assert not (tmp_path / "mine" / ".locks").exists()


def test_tables_of_others_under_our_names_are_left_alone(small, tmp_path):
    path = tmp_path / "mine" / "items" / "part-00000.arrow"
    write_table(path, pa.table({"mine": [1]}), compression=None)
    with pytest.raises(UserError, match="holds items but no"):
        prep.ingest(small, tmp_path / "mine")
    assert path.exists()


def test_what_a_killed_ingest_left_is_cleared(small, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        prep.ingest(small, folder)
    (out / "dataset.json").unlink()
    for name in (
        ".dataset.json.17.tmp",
        ".ingest.tmp/log.duckdb",
        "items/.part-00001.arrow.17.tmp",
        "errors/.ingest-00000.arrow.17.tmp",
    ):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"half")
    shutil.copy(out / "items" / "part-00000.arrow", out / "items" / "part-100000.arrow")
    prep.ingest(small, out)
    assert open_dataset(out).items.equals(open_dataset(whole).items)
    assert list(out.rglob("*.tmp")) == []


def test_a_dump_is_never_its_own_dataset(small, dataset):
    before = sorted(small.rglob("*"))
    with pytest.raises(UserError, match=r"but no dataset\.json"):
        prep.build(small, small)
    shutil.copy(dataset / "dataset.json", small)  # as if it were one
    for command in (prep.build, prep.ingest, prep.media):
        with pytest.raises(UserError, match="is the dump itself; choose another folder"):
            command(small, small)
    (small / "dataset.json").unlink()
    assert sorted(small.rglob("*")) == before


@pytest.mark.parametrize("inside", ["items", "errors", "dataset"])
def test_a_dataset_within_its_dump_takes_nothing_from_it(small, tmp_path, inside):
    (small / "items").mkdir()
    (small / "items" / "a.jpg").write_bytes(b"cover")
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    try:
        prep.build(small, small / inside, NO_MEDIA)
        assert prep.check(small / inside) == []
    except UserError as error:
        assert "holds a.jpg but no" in str(error)
    assert {path: path.read_bytes() for path in before} == before


def test_a_dump_within_its_dataset_is_refused(small, tmp_path):
    dump = Path(shutil.move(small, tmp_path / "out" / "dump"))
    with pytest.raises(UserError, match=r"holds dump but no dataset\.json"):
        prep.build(dump, tmp_path / "out")
    assert (dump / "M_titles.csv").exists()


def test_comments_and_tables_written_afresh_leave_what_is_not_theirs(small, dataset):
    (small / "M_comments.txt").write_text("u\ta\tnice\n")
    for folder in ("comments", "comments.tmp"):
        (dataset / folder).mkdir(exist_ok=True)
        (dataset / folder / "notes.txt").write_text("mine")
        with pytest.raises(UserError, match=r"holds notes\.txt, which prep did not write"):
            comments(small, dataset)
        assert (dataset / folder / "notes.txt").read_text() == "mine"
        shutil.rmtree(dataset / folder)
    comments(small, dataset)
    assert open_dataset(dataset).comments.num_rows == 1


def test_what_a_table_is_cleared_of(tmp_path):
    folder = tmp_path / "states"
    folder.mkdir()
    for name in ("part-00000.arrow", "part-123456.arrow", ".part-00001.arrow.9.tmp"):
        (folder / name).write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(folder)
    clear_table(link)
    assert list(folder.iterdir()) == [] and link.is_symlink()
    clear_table(folder)
    clear_table(folder)  # absent
    assert not folder.exists()


def test_a_link_in_the_place_of_scratch_files_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("mine")
    (tmp_path / ".report.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link, expected prep's own scratch"):
        clear_scratch(tmp_path / ".report.tmp")
    assert (tmp_path / "elsewhere" / "mine").exists()


def test_temporary_files_of_other_names_stay(tmp_path):
    for name in (".a-00000.arrow.1.tmp", ".a-b-00000.arrow.1.tmp", ".a-00000.arrow.x.tmp"):
        (tmp_path / name).write_bytes(b"x")
    clear_temporary(tmp_path, r"a-\d{5,}\.arrow")
    assert not (tmp_path / ".a-00000.arrow.1.tmp").exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_broken_dataset_of_two_old_builds_says_how_to_start_afresh(small, dataset):
    """Every item twice, as each build appended a shard."""
    shutil.copy(dataset / "items/part-00000.arrow", dataset / "items/part-00001.arrow")
    afresh = rf"not numbered 1\.\.N, as after two concurrent builds; delete {dataset} and build the dataset again"
    with pytest.raises(UserError, match=afresh):
        prep.build(small, dataset, NO_MEDIA)
    reasons = prep.check(dataset)
    assert any(f"delete {dataset} and build the dataset again" in reason for reason in reasons)
    assert any("items/part-00001.arrow" in reason for reason in reasons)  # that no step recorded
