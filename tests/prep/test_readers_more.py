"""NineRec, IDvs.MoRec and the user's own tables: what is read, what needs an option, what is refused."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.cli import main
from prep.config import Layout
from prep.readers import choose, make_readers, morec, ninerec, table
from toolkit import UserError

ROOT = Path(__file__).parents[2]


def write(folder, **files):
    """Files by name, `__` standing for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def items_of(raw):
    columns = (raw.items.column(name).to_pylist() for name in ("item_id", "title", "line"))
    return list(zip(*columns, strict=True))


def interactions_of(raw):
    names = ("user_id", "item_id", "timestamp_ms", "line")
    interactions = pa.Table.from_batches(list(raw.interactions))
    columns = (interactions.column(name).to_pylist() for name in names)
    return list(zip(*columns, strict=True))


def sequences_of(out):
    """Every user's item ids in the order of the dataset."""
    data = toolkit.open_dataset(out)
    ids = data.items.column("item_id").to_pylist()
    found = {}
    for row in data.interactions.to_pylist():
        found.setdefault(row["user_id"], []).append(ids[row["item"] - 1])
    return found


ITEMS = "v1,一,one\nv2,二,two\nv3,三,three\n"


def test_every_layout_has_a_reader():
    assert get_args(Layout) == ("auto", *make_readers(PrepConfig()))


def test_messages_name_every_layout(tmp_path):
    with pytest.raises(UserError, match="layout auto found") as caught:
        choose("auto", tmp_path)
    assert all(f"({name})" in str(caught.value) for name in make_readers(PrepConfig()))


# --- ninerec


def test_ninerec_titles_are_a_csv_and_english_where_there_is_any(tmp_path):
    text = (
        '\ufeffv1,"逗号, 中文","hello, world"\r\n'
        'v2,中"文",she said "hi"\n'
        "\n"
        "v3,只有中文,\n"
        "v4,空白, \n"
        'v5,"双""引",""\n'
        "v6,,\n"
        'v7,"两\n行","two\nlines"\n'
    )
    raw = ninerec.read_items(write(tmp_path, X_item__csv=text) / "X_item.csv")
    rows = zip(*raw.to_pydict().values(), strict=True)
    assert list(rows) == [
        ("v1", "hello, world", 1),
        ("v2", 'she said "hi"', 2),
        ("v3", "只有中文", 4),
        ("v4", "空白", 5),
        ("v5", '双"引', 6),
        ("v6", "", 7),
        ("v7", "two\nlines", 10),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v1,一,one\nv2,二,two, and more\n", r"X_item\.csv:2: expected id,zh,en .*\(4 fields\)"),
        ("v1,一,one\nv2,two\n", r"X_item\.csv:2: expected id,zh,en .*\(2 fields\)"),
        ('v1,一,"one\n', r"X_item\.csv:1: expected id,zh,en with closed quotes"),
        ('v1,一,"one" two\n', r"X_item\.csv:1: expected id,zh,en with closed quotes"),
        ("", r"X_item\.csv: the file is empty"),
        (b"v1,\xff,one\n", r"X_item\.csv:1: not UTF-8 \(byte 0xff\)"),
    ],
)
def test_ninerec_titles_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        ninerec.read_items(write(tmp_path, X_item__csv=text) / "X_item.csv")


@pytest.mark.parametrize("order", ["item-user-time", "user-item-time"])
def test_ninerec_finds_the_items_among_the_columns(tmp_path, order):
    rows = [("u2", "v3", 30), ("u1", "v1", 10), ("u2", "v1", 20)]
    lines = [f"{i},{u},{t}" if order.startswith("item") else f"{u},{i},{t}" for u, i, t in rows]
    dump = write(tmp_path, X_item__csv=ITEMS, X_pair__csv="\n".join(lines))
    raw = ninerec.read(ninerec.find(dump))
    expected = [("u2", "v3", 30, 1), ("u1", "v1", 10, 2), ("u2", "v1", 20, 3)]
    assert interactions_of(raw) == expected
    assert items_of(raw) == [("v1", "one", 1), ("v2", "two", 2), ("v3", "three", 3)]
    assert (raw.items_file, raw.interactions_file) == ("X_item.csv", "X_pair.csv")


