"""One table as pandas, Polars, Spark, Excel and spreadsheets write it: read alike, or refused in one line."""

import datetime as dt
import gzip
import shutil

import pyarrow as pa
import pyarrow.parquet
import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.readers import amazon, microlens, morec, ninerec, table
from prep.readers.headers import find_header
from prep.readers.ids import look_alike, trimmed_ids
from prep.readers.times import Times, milliseconds
from toolkit import UserError

TITLES = {"1": "Red lamp, small", "2": "Blue lamp", "12": 'She said "no"'}


def put(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def titles_of(tmp_path, text):
    frame = microlens.read_titles(put(tmp_path, "M_titles.csv", text))
    return dict(zip(frame["item_id"], frame["title"], strict=True))


def quoted(title):
    return '"' + title.replace('"', '""') + '"'


def table_of_titles(header, row):
    return header + "".join(row(n, i, quoted(t)) for n, (i, t) in enumerate(TITLES.items()))


# --- headers

HEADERS = {
    "plain": table_of_titles("item,title\n", lambda n, i, t: f"{i},{t}\n"),
    "index": table_of_titles(",item,title\n", lambda n, i, t: f"{n},{i},{t}\n"),
    "read twice": table_of_titles("Unnamed: 0,item,title\n", lambda n, i, t: f"{n},{i},{t}\n"),
    "indexed twice": table_of_titles(
        ",Unnamed: 0,item,title\n", lambda n, i, t: f"{n},{n},{i},{t}\n"
    ),
    "quoted": table_of_titles('"item","title"\n', lambda n, i, t: f'"{i}",{t}\n'),
    "spaces": table_of_titles("item, title\n", lambda n, i, t: f"{i}, {t}\n"),
    "order": table_of_titles("title,item\n", lambda n, i, t: f"{t},{i}\n"),
    "capitals": table_of_titles("Item ID,Title\n", lambda n, i, t: f"{i},{t}\n"),
    "bom": table_of_titles("\ufeffitem,title\n", lambda n, i, t: f"{i},{t}\n"),
    "bom and quotes": table_of_titles('\ufeff"item","title"\n', lambda n, i, t: f"{i},{t}\n"),
    "crlf": table_of_titles("video_id,title\r\n", lambda n, i, t: f"{i},{t}\r\n"),
    "semicolons": table_of_titles("item;title\n", lambda n, i, t: f"{i};{t}\n"),
    "tabs": table_of_titles("item\ttitle\n", lambda n, i, t: f"{i}\t{t}\n"),
    "excel": table_of_titles("sep=;\nitem;title\n", lambda n, i, t: f"{i};{t}\n"),
    "more": table_of_titles("item,likes,title\n", lambda n, i, t: f"{i},7,{t}\n"),
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_a_first_line_of_names_is_a_header(tmp_path, text):
    assert titles_of(tmp_path, text) == TITLES


@pytest.mark.parametrize(
    "text",
    [
        ",itm,headline\n0,1,Red\n1,2,Blue\n2,3,Green\n",  # an index and names that nobody knows
        "pos,itm,headline\n0,1,Red\n1,2,Blue\n2,3,Green\n",
        ",item,headline\n0,1,Red\n",
        "index,item,headline\n0,1,Red\n",
        "itm,headline\n1,Red\n2,Blue\n",
        "item,headline\n1,Red\n",
        "0,1,Red\n1,2,Blue\n2,3,Green\n",  # an index without any header
    ],
)
def test_what_may_be_a_header_is_refused_by_its_line(tmp_path, text):
    with pytest.raises(UserError, match=r"M_titles\.csv:1: .*expected 'item,title'"):
        titles_of(tmp_path, text)


def test_titles_without_a_header_are_no_header(tmp_path):
    text = '7,title of a song, item\n12,"open, and never closed\n3,2,1\n'
    assert titles_of(tmp_path, text) == {
        "7": "title of a song, item",
        "12": '"open, and never closed',
        "3": "2,1",
    }


PAIRS = [("u2", "b", 300), ("u1", "a", 100)]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("user,item,timestamp", "{u},{i},{t}"),
        (",user,item,timestamp", "0,{u},{i},{t}"),
        ("item,user,timestamp", "{i},{u},{t}"),
        ("timestamp;user;item", "{t};{u};{i}"),
        ("user\titem\ttimestamp", "{u}\t{i}\t{t}"),
        ('"user","item","timestamp"', '"{u}","{i}","{t}"'),
        ("user, item, timestamp", "{u}, {i}, {t}"),
        ("user, item, timestamp", '"{u}", "{i}", "{t}"'),
        ("\ufeffUser_ID,Video ID,Time", "{u},{i},{t}"),
        ("user,item,rating,timestamp", "{u},{i},5,{t}"),
        ("sep=;\nuser;item;timestamp", "{u};{i};{t}"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pairs_by_the_names_of_their_columns(tmp_path, header, row, end):
    lines = [*header.split("\n"), *(row.format(u=u, i=i, t=t) for u, i, t in PAIRS)]
    path = put(tmp_path, "M_pairs.csv", end.join(lines) + end)
    read = pa.Table.from_batches(list(microlens.read_pairs(path))).to_pydict()
    ids = [[word.strip() for word in read[name]] for name in ("user_id", "item_id")]
    assert [*zip(*ids, read["timestamp_ms"], strict=True)] == PAIRS
    assert read["line"] == [len(lines) - 1, len(lines)]


def test_headers_of_the_other_files_of_microlens(tmp_path):
    likes = microlens.read_likes_and_views(
        put(tmp_path, "l.txt", "\ufeffitem\tviews\tlikes\n1\t10\t3\n2\t5\t7\n")
    )
    assert likes.to_dict("list") == {"item_id": ["1", "2"], "likes": [3, 7], "views": [10, 5]}
    tags = microlens.read_tags(put(tmp_path, "tags.csv", "item,tag\n1,food\n2,fun\n"))
    assert tags["item_id"].tolist() == ["1", "2"]
    for text in (",item,tag\n0,1,food\n1,2,fun\n", "tag,item\nfood,1\n"):
        with pytest.raises(UserError, match=r"tags\.csv:1: the header is .*expected 'item,tag'"):
            microlens.read_tags(put(tmp_path, "tags.csv", text))


@pytest.mark.parametrize("name", ["\ufeffitem_id\ttitle", '"item"\t"title"', "ASIN\tTitle"])
def test_headers_of_two_files(tmp_path, name):
    put(tmp_path, "S_items.tsv", f"{name}\n1\tone\n2\ttwo\n")
    put(tmp_path, "S_users.tsv", "user\titems\nu\t1 2\n")
    files = amazon.find(tmp_path)
    for layout in (amazon, morec):
        raw = layout.read(files)
        assert raw.items.column("item_id").to_pylist() == ["1", "2"]
        assert raw.items.column("line").to_pylist() == [2, 3]
        (batch,) = raw.interactions
        assert batch.column("item_id").to_pylist() == ["1", "2"]
        assert batch.column("line").to_pylist() == [2, 2]


def test_headers_of_two_files_that_are_refused(tmp_path):
    items = put(tmp_path, "S_items.tsv", "\titem\ttitle\n0\t1\tone\n1\t2\ttwo\n")
    users = put(tmp_path, "S_users.tsv", "items\tuser\n1 2\tu\n")
    files = {"items": items, "users": users}
    for layout in (amazon, morec):
        with pytest.raises(UserError, match=r"S_items\.tsv:1: the header"):
            layout.read(files)
    put(tmp_path, "S_items.tsv", "1\tone\n")
    with pytest.raises(UserError, match=r"S_users\.tsv:1: the header"):
        list(amazon.read(files).interactions)


def test_headers_of_ninerec(tmp_path):
    put(tmp_path, "X_item.csv", "\ufeff,id,chinese,english\n0,v1,一,one\n1,v2,二,\n")
    put(tmp_path, "X_pair.csv", "user,item,timestamp\nu,v1,5\nu,v2,6\n")
    files = ninerec.find(tmp_path)
    raw = ninerec.read(files)
    assert raw.items.column("title").to_pylist() == ["one", "二"]
    (batch,) = raw.interactions
    assert batch.column("item_id").to_pylist() == ["v1", "v2"]
    assert batch.column("line").to_pylist() == [2, 3]
    with pytest.raises(
        UserError, match=r"X_pair\.csv:1: the header has the order .*user-item-time"
    ):
        ninerec.read(files, pair_columns="item-user-time")
    put(tmp_path, "X_pair.csv", "who,what,when\nu,v1,5\n")
    with pytest.raises(UserError, match=r"X_pair\.csv:1: expected item,user,time.*'who,what,when'"):
        ninerec.read(files)


def test_a_header_of_comments(write_microlens, tmp_path):
    dump = write_microlens()
    put(dump, "M_comment.txt", "\ufeffuser\titem\tcomment\nu\t a \tnice\n")
    prep.ingest(dump, tmp_path / "out")
    prep.comments(dump, tmp_path / "out")
    assert toolkit.open_dataset(tmp_path / "out").comments.to_pylist() == [
        {"item_id": "a", "user_id": "u", "text": "nice"}
    ]
    for text, message in {
        "item\tuser\ttext\na\tu\tx\n": r"M_comment\.txt:1: the header",
        "u\ta.0\tx\n": r"no comment belongs to an item .*'a\.0' in the comments, 'a' in the dataset, the same number",
    }.items():
        shutil.rmtree(tmp_path / "out/comments", ignore_errors=True)
        put(dump, "M_comment.txt", text)
        with pytest.raises(UserError, match=message):
            prep.comments(dump, tmp_path / "out")


def test_roles_of_a_header():
    assert find_header("name,item", ["item", "title"]).columns == {"item": 1, "title": 0}
    assert find_header("1,one", ["item", "title"]) is None


# --- ids


def test_ids_are_trimmed_alike_and_never_merged():
    ids = pa.array(["1", " 1", "1\u00a0", "\ufeff1", "01", "1.0", "a b", None, "好 "])
    assert trimmed_ids(ids).to_pylist() == ["1", "1", "1", "1", "01", "1.0", "a b", None, "好"]
    assert trimmed_ids(pa.array(["a", "b"])).to_pylist() == ["a", "b"]
    assert trimmed_ids(pa.array([], pa.string())).to_pylist() == []


def small(folder, ids, titles="{i}", pair="{i}"):
    put(
        folder,
        "M_titles.csv",
        "item,title\n" + "".join(f"{titles.format(i=i)},T{i}\n" for i in ids),
    )
    rows = "".join(f"u{u},{pair.format(i=i)},{i}\n" for u in range(3) for i in ids)
    put(folder, "M_pairs.csv", "user,item,timestamp\n" + rows)
    return folder


@pytest.mark.parametrize(
    ("titles", "pair"),
    [("{i}", " {i}"), ("{i} ", "{i}"), ("{i}", "{i}\u00a0"), ('"{i}"', "{i}"), ("{i}", '" {i} "')],
)
def test_spaces_around_ids_mean_nothing(tmp_path, titles, pair):
    dump = small(tmp_path / "d", range(1, 7), titles, pair)
    prep.ingest(dump, tmp_path / "out")
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.interactions.num_rows == 18
    assert data.items.column("item_id").to_pylist() == [str(i) for i in range(1, 7)]
    assert data.errors.num_rows == 0


@pytest.mark.parametrize(
    ("titles", "pair", "told"),
    [
        (
            "{i}",
            "{i}.0",
            r"'1\.0' in M_pairs\.csv, '1' in M_titles\.csv, the same number, as a decimal",
        ),
        ("{i}.0", "{i}", r"'1' in M_pairs\.csv, '1\.0' in M_titles\.csv"),
        ("0000{i}", "{i}", r"'1' in M_pairs\.csv, '00001' in M_titles\.csv, .*leading zeros"),
        ("{i}000", "{i}e3", r"'1e3' in M_pairs\.csv, '1000' in M_titles\.csv, .*exponent"),
        ("v{i}", "V{i}", r"'V1' in M_pairs\.csv, 'v1' in M_titles\.csv, .*except for case"),
        ("{i}", "video_{i}", r"'video_1' in M_pairs\.csv, '1' in M_titles\.csv"),
        ("{i}", "{i}.jpg", r"'1\.jpg' in M_pairs\.csv, '1' in M_titles\.csv"),
        ("alpha", "x{i}", r"'x1' in M_pairs\.csv, 'alpha' in M_titles\.csv"),
    ],
)
def test_a_join_of_nothing_is_an_error_that_shows_both_sides(tmp_path, titles, pair, told):
    dump = small(tmp_path / "d", range(1, 7), titles, pair)
    with pytest.raises(UserError, match=rf"none of its 18 interactions has an item.*{told}"):
        prep.ingest(dump, tmp_path / "out")
    assert not (tmp_path / "out/dataset.json").exists()


def test_a_join_of_little_is_a_finding_with_both_sides(tmp_path, capsys):
    dump = small(tmp_path / "d", range(1, 7), "{i}", "{i}.0")
    with (dump / "M_pairs.csv").open("a") as file:
        file.writelines(f"u9,{i},{i}\n" for i in range(1, 7))
    prep.build(dump, tmp_path / "out")
    said = capsys.readouterr().out
    assert (
        "error: M_pairs.csv: 18 of 24 interactions have items that M_titles.csv does not have"
        in said
    )
    assert "'1.0' in M_pairs.csv, '1' in M_titles.csv, the same number" in said


def test_some_ids_that_look_alike_are_a_warning(tmp_path, capsys):
    dump = small(tmp_path / "d", range(1, 7))
    with (dump / "M_pairs.csv").open("a") as file:
        file.write("u9,03,5\n")
    prep.build(dump, tmp_path / "out")
    assert "warning: M_pairs.csv: 1 of 19 interactions" in capsys.readouterr().out


def test_a_log_without_a_row(tmp_path):
    dump = small(tmp_path / "d", range(1, 7))
    (dump / "M_pairs.csv").write_text("user,item,timestamp\n")
    with pytest.raises(UserError, match=r"M_pairs\.csv: contains no interactions"):
        prep.ingest(dump, tmp_path / "out")
    put(tmp_path / "t", "log.csv", "uid,asin\n")
    with pytest.raises(UserError, match=r"log\.csv: contains no items"):
        prep.ingest(tmp_path / "t", tmp_path / "o2", PrepConfig(columns="user=uid,item=asin"))


def test_ids_that_have_nothing_in_common():
    assert look_alike(["x"], ["y"], loosely=True) is None
    assert look_alike(["a1b2"], ["1"], loosely=True) is None  # two numbers


# --- tables

COLUMNS = {"user": "uid", "item": "asin", "time": "ts", "title": "name"}
ROWS = [("zoe", "b", 30, "two"), ("ann", "a", 10, "one, more"), ("zoe", "a", 20, "one, more")]
LOG = "uid,asin,ts,name\n" + "".join(f'{u},{i},{t},"{n}"\n' for u, i, t, n in ROWS)


def read_table(folder, **settings):
    raw = table.read(table.find(folder, COLUMNS), columns=COLUMNS, **settings)
    log = pa.Table.from_batches(list(raw.interactions))
    names = ("user_id", "item_id", "timestamp_ms")
    rows = [*zip(*(log.column(name).to_pylist() for name in names), strict=True)]
    titles = [*zip(*(raw.items.column(n).to_pylist() for n in ("item_id", "title")), strict=True)]
    return rows, titles


CSVS = {
    "semicolons": LOG.replace(",", ";").replace("one; more", "one, more"),
    "tabs": LOG.replace(",", "\t").replace("one\t more", "one, more"),
    "bars": LOG.replace(",", "|").replace("one| more", "one, more"),
    "excel": "sep=;\r\n"
    + LOG.replace(",", ";").replace("one; more", "one, more").replace("\n", "\r\n"),
    "bom": "\ufeff" + LOG,
    "spaces in the header": LOG.replace("uid,asin,ts,name", "uid, asin, ts, name"),
    "quoted header": LOG.replace("uid,asin,ts,name", '"uid","asin","ts","name"'),
    "index": ",uid,asin,ts,name\n"
    + "".join(f'{n},{u},{i},{t},"{name}"\n' for n, (u, i, t, name) in enumerate(ROWS)),
    "spaces in rows": LOG.replace("zoe,b,30", "zoe , b, 30 "),
    "blank lines": "\n" + LOG.replace("\n", "\n\n"),
    "float times": LOG.replace(",30,", ",30.0,"),
    "decimal commas": LOG.replace(",", ";")
    .replace("one; more", "one, more")
    .replace(";30;", ";30,0;"),
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS)
def test_a_csv_as_others_write_it(tmp_path, text):
    put(tmp_path, "log.csv", text)
    rows, titles = read_table(tmp_path)
    assert rows == [row[:3] for row in ROWS]
    assert titles == [("b", "two"), ("a", "one, more")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LOG.encode("utf-16"), "UTF-16.*iconv -f UTF-16"),
        (LOG.encode("utf-16-le"), "UTF-16"),
        (gzip.compress(LOG.encode(), mtime=0), r"compressed as gzip.*gunzip"),
        (b"PK\x03\x04xlsx", r"compressed as ZIP \(as Excel's \.xlsx"),
        (LOG.replace("\n", "\r").encode(), r"end with CR only"),
        (LOG.replace("zoe", "zo\xe9").encode("latin-1"), r":2: not UTF-8.*CP1252.*GB18030"),
        (LOG.replace("zoe", "好").encode("gbk"), r":2: not UTF-8"),
        (LOG.encode() + b"x\0y", "zero bytes"),
    ],
    ids=["UTF-16", "UTF-16 BE", "gzip", "zip", "CR", "Latin-1", "GBK", "zero bytes"],
)
@pytest.mark.parametrize("layout", ["table", "titles", "pairs", "users"])
def test_bytes_that_are_no_text_of_ours(tmp_path, data, message, layout):
    readers = {
        "table": ("log.csv", lambda path: read_table(tmp_path)),
        "titles": ("M_titles.csv", microlens.read_titles),
        "pairs": ("M_pairs.csv", lambda path: list(microlens.read_pairs(path))),
        "users": ("users.tsv", lambda path: list(amazon.sequences(path))),
    }
    name, read = readers[layout]
    if layout == "users" and "not UTF-8" in message:
        message = r"users\.tsv:1: expected a user, a tab"  # it has no tab either
    with pytest.raises(UserError, match=message):
        read(put(tmp_path, name, data))


def test_packed_files_are_named_where_nothing_else_is_found(tmp_path):
    put(tmp_path, "log.csv.gz", gzip.compress(LOG.encode(), mtime=0))
    with pytest.raises(UserError, match=r"log\.csv\.gz has to be unpacked"):
        prep.ingest(tmp_path, tmp_path / "out", PrepConfig(columns=COLUMNS))


def arrow_log(**changed):
    columns = {
        name: [row[k] for row in ROWS] for k, name in enumerate(("uid", "asin", "ts", "name"))
    }
    return pa.table(columns | changed)


def test_parts_of_parquet_may_differ_in_type(tmp_path):
    (tmp_path / "log").mkdir()
    plain = arrow_log()
    empty = arrow_log(name=pa.nulls(3))
    large = plain.cast(
        pa.schema(
            [(f.name, pa.large_string() if f.type == "string" else f.type) for f in plain.schema]
        )
    )
    coded = plain.set_column(1, "asin", plain.column("asin").dictionary_encode())
    for number, part in enumerate((empty, plain, large, coded)):
        pyarrow.parquet.write_table(part, tmp_path / f"log/part-{number}.parquet")
    rows, titles = read_table(tmp_path)
    assert rows == [row[:3] for row in ROWS] * 4
    assert titles == [("b", "two"), ("a", "one, more")]
    pyarrow.parquet.write_table(plain.drop_columns("name"), tmp_path / "log/part-9.parquet")
    with pytest.raises(
        UserError, match=r"part-9\.parquet: no column 'name', which other parts have"
    ):
        read_table(tmp_path)


def test_pandas_index_in_parquet_is_no_column_of_ours(tmp_path):
    frame = arrow_log().to_pandas().iloc[::-1].sort_index()
    frame.index = [7, 8, 9]
    frame.to_parquet(tmp_path / "log.parquet")
    assert "__index_level_0__" in pyarrow.parquet.read_schema(tmp_path / "log.parquet").names
    assert read_table(tmp_path)[0] == [row[:3] for row in ROWS]


@pytest.mark.parametrize(
    "type_",
    [pa.float64(), pa.float32(), pa.decimal128(22, 2), pa.int16(), pa.uint64(), pa.large_string()],
)
def test_ids_in_the_types_of_parquet(tmp_path, type_):
    ids = pa.array([2, 1, 1]).cast(type_)
    pyarrow.parquet.write_table(arrow_log(asin=ids), tmp_path / "log.parquet")
    assert [row[1] for row in read_table(tmp_path)[0]] == ["2", "1", "1"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([1.5, 2, 3]), "type double"),
        (pa.array([1.0, None, 3]), "column 'asin' is empty"),
        (pa.array([" ", "a", "b"]), "column 'asin' is empty"),
        (pa.array([dt.date(2020, 1, 1)] * 3), "type date32"),
    ],
)
def test_ids_that_are_no_ids(tmp_path, ids, message):
    pyarrow.parquet.write_table(arrow_log(asin=ids), tmp_path / "log.parquet")
    with pytest.raises(UserError, match=message):
        read_table(tmp_path)


