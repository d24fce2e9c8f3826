"""Comments: streamed into their own table; unreadable lines are reported as a count."""

import json
import re
import shutil
from importlib import import_module

import pyarrow as pa
import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.check import count, describe
from prep.steps.pipeline import errors_of
from toolkit import UserError, schema
from toolkit.json_files import write_json
from toolkit.store import Table, read_file

# In order: plain; tabs in the text; empty; not split (2); unknown item (9); quotes; blank.
LINES = b'u1\tb\tnice\nu2\ta\tone\ttwo\tthree\r\nu1\ta\t\nno tab\n\nu3\t9\twho?\nu4\tb\t"x, \xe5\xa5\xbd\nu5 b hm\n'
KEPT = [("b", "u1", "nice"), ("a", "u2", "one\ttwo\tthree"), ("a", "u1", ""), ("b", "u4", '"x, 好')]


@pytest.fixture
def dump(write_microlens):
    folder = write_microlens()
    (folder / "M_comment_en.txt").write_bytes(LINES)
    return folder


def commented(dump, out):
    prep.ingest(dump, out)
    prep.comments(dump, out)
    return toolkit.open_dataset(out)


def rows_of(data):
    return list(zip(*data.comments.to_pydict().values(), strict=True))


def told(data):
    rows = errors_of(data.path, "comments").to_pylist()
    return {row["error_class"]: row["message"] for row in rows}


def test_comments_become_a_table(dump, tmp_path, capsys):
    data = commented(dump, tmp_path / "out")
    assert data.comments.schema.names == ["item_id", "user_id", "text"]
    assert rows_of(data) == KEPT
    assert told(data) == {
        "unreadable_line": "M_comment_en.txt: 2 lines (4, 8) are not user, item and text in UTF-8, "
        "separated by tabs; left out",
        "unknown_item": "M_comment_en.txt: 1 lines (6) belong to items that the dataset does not have; "
        "left out",
    }
    assert "comments: 4 rows; errors: 1 unknown_item, 1 unreadable_line" in capsys.readouterr().out
    assert prep.check(data.path) == []
    assert re.search(
        r"^comments +4  1 unreadable_line, 1 unknown_item$", describe(count(data.path)), re.M
    )


def test_blocks_are_shards_and_lines_are_counted_through_them(dump, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("prep.comments"), "SHARD", 3)
    data = commented(dump, tmp_path / "out")
    assert len(Table(data.path / "comments").shards()) == 3
    assert rows_of(data) == KEPT
    assert "2 lines (4, 8)" in told(data)["unreadable_line"]


def test_only_the_first_lines_are_named(dump, tmp_path):
    (dump / "M_comment_en.txt").write_bytes(b"\xff\ta\tb\n" * 7)
    assert (
        "7 lines (1, 2, 3, 4, 5, ...)" in told(commented(dump, tmp_path / "out"))["unreadable_line"]
    )


def test_a_file_without_comments_is_an_empty_table(dump, tmp_path):
    (dump / "M_comment_en.txt").write_bytes(b"")
    data = commented(dump, tmp_path / "out")
    assert (data.comments.num_rows, told(data), prep.check(data.path)) == (0, {}, [])


def test_a_rerun_does_nothing(dump, tmp_path, capsys):
    data = commented(dump, tmp_path / "out")
    (shard,) = Table(data.path / "comments").shards()
    before = shard.path.stat().st_mtime_ns
    prep.comments(dump, data.path)
    assert shard.path.stat().st_mtime_ns == before
    assert "comments: already done (4 rows)" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["another text", None])
def test_another_file_is_refused(dump, tmp_path, change):
    out = commented(dump, tmp_path / "out").path
    path = dump / "M_comment_en.txt"
    path.unlink() if change is None else path.write_text(change)
    with pytest.raises(UserError, match=r"was made with M_comment_en\.txt = .*delete .*comments"):
        prep.comments(dump, out)


@pytest.mark.parametrize("done_before", [False, True])
def test_a_killed_run_starts_afresh(dump, tmp_path, monkeypatch, done_before):
    monkeypatch.setattr(import_module("prep.comments"), "SHARD", 3)
    out = tmp_path / "out"
    prep.ingest(dump, out)
    if done_before:
        prep.comments(dump, out)
        shutil.rmtree(out / "comments")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(import_module("prep.comments"), "write_table", killed)  # after the last shard
        prep.comments(dump, out)
    assert not (out / "comments").exists()
    prep.comments(dump, out)
    assert rows_of(toolkit.open_dataset(out)) == KEPT
    assert prep.check(out) == []
    assert not (out / "comments.tmp").exists()


def test_a_table_that_was_not_recorded_is_unfinished(dump, tmp_path):
    out = commented(dump, tmp_path / "out").path
    manifest = json.loads((out / "dataset.json").read_text())
    del manifest["steps"]["comments"]
    write_json(out / "dataset.json", manifest)  # as prep writes it
    assert prep.check(out) == [
        "comments: 4 rows, but dataset.json records unfinished; run prep again"
    ]
    prep.comments(dump, out)
    assert prep.check(out) == []


def test_a_dump_without_comments_says_so(write_microlens, tmp_path, capsys):
    data = commented(write_microlens(), tmp_path / "out")
    assert "comments: skipped, the dump has none" in capsys.readouterr().out
    assert prep.check(data.path) == []
    with pytest.raises(UserError, match="comments: no such table"):
        data.comments  # noqa: B018


def test_a_dump_of_another_layout_has_none(tmp_path, capsys):
    (tmp_path / "S_items.tsv").write_text("a\tone\n")
    (tmp_path / "S_users.tsv").write_text("u\ta a a a a\n")
    (tmp_path / "my_comments.txt").write_text("u\ta\tmine\n")
    prep.build(tmp_path, tmp_path / "out", PrepConfig())
    assert "comments: skipped" in capsys.readouterr().out


def test_check_finds_comments_of_unknown_items(dump, tmp_path):
    out = commented(dump, tmp_path / "out").path
    table = Table(out / "comments")
    rows = read_file(table.shards()[0].path).to_pydict()
    rows["item_id"][0] = "zz"
    table.replace(0, pa.table(rows, schema=schema.COMMENTS))
    assert prep.check(out) == ["comments: 1 rows belong to unknown items"]