def test_ninerec_columns_told_and_seconds(tmp_path):
    dump = write(tmp_path, X_item__csv="1,一,one\n2,二,two\n", X_pair__csv="1,2,7\n2,1,8\n")
    files = ninerec.find(dump)
    told = ninerec.read(files, pair_columns="item-user-time", time_unit="s")
    assert interactions_of(told) == [("2", "1", 7000, 1), ("1", "2", 8000, 2)]
    told = ninerec.read(files, pair_columns="user-item-time")
    assert interactions_of(told) == [("1", "2", 7, 1), ("2", "1", 8, 2)]


@pytest.mark.parametrize(
    ("pairs", "shares"),
    [
        ("1,2,7\n2,1,8\n", "100% .*100%"),  # both columns fit
        ("u,v,7\nw,x,8\n", "0% .*0%"),  # none does
        ("1,2,7\n2,1,8\n1,u,9\n", "100% .*67%"),  # {1, 2} of {1, 2}; {2, 1} of {2, 1, u}
        ("1,u,7\nw,x,8\n", "50% .*0%"),  # {1} of {1, w}
    ],
)
def test_ninerec_asks_when_the_columns_cannot_be_told(tmp_path, pairs, shares):
    dump = write(tmp_path, X_item__csv="1,一,one\n2,二,two\n", X_pair__csv=pairs)
    message = rf"X_pair\.csv: cannot determine which column holds the items: .*{shares}.*--pair_columns item-user-time"
    with pytest.raises(UserError, match=message):
        ninerec.read(ninerec.find(dump))


@pytest.mark.parametrize(
    ("pairs", "unit", "message"),
    [
        ("u,v1,7\nu,v2,7.5\n", "ms", r":2: expected a timestamp in milliseconds, found '7\.5'"),
        ("u,v1,7\nu,v2,soon\n", "s", r":2: expected a timestamp in seconds, found 'soon'"),
        ("u,v1,1600000000000000\n", "s", r":1: expected a timestamp in seconds"),  # beyond 64 bits
        ("u,v1\n", "ms", r":1: expected .*found 'u,v1'"),
        ("u,v1,1,2\n", "ms", r":1: expected .*found 'u,v1,1,2'"),
    ],
)
def test_ninerec_pairs_that_cannot_be_read(tmp_path, pairs, unit, message):
    dump = write(tmp_path, X_item__csv=ITEMS, X_pair__csv=pairs)
    with pytest.raises(UserError, match=rf"X_pair\.csv{message}"):
        interactions_of(ninerec.read(ninerec.find(dump), time_unit=unit))


def test_ninerec_behaviour_is_read_where_there_are_no_pairs(tmp_path):
    dump = write(tmp_path, QB_item__csv=ITEMS, QB_behaviour__tsv="u2\tv3 v1 v3\nu1\tv2\n")
    raw = ninerec.read(ninerec.find(dump))
    assert interactions_of(raw) == [
        ("u2", "v3", None, 1),
        ("u2", "v1", None, 1),
        ("u2", "v3", None, 1),
        ("u1", "v2", None, 2),
    ]
    write(dump, QB_pair__csv="v1,u,5\n")
    assert interactions_of(ninerec.read(ninerec.find(dump))) == [("u", "v1", 5, 1)]


def test_ninerec_without_pairs_or_with_several_items_files(tmp_path):
    dump = write(tmp_path, X_item__csv=ITEMS)
    with pytest.raises(UserError, match=r"found X_item\.csv but neither \*_pair\.csv .*behaviour"):
        choose("auto", dump)
    write(dump, Y_item__csv=ITEMS)
    with pytest.raises(UserError, match=r"several files match \*_item\.csv \(X_item.*Y_item"):
        choose("auto", dump)


def test_ninerec_from_dump_to_dataset_with_covers(tmp_path):
    pairs = "".join(f"v{item},u,{time}\n" for time, item in enumerate([3, 1, 2, 1, 3, 2]))
    dump = write(tmp_path / "X", X_item__csv=ITEMS, X_pair__csv=pairs)
    (dump / "X_cover").mkdir()
    image = cv2.imencode(".jpg", np.full((8, 12, 3), 200, np.uint8))[1]
    (dump / "X_cover" / "v1.jpg").write_bytes(image.tobytes())
    out = tmp_path / "out"
    prep.build(dump, out, PrepConfig(media=MediaConfig(workers=1)))
    assert sequences_of(out) == {"u": ["v3", "v1", "v2", "v1", "v3", "v2"]}
    covers = toolkit.store.Table(out / "covers").read().to_pydict()
    assert dict(zip(covers["item_id"], covers["status"], strict=True)) == {
        "v1": "ok",
        "v2": "missing",
        "v3": "missing",
    }
    with pytest.raises(UserError, match=r'time_unit = "ms", and now time_unit = "s"'):
        prep.ingest(dump, out, PrepConfig(time_unit="s"))


