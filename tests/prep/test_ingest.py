"""Numbering, reports of dropped rows, and when ingest is skipped, redone or refused."""

import shutil
from dataclasses import replace

import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.readers import make_readers
from toolkit import UserError
from toolkit.json_files import read_json


def ingested(dump, out, **config):
    prep.ingest(dump, out, PrepConfig(**config))
    return toolkit.open_dataset(out)


def errors_of(data):
    rows = data.errors.to_pylist()
    assert {row["step"] for row in rows} <= {"ingest"}
    return [(row["item_id"], row["error_class"], row["message"]) for row in rows]


def test_items_are_numbered_as_they_come_and_users_by_their_first_time(write_microlens, tmp_path):
    pairs = (
        "user,item,timestamp\n"
        "zoe,b,50\nann,a,10\nzoe,a,40\nzoe,c,40\nann,b,5\nzoe,a,30\nzoe,b,60\nann,c,7\nann,c,8\nann,a,9\n"
    )
    dump = write_microlens(titles="item,title\nb,two\nc,three\na,one\n", pairs_csv=pairs)
    data = ingested(dump, tmp_path / "out")
    assert data.items.column("item_id").to_pylist() == ["b", "c", "a"]
    assert data.items.column("item").to_pylist() == [1, 2, 3]
    rows = data.interactions.to_pydict()
    assert rows["user_id"] == ["ann"] * 5 + ["zoe"] * 5
    assert rows["user"] == [1] * 5 + [2] * 5
    # zoe: a@30, then a and c at 40 in the file's order, b@50, b@60
    assert rows["item"] == [1, 2, 2, 3, 3, 3, 3, 2, 1, 1]
    assert rows["timestamp_ms"] == [5, 7, 8, 9, 10, 30, 40, 40, 50, 60]
    assert rows["position"] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert errors_of(data) == []


def test_what_cannot_be_numbered_is_told(write_microlens, tmp_path):
    dump = write_microlens(
        titles="item,title\na,one\n../x,evil\nb, \na,again\n", pairs_tsv="u\ta b a q a b\nv\tq\n"
    )
    data = ingested(dump, tmp_path / "out")
    assert data.items.column("item_id").to_pylist() == ["a", "b"]
    assert data.items.column("title").to_pylist() == ["one", " "]
    assert data.interactions.column("item").to_pylist() == [1, 2, 1, 1, 2]
    assert errors_of(data) == [
        (
            "../x",
            "unsafe",
            "M_titles.csv:3: item id '../x' cannot name a file inside its folder; left out",
        ),
        ("b", "empty", "M_titles.csv:4: item 'b' has an empty title"),
        (
            "a",
            "duplicate_id",
            "M_titles.csv:5: item 'a' repeats the id of line 2; line left out",
        ),
        (
            "q",
            "unknown_item",
            "M_pairs.tsv:1: user 'u' has item 'q', which M_titles.csv does not have or which was left out; "
            "interaction left out",
        ),
        (
            "q",
            "unknown_item",
            "M_pairs.tsv:2: user 'v' has item 'q', which M_titles.csv does not have or which was left out; "
            "interaction left out",
        ),
        (
            None,
            "too_few_interactions",
            "M_pairs.tsv: user 'v' has 0 interactions with known items, fewer than 5; the splits leave this user out",
        ),
    ]


def test_users_with_few_interactions_stay_in_the_table(write_microlens, tmp_path):
    data = ingested(write_microlens(pairs_tsv="u\ta b a b a\nv\ta b a b\n"), tmp_path / "out")
    assert data.interactions.num_rows == 9
    assert [(class_, "'v' has 4" in text) for _, class_, text in errors_of(data)] == [
        ("too_few_interactions", True)
    ]
    assert data.splits().user_ids == ["u"]


def test_the_manifest_says_what_was_read(write_microlens, tmp_path):
    dump = write_microlens(likes="a\t1\t2\n")
    data = ingested(dump, tmp_path / "out", name="mine")
    assert data.manifest["name"] == "mine"
    assert data.manifest["counts"] == {"users": 1, "items": 2, "interactions": 5}
    step = data.manifest["steps"]["ingest"]
    assert step["config"] == {"layout": "microlens", "name": "mine"}
    assert step["inputs"]["M_titles.csv"] == {
        "bytes": 23,
        # printf 'item,title\na,one\nb,two\n' | sha256sum
        "sha256": "bb52e65ac68a23e084f6952712b29ed529c11cf75b3d9be1484711c3ff77e55f",
    }
    assert set(step["inputs"]) == {"M_titles.csv", "M_pairs.tsv", "M_likes_and_views.txt"}
    assert data.items.schema.field("likes").type == "int64"
    assert data.items.column("likes").to_pylist() == [1, None]


def test_errors_exist_even_when_empty(write_microlens, tmp_path):
    ingested(write_microlens(), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "errors").iterdir()] == ["ingest-00000.arrow"]


