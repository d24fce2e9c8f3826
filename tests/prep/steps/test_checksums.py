"""Size and SHA-256 of each shard are recorded however a step ends; `check` detects every flipped bit."""

import shutil

import pyarrow as pa
import pytest

import prep
import toolkit
from benchmarks.flips import trial
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.checks.files import check_files, without_checksums
from prep.cli import main
from prep.steps import manifest
from prep.steps.pipeline import Step, errors_of, run_step
from toolkit.checksums import checksum_of, known_checksums
from toolkit.errors import UserError
from toolkit.json_files import read_json, write_json
from toolkit.store import Table, read_file, write_table


@pytest.fixture(scope="module")
def built(synth_dump, tiny_bert, tmp_path_factory):
    """A dump of which one item has no cover, its configuration, and the dataset of it."""
    folder = tmp_path_factory.mktemp("checksums")
    dump = shutil.copytree(synth_dump, folder / "dump")
    min((dump / "covers").iterdir()).unlink()
    towers = {"title": EncodeConfig(str(tiny_bert))}
    config = PrepConfig(media=MediaConfig(workers=1, frame_count=1), encode=towers)
    prep.build(dump, folder / "out", config)
    return dump, config, folder / "out"


@pytest.fixture
def dataset(built, tmp_path):
    """A copy of it, to break."""
    return shutil.copytree(built[2], tmp_path / "out")


def flip(path, place=7, mask=1):  # 7: padding that no reader looks at
    whole = bytearray(path.read_bytes())
    whole[place] ^= mask
    path.write_bytes(bytes(whole))


def shards(dataset):
    return {path.relative_to(dataset).as_posix(): path for path in dataset.rglob("*.arrow")}


def test_every_file_is_recorded_and_no_notes_stay(dataset):
    recorded = read_json(dataset / "dataset.json")["shards"]
    assert recorded == {name: checksum_of(path)._asdict() for name, path in shards(dataset).items()}
    assert {"errors/covers-00000.arrow", "states/title/part-00000.arrow"} <= set(recorded)
    assert list(dataset.rglob("*.checksums")) == []
    assert "shards" not in toolkit.open_dataset(dataset).manifest


def test_every_flipped_bit_is_found(built):
    """At least two flips in each file, `dataset.json` included; seeded."""
    counts = trial(built[2], 2 * (len(shards(built[2])) + 1), seed=1)
    assert set(counts) == {
        *("items", "interactions", "covers", "frames", "states/title", "errors", "dataset.json")
    }
    assert {outcome for row in counts.values() for outcome in row} == {"found"}


def test_a_value_changed_by_hand_in_the_manifest_is_found(dataset):
    path = dataset / "dataset.json"
    path.write_text(path.read_text().replace('"frame_count": 1', '"frame_count": 2'))
    assert prep.check(dataset) == [
        "dataset.json is damaged: its content has changed since it was written; restore it from a copy"
    ]
    text = path.read_text().replace('"frame_count": 2', '"frame_count": 1').replace("  ", "")
    path.write_text(text)  # order and white space say nothing
    assert prep.check(dataset) == []
    path.write_text(text.replace("content_sha256", "content_sha257"))
    assert "lacks the key content_sha256" in prep.check(dataset)[0]


@pytest.mark.parametrize("shards", [[], {"a": 1}, {"a": {}}, {"a": {"bytes": "1", "sha256": ""}}])
def test_a_broken_record_is_refused(dataset, shards):
    found = read_json(dataset / "dataset.json")
    write_json(dataset / "dataset.json", {**found, "shards": shards})
    (reason,) = prep.check(dataset)
    assert "dataset.json" in reason
    assert "shards" in reason
    with pytest.raises(UserError, match="shards"):
        toolkit.open_dataset(dataset)


def test_files_that_are_absent_or_foreign(dataset):
    shutil.copy(dataset / "errors/covers-00000.arrow", dataset / "errors/frames-00007.arrow")
    (dataset / "frames/part-00000.arrow").unlink()
    assert check_files(dataset) == [
        "errors/frames-00007.arrow is not among the files that dataset.json records; remove it",
        "frames/part-00000.arrow is missing, but dataset.json records it; restore it from a copy",
    ]


def test_opening_compares_sizes_and_names(dataset):
    path = dataset / "interactions/part-00000.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match=r"part-00000\.arrow has [\d,]+ bytes, but .* records"):
        toolkit.open_dataset(dataset).splits()
    path.write_bytes(whole)
    path.rename(path.with_name("part-00001.arrow"))
    with pytest.raises(UserError, match=r"part-00000\.arrow is missing, but dataset\.json records"):
        _ = toolkit.open_dataset(dataset).interactions