def test_options_without_use_are_refused(write_microlens, tmp_path):
    dump, out = write_microlens(), tmp_path / "out"
    with pytest.raises(UserError, match=r"time_unit is 's', but .* layout microlens"):
        prep.ingest(dump, out, PrepConfig(time_unit="s"))
    with pytest.raises(UserError, match=r"columns is 'user=u,item=i', but .*microlens"):
        prep.ingest(dump, out, PrepConfig(layout="microlens", columns="user=u,item=i"))
    with pytest.raises(UserError, match=r"pair_columns is 'user-item-time', but .*microlens"):
        main(["ingest", str(dump), str(out), "--pair_columns", "user-item-time"])
    assert not out.exists()


# --- morec


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("n1\tone\tabout one\nn2\ttwo, 2\t\r\n\nn3\t\tx\n", ["one", "two, 2", ""]),  # MIND
        ("n1\tone\nn2\ttwo, 2\nn3\t\n", ["one", "two, 2", ""]),
        ("n1\nn2\r\nn3\n", [None, None, None]),  # ids alone
    ],
)
def test_morec_items_of_one_to_three_columns(tmp_path, text, titles):
    dump = write(tmp_path, mind_items__tsv=text, mind_users__tsv="u2\tn3 n1 n3\nu1\tn2\n")
    raw = morec.read(choose("morec", dump)[1])
    assert [row[:2] for row in items_of(raw)] == list(zip(["n1", "n2", "n3"], titles, strict=True))
    assert items_of(raw)[2][2] == (4 if "\n\n" in text else 3)
    assert [row[:2] for row in interactions_of(raw)] == [
        ("u2", "n3"),
        ("u2", "n1"),
        ("u2", "n3"),
        ("u1", "n2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "n1\tone\tx\nn2\ttwo\n",
            r":2: expected item; item<TAB>.*found 2 columns, but 3 on line 1",
        ),
        ("n1\nn2\ttwo\n", r":2: expected .*found 2 columns, but 1 on line 1"),
        ("n1\ta\tb\tc\n", r":1: expected .*found 4 columns"),
        ("", r": the file is empty"),
    ],
)
def test_morec_items_that_cannot_be_read(tmp_path, text, message):
    path = write(tmp_path, mind_items__tsv=text) / "mind_items.tsv"
    with pytest.raises(UserError, match=rf"mind_items\.tsv{message}"):
        morec.read_items(path)


@pytest.mark.parametrize(
    ("items", "layout"),
    [
        ("n1\nn2\n", "morec"),
        ("n1\tone\tabout one\r\n\nn2\t\t\n", "morec"),
        ("n1\tone\nn2\ttwo\n", "amazon"),  # reads the same either way
        ("n1\tone\nn2\ta tab\tin a title\n", "amazon"),
    ],
)
def test_morec_is_told_from_amazon_by_its_columns(tmp_path, items, layout):
    dump = write(tmp_path, hm_items__tsv=items, hm_users__tsv="u\tn1\n")
    assert choose("auto", dump)[0] == layout
    assert choose("morec", dump)[0] == "morec"
    assert choose("amazon", dump)[0] == "amazon"


def test_the_first_thousand_lines_tell(tmp_path):
    beyond = "n0\tone\tabout\n" * 1000 + "n1\ttwo\n"
    dump = write(tmp_path, hm_items__tsv=beyond, hm_users__tsv="u\tn1\n")
    assert choose("auto", dump)[0] == "morec"
    with pytest.raises(UserError, match=r"hm_items\.tsv:1001: .*found 2 columns, but 3 on line 1"):
        prep.ingest(dump, tmp_path / "out")


def test_morec_without_users(tmp_path):
    dump = write(tmp_path, hm_items__tsv="n1\n")
    for layout in ("auto", "morec", "amazon"):
        with pytest.raises(UserError, match=r"found hm_items\.tsv but no \*users\*\.tsv"):
            choose(layout, dump)


