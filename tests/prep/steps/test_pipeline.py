"""Steps resume by row, refuse another configuration, and survive a kill at any write."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.ipc
import pytest

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.executors import processes
from prep.steps.pipeline import Step, errors_of, run_step
from toolkit import UserError, schema
from toolkit.store import Table, read_file, write_table

ROWS = pa.schema([("item_id", pa.string()), ("length", pa.int64())])


def measure(batch):
    """The length of each id; ids with a `?` fail."""
    ids = batch.column("item_id").to_pylist()
    failed = ["?" in id_ for id_ in ids]
    return pa.table(
        {
            "item_id": ids,
            "length": [None if bad else len(id_) for id_, bad in zip(ids, failed, strict=True)],
            "status": ["corrupt" if bad else "ok" for bad in failed],
            "message": [
                f"{id_} asks" if bad else None for id_, bad in zip(ids, failed, strict=True)
            ],
        }
    )


def cure(batch):
    """`measure`, but nothing fails."""
    ids = batch.column("item_id").to_pylist()
    columns = {"item_id": ids, "length": [len(id_) for id_ in ids], "status": ["ok"] * len(ids)}
    return pa.table({**columns, "message": pa.nulls(len(ids), pa.string())})


def step(work=measure, **config):
    return Step("measure", "lengths", ROWS, {"unit": "letters", **config}, work, shard_rows=2)


def items(*ids):
    return pa.table({"item_id": pa.array(ids, pa.string())})


def told(dataset):
    rows = errors_of(dataset, "measure").to_pylist()
    return [(row["item_id"], row["step"], row["error_class"], row["message"]) for row in rows]


def lengths(dataset):
    table = Table(dataset / "lengths").read()
    return list(zip(*table.to_pydict().values(), strict=True))


def test_every_item_gets_its_row_and_every_failure_its_error(tmp_path, capsys):
    counts = run_step(tmp_path, step(), items("a", "b?", "cc", "d?", "eee"))
    assert counts == {"ok": 3, "corrupt": 2}
    assert lengths(tmp_path) == [("a", 1), ("b?", None), ("cc", 2), ("d?", None), ("eee", 3)]
    assert told(tmp_path) == [
        ("b?", "measure", "corrupt", "b? asks"),
        ("d?", "measure", "corrupt", "d? asks"),
    ]
    assert sorted(path.name for path in (tmp_path / "errors").iterdir()) == [
        "measure-00000.arrow",
        "measure-00001.arrow",
    ]
    assert "measure: 5 of 5 items done now; errors: 2 corrupt" in capsys.readouterr().out


def test_a_rerun_does_only_what_has_no_row(tmp_path, capsys):
    run_step(tmp_path, step(), items("a", "b?"))
    run_step(tmp_path, step(work=None), items("a", "b?"))  # would fail if it were called
    assert "measure: 0 of 2 items done now" in capsys.readouterr().out
    run_step(tmp_path, step(), items("z", "a", "b?"))
    assert lengths(tmp_path) == [("a", 1), ("b?", None), ("z", 1)]


def test_another_configuration_is_refused(tmp_path):
    run_step(tmp_path, step(), items("a"))
    with pytest.raises(
        UserError, match=r'made with unit = "letters", and now unit = "bytes".*delete .*lengths'
    ):
        run_step(tmp_path, step(unit="bytes"), items("a"))
    with pytest.raises(UserError, match=r"made with depth = null, and now depth = 3"):
        run_step(tmp_path, step(depth=3), items("a"))


def test_the_configuration_stands_in_the_shards(tmp_path):
    run_step(tmp_path, step(), items("a"))
    metadata = Table(tmp_path / "lengths").read().schema.metadata
    assert json.loads(metadata[b"versa_config"]) == {"unit": "letters"}


def test_retry_failed_does_the_failed_ones_again(tmp_path):
    everything = items("a", "b?", "cc", "ddd", "e?", "f?")
    run_step(tmp_path, step(), everything)
    run_step(tmp_path, step(work=cure), everything, retry_failed=True)
    assert sorted(lengths(tmp_path)) == sorted(
        [("a", 1), ("b?", 2), ("cc", 2), ("ddd", 3), ("e?", 2), ("f?", 2)]
    )
    assert told(tmp_path) == []


def test_retry_failed_may_fail_again(tmp_path):
    everything = items("a", "b?", "c?", "d?")
    first = run_step(tmp_path, step(), everything)
    for _ in range(3):
        assert run_step(tmp_path, step(), everything, retry_failed=True) == first
    assert sorted(lengths(tmp_path), key=str) == [
        ("a", 1),
        ("b?", None),
        ("c?", None),
        ("d?", None),
    ]
    assert [row[0] for row in told(tmp_path)] == ["b?", "c?", "d?"]


def spoil_errors(dataset, index, *ids):
    """An errors shard as a kill between two writes may leave it."""
    rows = {"item_id": ids, "step": ["measure"] * len(ids), "error_class": ["corrupt"] * len(ids)}
    table = pa.table({**rows, "message": ["left over"] * len(ids)}, schema=schema.ERRORS)
    write_table(dataset / "errors" / f"measure-{index:05d}.arrow", table, compression="zstd")


def test_errors_written_before_a_kill_do_not_outlive_a_cure(tmp_path):
    run_step(tmp_path, step(), items("a", "b"))
    spoil_errors(tmp_path, 1, "c?")  # killed before its row was written, and mended since
    run_step(tmp_path, step(work=cure), items("a", "b", "c?"))
    assert lengths(tmp_path) == [("a", 1), ("b", 1), ("c?", 2)]
    assert told(tmp_path) == []


def test_a_retry_killed_before_its_errors_were_deleted_goes_on(tmp_path):
    run_step(tmp_path, step(), items("a", "b?"))
    (shard,) = Table(tmp_path / "lengths").shards()
    rows = read_file(shard.path)
    Table(tmp_path / "lengths").replace(0, rows.slice(0, 1))  # what a retry writes first
    run_step(tmp_path, step(), items("a", "b?"))
    assert lengths(tmp_path) == [("a", 1), ("b?", None)]
    assert [row[0] for row in told(tmp_path)] == ["b?"]


def test_temporary_files_of_a_killed_run_are_removed_and_no_others(tmp_path):
    """What another process may be writing at this moment stays: its step has other names."""
    run_step(tmp_path, step(), items("a"))
    own = ["lengths/.part-00001.arrow.123.tmp", "errors/.measure-00001.arrow.123.tmp"]
    others = [
        ".dataset.json.123.tmp",
        ".report.tmp/log.duckdb",
        "errors/.measure-more-00001.arrow.123.tmp",
        "errors/.covers-00001.arrow.123.tmp",
        "covers/.part-00001.arrow.123.tmp",
    ]
    for name in (*own, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    run_step(tmp_path, step(), items("a"))
    assert [name for name in (*own, *others) if (tmp_path / name).exists()] == others


def test_an_item_that_has_two_rows_is_told_with_how_to_start_afresh(tmp_path):
    """As two runs at once left it before there were locks."""
    run_step(tmp_path, step(), items("a", "b"))
    shutil.copy(tmp_path / "lengths/part-00000.arrow", tmp_path / "lengths/part-00001.arrow")
    with pytest.raises(UserError, match=r"2 rows repeat an item .* delete .*lengths and run"):
        run_step(tmp_path, step(), items("a", "b"))


def test_results_do_not_depend_on_workers(tmp_path):
    everything = items(*(f"{'x' * i}{'?' * (i % 3 == 0)}" for i in range(1, 12)))
    for workers in (1, 2):
        run_step(tmp_path / str(workers), step(), everything, execute=processes(workers))
    assert lengths(tmp_path / "1") == lengths(tmp_path / "2")
    assert told(tmp_path / "1") == told(tmp_path / "2")


def die(batch):
    os._exit(7)


def test_a_worker_that_dies_is_a_message_not_a_traceback(tmp_path):
    with pytest.raises(UserError, match=r"a decoding process died .* finished shards are kept"):
        run_step(tmp_path, step(work=die), items("a", "b", "c"), execute=processes(2))


# --- a build that is killed (more of it in test_chaos.py) ---

SMALL_SHARDS = "import sys, prep.media; sys.modules['prep.media'].COVERS_SHARD = sys.modules['prep.media'].FRAMES_SHARD = 5"


def build_in_a_process(dump: Path, out: Path, *, workers: int = 1) -> subprocess.Popen:
    config = f"prep.PrepConfig(media=prep.MediaConfig(workers={workers}, frame_count=2))"
    code = f"prep.build({str(dump)!r}, {str(out)!r}, {config})"
    script = f"{SMALL_SHARDS}\nif __name__ == '__main__':\n    exec({code!r})"
    path = out.parent / f"{out.name}.py"
    path.write_text(script)
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, str(path)], env=env, stdout=subprocess.PIPE)


def finish(process: subprocess.Popen) -> int:
    """Its exit status, once it and all its workers, who hold its output open, have ended."""
    process.communicate(timeout=300)
    return process.returncode


def everything_in(out: Path) -> dict[str, object]:
    tables = {
        name: Table(out / name).read() for name in ("items", "interactions", "covers", "frames")
    }
    data = toolkit.open_dataset(out)
    return {**tables, "errors": data.errors, "manifest": data.manifest}


@pytest.fixture(scope="module")
def uninterrupted(spoilt_dump, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    assert finish(build_in_a_process(spoilt_dump, out)) == 0
    assert prep.check(out) == []
    return everything_in(out)


def test_a_build_with_workers_killed_from_outside_goes_on(spoilt_dump, uninterrupted, tmp_path):
    out = tmp_path / "out"
    process = build_in_a_process(spoilt_dump, out, workers=2)
    while not list((out / "covers").glob("part-*")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert prep.check(out) != []
    assert finish(build_in_a_process(spoilt_dump, out, workers=2)) == 0
    assert prep.check(out) == []
    found, expected = everything_in(out), dict(uninterrupted)
    assert found["manifest"].pop("config")["media"]["workers"] == 2
    expected["manifest"] = {k: v for k, v in expected["manifest"].items() if k != "config"}
    assert found == expected


# --- the whole of media, in this process ---


def small_build(dump, out, **options):
    config = PrepConfig(media=MediaConfig(workers=1, frame_count=2))
    prep.build(dump, out, config, **options)
    return toolkit.open_dataset(out)


def test_bad_covers_and_clips_are_told_with_the_same_word(spoilt_dump, tmp_path):
    data = small_build(spoilt_dump, tmp_path / "out")
    for step_name, table, expected in [
        ("covers", data.covers, {"ok": 22, "missing": 1, "corrupt": 1}),
        ("frames", data.frames, {"ok": 22, "unsupported": 1, "corrupt": 1}),
    ]:
        status = dict(zip(table["item_id"].to_pylist(), table["status"].to_pylist(), strict=True))
        assert pd.Series(status).value_counts().to_dict() == expected
        assert data.manifest["steps"][step_name]["items"] == expected
        rows = errors_of(data.path, step_name).to_pylist()
        assert {row["item_id"]: row["error_class"] for row in rows} == {
            item_id: word for item_id, word in status.items() if word != "ok"
        }


def test_mended_files_are_taken_up_on_request_alone(spoilt_dump, synth_dump, tmp_path):
    dump = Path(shutil.copytree(spoilt_dump, tmp_path / "dump"))
    small_build(dump, tmp_path / "out")
    shutil.copytree(synth_dump / "covers", dump / "covers", dirs_exist_ok=True)
    assert small_build(dump, tmp_path / "out").covers["image"].null_count == 2
    data = small_build(dump, tmp_path / "out", retry_failed=True)
    assert data.covers["image"].null_count == 0
    assert data.manifest["steps"]["covers"]["items"] == {"ok": 24}
    assert prep.check(tmp_path / "out") == []


def test_a_changed_frame_count_is_refused(spoilt_dump, tmp_path):
    small_build(spoilt_dump, tmp_path / "out")
    config = PrepConfig(media=MediaConfig(workers=1, frame_count=3))
    with pytest.raises(
        UserError, match=r"frame_count = 2, and now frame_count = 3 .*delete .*frames"
    ):
        prep.media(spoilt_dump, tmp_path / "out", config)


def test_a_dump_without_media_skips_them_and_says_so(write_microlens, tmp_path, capsys):
    data = small_build(write_microlens(), tmp_path / "out")
    assert "covers: skipped, the dump has none" in capsys.readouterr().out
    assert data.manifest["steps"]["frames"]["skipped"] == "the dump has none"
    assert not (tmp_path / "out" / "covers").exists()
    assert prep.check(tmp_path / "out") == []


def test_media_needs_an_ingested_dataset(spoilt_dump, tmp_path):
    with pytest.raises(
        UserError, match="nothing has been ingested yet; run: python -m prep ingest"
    ):
        prep.media(spoilt_dump, tmp_path / "out")


def test_shards_open_unaided(spoilt_dump, tmp_path):
    out = tmp_path / "out"
    small_build(spoilt_dump, out)
    for name in ("items", "interactions", "covers", "frames", "errors"):
        by_dataset = pyarrow.dataset.dataset(out / name, format="arrow").to_table()
        shards = sorted((out / name).glob("*.arrow"))
        by_pandas = pd.concat([pd.read_feather(shard) for shard in shards])
        # `datasets` maps each file and reads it batch by batch.
        by_map = pa.Table.from_batches(
            [
                reader.get_batch(index)
                for reader in map(pa.ipc.open_file, map(pa.memory_map, map(str, shards)))
                for index in range(reader.num_record_batches)
            ]
        )
        assert by_dataset.num_rows == len(by_pandas) == by_map.num_rows > 0
        assert list(by_pandas.columns) == by_dataset.schema.names
        assert by_map.replace_schema_metadata(None).equals(by_dataset.replace_schema_metadata(None))