# --- times

NOON = 1_600_000_000_000  # 2020-09-13T12:26:40Z


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("2020-09-13T12:26:40Z", "ms", NOON),
        ("2020-09-13T12:26:40", "ms", NOON),  # no zone: UTC
        ("2020-09-13 12:26:40+00:00", "s", NOON),
        ("2020-09-13T14:26:40.000000+0200", "ms", NOON),
        ("2020-09-13 12:26:40.123456 UTC", "ms", NOON + 123),
        ("2020-09-13 12:26:40,5", "ms", NOON + 500),
        ("2020-09-13", "ms", NOON - (12 * 3600 + 26 * 60 + 40) * 1000),
        ("1600000000", "s", NOON),
        ("1600000000.0", "s", NOON),
        ("1600000000.25", "s", NOON + 250),
        ("1600000000,0", "s", NOON),
        ("1.6E9", "s", NOON),
        ("1.6e+12", "ms", NOON),
        ("1600000000000.0", "ms", NOON),
        ("1600000000000999", "us", NOON),
        ("1600000000000000999", "ns", NOON),
        ("-1", "us", -1),
        (" 1600000000 ", "s", NOON),
    ],
)
def test_times_as_people_write_them(tmp_path, text, unit, expected):
    read = Times(tmp_path / "log.csv", unit).read(pa.array([text]), pa.array([2]))
    assert read.to_pylist() == [expected]


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["2020-09-13", "5"], "ms"),
        (["5", "2020-09-13"], "ms"),
        (["2020-09-13", "2020-02-30"], "ms"),
        (["2020-09-13", ""], "ms"),
        (["5", "13/09/2020"], "ms"),
        (["5", "1.5"], "ms"),
        (["5", "1e30"], "s"),
        (["5", "nan"], "s"),
    ],
)
def test_times_that_are_none(tmp_path, texts, unit):
    with pytest.raises(UserError, match=r"log\.csv:3: expected a time.*found"):
        Times(tmp_path / "log.csv", unit).read(pa.array(texts), pa.array([2, 3]))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([dt.date(2020, 9, 13)] * 3), 1_599_955_200_000),
        (pa.array([1_600_000_000.0] * 3), NOON),
        (pa.array([1_600_000_000.5] * 3), NOON + 500),
        (
            pa.array([dt.datetime(2020, 9, 13, 14, 26, 40)] * 3, pa.timestamp("us")),
            NOON + 7_200_000,
        ),
        (pa.array([NOON] * 3).cast(pa.timestamp("ms", "Asia/Shanghai")), NOON),
        (pa.array(["2020-09-13T12:26:40Z"] * 3), NOON),
    ],
)
def test_times_in_the_types_of_parquet(tmp_path, times, expected):
    pyarrow.parquet.write_table(arrow_log(ts=times), tmp_path / "log.parquet")
    assert [row[2] for row in read_table(tmp_path, time_unit="s")[0]] == [expected] * 3


def test_large_numbers_are_exact(tmp_path):
    path, line = tmp_path / "log.csv", pa.array([2])
    assert milliseconds(path, pa.array(["1600000000000000001.0"]), line, "ns").to_pylist() == [NOON]
    with pytest.raises(UserError, match="expected a timestamp in milliseconds"):
        milliseconds(path, pa.array(["9999999999999999999"]), line, "ms")