def test_a_dump_without_titles_is_told_once(tmp_path):
    users = "u\tn2 n1 n2 n1 n2\n"
    dump = write(tmp_path / "hm", hm_items__tsv="n1\nn2\n", hm_users__tsv=users)
    out = tmp_path / "out"
    prep.ingest(dump, out, PrepConfig(layout="morec"))
    data = toolkit.open_dataset(out)
    assert data.items.column("title").to_pylist() == ["", ""]
    assert sequences_of(out) == {"u": ["n2", "n1", "n2", "n1", "n2"]}
    (row,) = data.errors.to_pylist()
    assert (row["item_id"], row["error_class"]) == (None, "no_titles")
    assert row["message"] == "hm_items.tsv: contains no titles; the titles of all 2 items are empty"


def test_empty_titles_in_a_column_of_titles_are_told_one_by_one(tmp_path):
    dump = write(tmp_path / "d", a_items__tsv="n1\t\nn2\t\n", a_users__tsv="u\tn1 n2 n1 n2 n1\n")
    prep.ingest(dump, tmp_path / "out", PrepConfig(layout="morec"))
    told = toolkit.open_dataset(tmp_path / "out").errors.to_pylist()
    assert [(row["item_id"], row["error_class"]) for row in told] == [
        ("n1", "empty"),
        ("n2", "empty"),
    ]


# --- table

LOG = "uid,asin,ts,name\nzoe,b,30,two\nann,a,10,\nzoe,a,20,one\n"
COLUMNS = {"user": "uid", "item": "asin", "time": "ts", "title": "name"}


def read_table(dump, columns, **settings):
    return table.read(table.find(dump, columns), columns=columns, **settings)


@pytest.mark.parametrize(
    "columns",
    [
        "user=uid,item=asin,time=ts,title=name",
        " title = name , time=ts, item=asin, user=uid",
        {"title": "name", "item": "asin", "user": "uid", "time": "ts"},
    ],
)
def test_columns_as_text_or_mapping(columns):
    assert list(table.parse_columns(columns).items()) == list(COLUMNS.items())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "user=uid",
            r"columns is 'user=uid': user and item must be named.*give user=NAME,item=NAME",
        ),
        ({"item": "asin"}, "user and item must be named"),
        ("user=uid,item=", "no name may be empty"),
        ("user,item=asin", "no name may be empty"),
        ("user=uid,item=asin,likes=n", "'likes' is not one of user, item, time, title"),
        ("uid,asin", "'asin' is not one of user, item, time, title"),
        ("user=uid,item=uid", "a column cannot have two roles"),
        ("user=uid,item=asin,user=u2", "a role is named twice"),
    ],
)
def test_columns_that_cannot_be_understood(columns, message):
    with pytest.raises(UserError, match=message):
        table.parse_columns(columns)


def test_a_csv_with_titles_in_it(tmp_path):
    raw = read_table(write(tmp_path, log__csv="\ufeff" + LOG), COLUMNS)
    assert interactions_of(raw) == [
        ("zoe", "b", 30, 2),
        ("ann", "a", 10, 3),
        ("zoe", "a", 20, 4),
    ]
    assert items_of(raw) == [("b", "two", 2), ("a", "one", 3)]  # a's first title that is not empty
    assert (raw.items_file, raw.interactions_file, raw.problems) == ("log.csv", "log.csv", ())


def test_ids_and_titles_stay_as_they_are(tmp_path):
    log = 'uid,asin,name\n007,NA,"a, ""b""\nc"\n1.0,null,NULL\n'
    columns = {"user": "uid", "item": "asin", "title": "name"}
    raw = read_table(write(tmp_path, log__csv=log), columns)
    assert interactions_of(raw) == [("007", "NA", None, 2), ("1.0", "null", None, 3)]
    assert [row[:2] for row in items_of(raw)] == [("NA", 'a, "b"\nc'), ("null", "NULL")]


def test_titles_of_several_lines_beyond_the_first_block_of_a_file(tmp_path):
    title = "line\n" * 1000
    rows = "".join(
        f'zoe,c{number},40,"{title}"\n' for number in range(500)
    )  # 2.5 MB; a block has 1
    raw = read_table(write(tmp_path, log__csv=LOG + rows), COLUMNS)
    assert items_of(raw)[2:] == [(f"c{number}", title, number + 5) for number in range(500)]


def test_without_titles_they_are_unknown(tmp_path):
    raw = read_table(write(tmp_path, log__csv=LOG), {"user": "uid", "item": "asin"})
    assert items_of(raw) == [("b", None, 2), ("a", None, 3)]
    assert interactions_of(raw)[0] == ("zoe", "b", None, 2)