def test_a_dataset_of_an_older_versa(built, dataset, capsys):
    """It has no record: `check` says so and is content; the next build adds one."""
    found = read_json(dataset / "dataset.json")
    del found["shards"], found["content_sha256"]
    write_json(dataset / "dataset.json", found)
    assert prep.check(dataset) == []
    assert without_checksums(dataset) == ["ingest", "covers", "frames", "encode:title"]
    assert main(["check", str(dataset)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("notice: no checksums are recorded for ingest, covers, frames,")
    flip(dataset / "states/title/part-00000.arrow", place=-1)
    assert "not a readable Arrow file" in prep.check(dataset)[0]  # all else is still checked
    flip(dataset / "states/title/part-00000.arrow", place=-1)
    prep.build(*built[:1], dataset, built[1])
    assert without_checksums(dataset) == []
    assert prep.check(dataset) == []


# --- steps that are killed, or done again ---

ROWS = pa.schema([("item_id", pa.string())])


def measure(batch):
    """Ids with a `?` fail."""
    ids = batch.column("item_id").to_pylist()
    status = ["corrupt" if "?" in id_ else "ok" for id_ in ids]
    message = [None if word == "ok" else "it asks" for word in status]
    return pa.table({"item_id": ids, "status": status, "message": pa.array(message, pa.string())})


def cure(batch):
    return measure(pa.record_batch({"item_id": batch.column("item_id")})).set_column(
        1, "status", [["ok"] * len(batch)]
    )


def run(dataset, *ids, work=measure, stop_after=None, **options):
    """Items in shards of two; where it is stopped, it has ended as if it had been killed."""

    def execute(work, batches):
        for count, batch in enumerate(batches):
            if count == stop_after:
                raise KeyboardInterrupt
            yield work(batch)

    table = pa.table({"item_id": pa.array(ids, pa.string())})
    step = Step("measure", "measure", ROWS, {}, work, shard_rows=2)
    run_step(dataset, step, table, execute=execute, **options)
    manifest.record_step(dataset, "measure", {})


@pytest.fixture
def ingested(tmp_path):
    write_json(tmp_path / "dataset.json", {"schema_version": 1, "name": "x", "steps": {}})
    return tmp_path


def test_a_step_that_was_killed_records_its_earlier_shards_as_they_were_written(ingested):
    with pytest.raises(KeyboardInterrupt):
        run(ingested, "a", "b?", "c", "d", "e", stop_after=2)
    assert check_files(ingested) == []
    flip(ingested / "measure/part-00001.arrow")
    run(ingested, "a", "b?", "c", "d", "e")
    recorded = read_json(ingested / "dataset.json")["shards"]
    assert set(recorded) == set(shards(ingested))
    assert len(recorded) == 4
    (reason,) = check_files(ingested)  # the flip before the step went on was not taken for granted
    assert reason.startswith("measure/part-00001.arrow is damaged: its SHA-256")


def test_a_note_that_was_cut_off_costs_one_reading(ingested):
    with pytest.raises(KeyboardInterrupt):
        run(ingested, "a", "b", "c", stop_after=1)
    notes = ingested / "measure/.part.checksums"
    notes.write_bytes(notes.read_bytes()[:-20])
    run(ingested, "a", "b", "c")
    assert set(read_json(ingested / "dataset.json")["shards"]) == set(shards(ingested))
    assert check_files(ingested) == []


def test_a_retry_that_was_killed_breaks_nothing(ingested):
    """Between the two the manifest tells of files that were replaced, or removed."""
    run(ingested, "a", "b?", "c?", "d?")
    with pytest.raises(KeyboardInterrupt):
        run(ingested, "a", "b?", "c?", "d?", work=cure, stop_after=0, retry_failed=True)
    assert list(shards(ingested)) == ["measure/part-00000.arrow"]
    assert check_files(ingested) == []
    known = known_checksums(ingested, read_json(ingested / "dataset.json"))
    assert known["measure/part-00001.arrow"][-1] is None
    run(ingested, "a", "b?", "c?", "d?", work=cure)
    assert check_files(ingested) == []
    assert errors_of(ingested, "measure").num_rows == 0


def test_a_table_that_is_being_done_again_can_be_opened(dataset):
    """A dataset is opened by others while a step replaces shards, or after it has ended."""
    opened = toolkit.open_dataset(dataset)
    table = Table(dataset / "covers")
    table.replace(0, read_file(table.shards()[0].path).slice(0, 20))
    assert opened.covers.num_rows == 20
    manifest.record_step(dataset, "covers", {})
    again = toolkit.open_dataset(dataset)
    table.replace(0, again.covers.slice(0, 10))
    manifest.record_step(dataset, "covers", {})
    assert toolkit.open_dataset(dataset).covers.num_rows == 10
    assert check_files(dataset) == []


def test_damage_is_not_written_anew_under_a_new_checksum(ingested):
    run(ingested, "a", "b?")
    flip(ingested / "measure/part-00000.arrow")
    with pytest.raises(
        UserError, match=r"part-00000\.arrow is damaged: its SHA-256 differs from that of"
    ):
        run(ingested, "a", "b?", work=cure, retry_failed=True)


def test_steps_keep_the_record_of_others(ingested):
    run(ingested, "a", "b?")
    path = ingested / "errors/encode-measure-00000.arrow"  # another step's, of a similar name
    write_table(path, errors_of(ingested, "measure"), compression="zstd")
    Table(ingested / "states/measure").append(pa.table({"item_id": ["a"]}))
    manifest.record_step(ingested, "encode:measure", {})
    recorded = read_json(ingested / "dataset.json")["shards"]
    assert set(recorded) == set(shards(ingested))
    assert len(recorded) == 4


def test_more_shards_than_five_digits_can_count(ingested):
    """They are neither overwritten nor read in the order of their names."""
    run(ingested, "a?", "b")
    for folder, name in (("measure", "part"), ("errors", "measure")):
        (ingested / folder / f"{name}-00000.arrow").rename(
            ingested / folder / f"{name}-99999.arrow"
        )
    run(ingested, "a?", "b", "c?", "d", "e?")
    table = Table(ingested / "measure")
    assert [shard.index for shard in table.shards()] == [99_999, 100_000, 100_001]
    assert table.next_index() == 100_002
    assert table.read()["item_id"].to_pylist() == ["a?", "b", "c?", "d", "e?"]
    assert errors_of(ingested, "measure")["item_id"].to_pylist() == ["a?", "c?", "e?"]
    assert check_files(ingested) == []