def test_a_rerun_does_nothing_and_says_so(write_microlens, tmp_path, capsys):
    dump, out = write_microlens(), tmp_path / "out"
    ingested(dump, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    ingested(dump, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "ingest: already done (1 users, 2 items, 5 interactions)" in capsys.readouterr().out


def test_a_dump_may_move(write_microlens, tmp_path):
    dump, out = write_microlens(), tmp_path / "out"
    ingested(dump, out)
    assert ingested(dump.rename(tmp_path / "elsewhere"), out).name == "small"


def test_another_name_is_refused(write_microlens, tmp_path):
    dump, out = write_microlens(), tmp_path / "out"
    ingested(dump, out)
    with pytest.raises(UserError, match=r'name = "small", and now name = "other".*start afresh'):
        ingested(dump, out, name="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda dump: (dump / "M_pairs.tsv").write_text("u\tb b b b b\n"),
            r"M_pairs\.tsv has changed",
        ),
        (
            lambda dump: (dump / "M_likes_and_views.txt").write_text("a\t1\t2\n"),
            r"views\.txt is new",
        ),
        (
            lambda dump: (dump / "M_pairs.tsv").rename(dump / "N_pairs.tsv"),
            r"M_pairs\.tsv is gone since .* was ingested; to start afresh",
        ),
    ],
)
def test_other_input_is_refused(write_microlens, tmp_path, change, message):
    dump, out = write_microlens(), tmp_path / "out"
    ingested(dump, out)
    change(dump)
    with pytest.raises(UserError, match=message):
        ingested(dump, out)


def test_an_unfinished_ingest_is_redone_from_scratch(write_microlens, tmp_path):
    dump, out = write_microlens(), tmp_path / "out"
    whole = ingested(dump, tmp_path / "whole").items
    ingested(dump, out)
    (out / "dataset.json").unlink()  # written last: without it nothing counts
    shutil.copy(out / "items" / "part-00000.arrow", out / "items" / "part-00001.arrow")
    assert ingested(dump, out).items.equals(whole)


def test_a_folder_with_other_things_is_left_alone(write_microlens, tmp_path):
    dump = write_microlens()
    with pytest.raises(UserError, match=r"holds M_pairs\.tsv, .* but no dataset\.json"):
        prep.ingest(dump, dump)
    assert (dump / "M_titles.csv").exists()


def test_a_dump_without_items(write_microlens, tmp_path):
    with pytest.raises(UserError, match=r"M_titles\.csv: contains no items"):
        prep.ingest(write_microlens(titles="item,title\n"), tmp_path / "out")


def test_the_synthetic_dump_goes_by_time(synth_dump, tmp_path):
    data = ingested(synth_dump, tmp_path / "out")
    by_time = data.interactions
    tsv_only = tmp_path / "tsv"
    shutil.copytree(synth_dump, tsv_only)
    (tsv_only / "MicroLens-synth_pairs.csv").unlink()
    by_line = ingested(tsv_only, tmp_path / "out_tsv").interactions
    pairs = [
        {
            user: group["item"].tolist()
            for user, group in table.select(["user_id", "item"]).to_pandas().groupby("user_id")
        }
        for table in (by_time, by_line)
    ]
    assert pairs[0] == pairs[1]


def test_amazon_scientific(real_data, tmp_path):
    data = ingested(real_data / "amazon-scientific", tmp_path / "out")
    assert read_json(tmp_path / "out" / "dataset.json")["counts"] == {
        "users": 12_076,
        "items": 20_825,
        "interactions": 85_211,
    }
    splits = data.splits()
    assert len(splits.user_ids) == 12_076
    assert len(splits.catalogue) == 20_314
    assert splits.interactions == 81_711
    assert "&amp;" in data.items.column("title")[0].as_py()
    assert data.errors.num_rows == 0


def test_the_real_microlens_titles(real_data, tmp_path):
    dump = tmp_path / "dump"
    dump.mkdir()
    shutil.copy(real_data / "microlens-sample" / "MicroLens-50k_titles.csv", dump)
    (dump / "MicroLens-50k_pairs.tsv").write_text("1\t1 2 3 4 1002\n")
    data = ingested(dump, tmp_path / "out")
    assert data.items.num_rows == 19_220
    assert data.items.column("title")[1].as_py().startswith("beautiful dish with 5 pounds of duck")
    wanted = [data.item_ids.number(id_) for id_ in ("1", "2", "3", "4", "1002")]
    assert data.interactions.column("item").to_pylist() == wanted


def test_a_layout_of_ones_own_is_looked_for_first(write_microlens, tmp_path):
    microlens = make_readers(PrepConfig())["microlens"]
    dump = write_microlens()
    prep.ingest(dump, tmp_path / "own", readers={"mine": replace(microlens, wants="mine")})
    prep.ingest(dump, tmp_path / "built in")
    steps = [read_json(tmp_path / out / "dataset.json")["steps"] for out in ("own", "built in")]
    assert [step["ingest"]["config"]["layout"] for step in steps] == ["mine", "microlens"]


def test_a_reader_of_ones_own_takes_the_place_of_ours(write_microlens, tmp_path):
    mine = replace(make_readers(PrepConfig())["microlens"], wants="my files", find=lambda dump: {})
    with pytest.raises(UserError, match=r"expected my files \(microlens\)"):
        prep.ingest(
            write_microlens(),
            tmp_path / "own",
            PrepConfig(layout="microlens"),
            readers={"microlens": mine},
        )