def test_an_items_file_says_which_items_there_are(tmp_path):
    dump = write(
        tmp_path,
        log__csv=LOG.replace("name", "stars"),
        what__csv="asin,price,name\na,1,one\nc,2,\nb,3,two\n",
        other__csv="asin,price\na,1\n",
    )
    files = table.find(dump, COLUMNS)
    assert files == {"interactions": dump / "log.csv", "titles": dump / "what.csv"}
    raw = table.read(files, columns=COLUMNS)
    assert items_of(raw) == [("a", "one", 2), ("c", "", 3), ("b", "two", 4)]
    assert (raw.items_file, raw.interactions_file) == ("what.csv", "log.csv")
    assert [row[1] for row in interactions_of(raw)] == ["b", "a", "a"]


def test_a_second_title_of_an_item_is_told_once(tmp_path):
    log = "u,i,t\nx,a,one\nx,a,uno\nx,a,one\nx,a,uno\nx,b,\nx,b, \n"
    raw = read_table(write(tmp_path, log__csv=log), {"user": "u", "item": "i", "title": "t"})
    assert items_of(raw) == [("a", "one", 2), ("b", "", 6)]
    (problem,) = raw.problems
    assert problem == (
        "a",
        "other_title",
        "log.csv:3: item 'a' has another title than on row 2, which is kept",
    )


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1), ("s", 1000)])
def test_parquet_with_whole_numbers(tmp_path, unit, factor):
    columns = {"user": [7, 8], "item": ["b", "a"], "time": [1_600_000_000, -5]}
    stored = pa.table(columns)
    stored = stored.set_column(1, "item", stored.column("item").dictionary_encode())
    pyarrow.parquet.write_table(stored, tmp_path / "log.parquet")
    raw = read_table(tmp_path, {role: role for role in columns}, time_unit=unit)
    assert interactions_of(raw) == [
        ("7", "b", 1_600_000_000 * factor, 1),
        ("8", "a", -5 * factor, 2),
    ]


def test_a_folder_of_parquet_is_one_table(tmp_path):
    (tmp_path / "d/log").mkdir(parents=True)
    for part, users in enumerate((["a", "b"], ["c"])):
        rows = pa.table({"user": users, "item": ["x"] * len(users), "time": [part] * len(users)})
        pyarrow.parquet.write_table(rows, tmp_path / f"d/log/part-{part}.parquet")
    columns = {"user": "user", "item": "item", "time": "time"}
    raw = read_table(tmp_path / "d", columns)
    assert interactions_of(raw) == [("a", "x", 0, 1), ("b", "x", 0, 2), ("c", "x", 1, 3)]
    prep.ingest(tmp_path / "d", tmp_path / "out", PrepConfig(columns=columns))
    inputs = toolkit.open_dataset(tmp_path / "out").manifest["steps"]["ingest"]["inputs"]
    assert list(inputs) == ["log/part-0.parquet", "log/part-1.parquet"]
    (tmp_path / "d/log/part-1.parquet").unlink()
    with pytest.raises(UserError, match=r"log/part-1\.parquet is gone since"):
        prep.ingest(tmp_path / "d", tmp_path / "out", PrepConfig(columns=columns))


@pytest.mark.parametrize("resolution", ["s", "ms", "us", "ns"])
def test_points_in_time_of_parquet_have_their_own_unit(tmp_path, resolution):
    times = pa.array([1_600_000_000, -5], pa.int64()).cast(pa.timestamp("s"))
    log = pa.table(
        {"user": ["a", "b"], "item": ["x", "y"], "time": times.cast(pa.timestamp(resolution))}
    )
    pyarrow.parquet.write_table(log, tmp_path / "log.parquet")
    raw = read_table(tmp_path, {role: role for role in log.schema.names}, time_unit="s")
    assert [row[2] for row in interactions_of(raw)] == [1_600_000_000_000, -5_000]


def test_no_point_in_time(tmp_path):
    times = pa.array([1, None], pa.timestamp("ms"))
    log = pa.table({"user": ["a", "b"], "item": ["x", "y"], "time": times})
    pyarrow.parquet.write_table(log, tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"log\.parquet:2: expected a time, found no value"):
        interactions_of(read_table(tmp_path, {role: role for role in log.schema.names}))


@pytest.mark.parametrize(
    ("values", "role", "message"),
    [
        ([True, False], "time", r"column 'time' \(time\) has type bool, expected whole numbers"),
        ([1.5, 2.0], "item", r"column 'item' \(item\) has type double, expected strings or whole"),
        ([[1], [2]], "user", r"column 'user' \(user\) has type list<"),
        ([None, "a"], "user", r"log\.parquet:1: column 'user' is empty"),
        ([5, None], "time", r"log\.parquet:2: expected a timestamp in milliseconds, found ''"),
    ],
)
def test_parquet_columns_that_cannot_be_read(tmp_path, values, role, message):
    columns = {"user": ["u", "v"], "item": ["a", "b"], "time": [1, 2], role: values}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(UserError, match=message):
        interactions_of(read_table(tmp_path, {role: role for role in columns}))


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        (
            LOG + "zoe,b,1.5,\n",
            "ms",
            r":5: expected a timestamp in milliseconds, found '1\.5'",
        ),
        (
            LOG + "zoe,b,2024-01-01,\n",
            "s",
            r":5: expected a timestamp in seconds, found '2024-01-01'",
        ),
        (LOG + "zoe,b,,\n", "ms", r":5: expected a timestamp in milliseconds, found ''"),
        (LOG + "zoe,,5,\n", "ms", r":5: column 'asin' is empty; fill it in"),
        (LOG + ",b,5,\n", "ms", r":5: column 'uid' is empty"),
        (LOG + "zoe,b\n", "ms", r": .*Expected 4 columns, got 2: zoe,b; fix the file"),
        (LOG.encode() + b"zo\xff,b,5,\n", "ms", r":5: not UTF-8; convert the file"),
    ],
)
def test_csv_rows_that_cannot_be_read(tmp_path, text, unit, message):
    dump = write(tmp_path, log__csv=text)
    with pytest.raises(UserError, match=rf"log\.csv{message}"):
        interactions_of(read_table(dump, COLUMNS, time_unit=unit))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"log__csv": "user;item\n1;2\n", "b__csv": "x,y\n"},
            r"no file has the columns 'uid' \(user\), 'asin' \(item\), 'ts' \(time\); "
            r"found b\.csv: x, y; log\.csv: user;item; correct --columns",
        ),
        (
            {"log__csv": "uid,asin,ts\n", "b__csv": "uid,asin,name\n"},
            r"no file has the columns 'asin' \(item\), 'name' \(title\); found b\.csv: uid, asin, name; "
            r"log\.csv: uid, asin, ts",
        ),
        (
            {"a__csv": LOG, "b__csv": LOG},
            r"several files .*\(a\.csv, b\.csv\); keep only one of them",
        ),
        (
            {"log__csv": "uid,asin,ts\n", "a__csv": "asin,name\n", "b__csv": "asin,name\n"},
            r"several files have the columns 'asin' \(item\), 'name' \(title\) \(a\.csv, b\.csv\)",
        ),
        (
            {"log__csv": LOG, "b__csv": "asin,name\na,one\n"},
            r"log\.csv and b\.csv both have a column 'name'; move one of the files away",
        ),
        ({"log__csv": "uid,asin,ts,name,name\n"}, r"log\.csv: several columns are called 'name'"),
        ({"log__csv": LOG, "x__csv": '"' + "x" * 200_000}, r"x\.csv:1: not a CSV file"),
        ({"log__csv": LOG, "x__parquet": "PAR"}, r"x\.parquet: not a Parquet file"),
        (
            {"log__txt": LOG},
            r"no dump of layout table found; expected any \*\.csv, \*\.parquet or folder",
        ),
    ],
)
def test_tables_that_cannot_be_found(tmp_path, files, message):
    config = PrepConfig(columns=COLUMNS)
    with pytest.raises(UserError, match=message):
        choose("table", write(tmp_path, **files), make_readers(config))


def test_a_table_needs_columns(tmp_path):
    dump = write(tmp_path, log__csv=LOG)
    message = r"layout table requires the names of the columns \(log\.csv: uid, asin, ts, name\); give --columns"
    with pytest.raises(UserError, match=message):
        choose("table", dump)
    with pytest.raises(UserError, match=r"no dump of layout auto found.*if --columns names"):
        choose("auto", dump)


EVENTS = [("zoe", "b"), ("ann", "a"), ("zoe", "a"), ("ann", "b"), ("zoe", "c"), ("ann", "c")]
EVENTS += [("zoe", "b"), ("ann", "a"), ("zoe", "a"), ("ann", "b")]


def test_a_table_from_dump_to_splits(tmp_path):
    # Written last to first, so that only the times give the order.
    rows = [f"{user},{item},{9 + time}" for time, (user, item) in enumerate(EVENTS)]
    log = "uid,asin,ts\n" + "\n".join(reversed(rows))
    dump = write(tmp_path / "shop", log__csv=log, info__csv="asin,name\nc,three\na,one\nb,two\n")
    out = tmp_path / "out"
    told = ["--columns", "user=uid,item=asin,time=ts,title=name", "--time_unit", "s"]
    built = subprocess.run(
        [sys.executable, "-m", "prep", "build", dump, out, *told],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (built.returncode, built.stderr) == (0, "")
    assert "ingest: table, 2 users, 3 items, 10 interactions\n" in built.stdout
    data = toolkit.open_dataset(out)
    assert data.items.column("item_id").to_pylist() == ["c", "a", "b"]  # 1, 2, 3
    assert data.items.column("title").to_pylist() == ["three", "one", "two"]
    assert sequences_of(out) == {
        user: [item for owner, item in EVENTS if owner == user] for user in ("ann", "zoe")
    }
    splits = data.splits()
    assert splits.user_ids == ["zoe", "ann"]  # by their first times
    # ann: a b c a b, zoe: b a c b a; the last two of each are targets
    assert [row[row != 0].tolist() for row in splits.train] == [[3, 2, 1], [2, 3, 1]]
    assert (splits.valid.targets.tolist(), splits.test.targets.tolist()) == ([3, 2], [2, 3])
    assert splits.test.inputs[:, -4:].tolist() == [[3, 2, 1, 3], [2, 3, 1, 2]]
    assert data.interactions.column("timestamp_ms").to_pylist()[0] == 9_000
    assert data.errors.num_rows == 0
    assert prep.check(out) == []
    recorded = data.manifest["steps"]["ingest"]["config"]
    assert recorded == {
        "layout": "table",
        "name": "shop",
        "columns": {"user": "uid", "item": "asin", "time": "ts", "title": "name"},
        "time_unit": "s",
    }


def test_a_table_built_again(tmp_path, capsys):
    dump, out = write(tmp_path / "d", log__csv=LOG), tmp_path / "out"
    (dump / "prep.yaml").write_text(yaml.safe_dump({"columns": COLUMNS}))
    assert main(["ingest", str(dump), str(out)]) == 0
    same = ["--columns", "item=asin,user=uid,title=name,time=ts"]
    assert main(["ingest", str(dump), str(out), *same]) == 0
    assert "ingest: already done" in capsys.readouterr().out
    assert main(["encode", str(out)]) == 0  # goes on from the columns that were recorded
    with pytest.raises(
        UserError, match=r'made with columns = .*"ts".*and now columns = .*asked for'
    ):
        main(["ingest", str(dump), str(out), "--columns", "user=uid,item=asin,title=name"])
    with pytest.raises(UserError, match=r'time_unit = "ms", and now time_unit = "s"'):
        main(["ingest", str(dump), str(out), "--time_unit", "s"])


# --- auto

DUMPS = {
    "microlens": {"M_titles__csv": "item,title\na,one\n", "M_pairs__tsv": "u\ta\n"},
    "ninerec": {"X_item__csv": ITEMS, "X_pair__csv": "v1,u,5\n"},
    "amazon": {"S_items__tsv": "i\tt\n", "S_users__tsv": "u\ti\n"},
}


@pytest.mark.parametrize("layout", DUMPS)
def test_auto_tells_the_layouts_apart(tmp_path, layout):
    dump = write(tmp_path, **DUMPS[layout])
    assert choose("auto", dump)[0] == layout
    assert choose(layout, dump)[0] == layout
    for other in DUMPS.keys() - {layout}:
        with pytest.raises(UserError, match=f"no dump of layout {other} found"):
            choose(other, dump)


@pytest.mark.parametrize("layout", DUMPS)
def test_columns_say_that_it_is_a_table_whatever_the_names_of_its_files(tmp_path, layout):
    dump = write(tmp_path, **DUMPS[layout], log__csv=LOG)
    assert choose("auto", dump)[0] == layout
    readers = make_readers(PrepConfig(columns=COLUMNS))
    assert choose("auto", dump, readers) == ("table", {"interactions": dump / "log.csv"})
    assert choose(layout, dump, readers)[0] == layout
