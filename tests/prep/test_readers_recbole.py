"""RecBole's atomic files: what is read, what is reported as unread, what is refused."""

import pyarrow as pa
import pytest

import prep
import toolkit
from prep import PrepConfig
from prep.readers import choose, make_readers, recbole
from toolkit import UserError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ROWS = [("u", "b", 1_600_000_020), ("u", "a", 1_600_000_010), ("v", "c", 1_600_000_000)]
ITEM = "item_id:token\ttitle:token_seq\tprice:float\n"


def put(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def inter(rows=ROWS, header=INTER, time="{t}.0"):
    return header + "".join(f"{u}\t{i}\t4\t{time.format(t=t)}\n" for u, i, t in rows)


ITEMS = ITEM + 'a\tone, "more"\t1.5\nb\ttwo\t\nc\tthree\t2\nd\t\t3\n'


def read(dump, **settings):
    raw = recbole.read(recbole.find(dump), **settings)
    log = pa.Table.from_batches(list(raw.interactions))
    names = ("user_id", "item_id", "timestamp_ms")
    return raw, [*zip(*(log.column(name).to_pylist() for name in names), strict=True)]


def told(raw):
    return [(problem.error_class, problem.message) for problem in raw.problems]


def test_items_and_interactions_as_they_come(tmp_path):
    dump = put(
        tmp_path / "toy", toy__inter=inter(), toy__item=ITEMS, toy__user="user_id:token\nu\n"
    )
    assert choose("auto", dump)[0] == choose("recbole", dump)[0] == "recbole"
    raw, log = read(dump)
    assert log == [(u, i, t * 1000) for u, i, t in ROWS]
    assert raw.items.column("title").to_pylist() == ['one, "more"', "two", "three", ""]
    assert told(raw) == [
        (
            "not_read",
            "toy.inter: columns rating:float are not read; every line counts as an interaction, whatever its rating",
        ),
        ("not_read", "toy.user: not read, because Versa does not use .user files"),
    ]


def test_from_dump_to_dataset(tmp_path, capsys):
    dump = put(tmp_path / "toy", toy__inter=inter(), toy__item=ITEMS)
    prep.build(dump, tmp_path / "out")
    data = toolkit.open_dataset(tmp_path / "out")
    assert [
        row["timestamp_ms"] for row in data.interactions.to_pylist() if row["user_id"] == "u"
    ] == [
        1_600_000_010_000,
        1_600_000_020_000,
    ]
    assert data.items.num_rows == 4
    assert "note: toy.inter: columns rating:float are not read" in capsys.readouterr().out


def test_without_items_or_times(tmp_path):
    header = "item_id:token\tuser_id:token\n"
    text = "".join(f"{i}\t{u}\n" for u, i, _ in ROWS)
    raw, log = read(put(tmp_path, toy__inter="\ufeff" + header + text))
    assert log == [(u, i, None) for u, i, _ in ROWS]
    assert raw.items.column("item_id").to_pylist() == ["b", "a", "c"]
    assert raw.items.column("title").to_pylist() == [None] * 3


@pytest.mark.parametrize(
    ("time", "unit", "factor"),
    [
        ("{t}.0", "ms", 1000),
        ("{t}", "ms", 1000),
        ("{t}", "s", 1000),
        ("{t}000", "ms", 1000),
        ("{t}000000", "us", 1000),
    ],
)
def test_units_of_times(tmp_path, time, unit, factor):
    _, log = read(put(tmp_path, toy__inter=inter(time=time)), time_unit=unit)
    assert [row[2] for row in log] == [t * factor for _, _, t in ROWS]


def test_columns_of_other_names(tmp_path):
    header = "uid:token\tiid:token\trating:float\tts:float\n"
    items = "iid:token\tblurb:token_seq\na\tone\nb\ttwo\nc\tthree\n"
    dump = put(tmp_path / "d", toy__inter=inter(header=header), toy__item=items)
    with pytest.raises(
        UserError, match=r"toy\.inter:1: no column 'user_id' \(user\); found uid:token.*user=NAME"
    ):
        read(dump)
    config = PrepConfig(columns="user=uid,item=iid:token,time=ts,title=blurb")
    layout, files = choose("auto", dump, make_readers(config))
    raw = make_readers(config)[layout].read(files)
    assert layout == "recbole"
    assert raw.items.column("title").to_pylist() == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("header", "title", "message"),
    [
        ("item_id:token\tmovie_title:token_seq\trelease_year:token\n", "x", None),
        ("item_id:token\tname:token_seq\tyear:token\n", "x", None),
        ("item_id:token\tapp_name:token\ttitle:token\n", "y", "several columns may hold titles"),
        (
            "item_id:token\tprice:float\tclass:token_seq\n",
            None,
            "no column has a name like a title",
        ),
    ],
)
def test_which_column_is_the_title(tmp_path, header, title, message):
    items = header + "".join(f"{i}\tx\ty\n" for i in "abc").replace(
        "\tx", "\tx" if "price" not in header else "\t1"
    )
    raw, _ = read(put(tmp_path, toy__inter=inter(), toy__item=items))
    assert raw.items.column("title").to_pylist() == [title] * 3
    said = [text for word, text in told(raw) if word == "title_column"]
    assert len(said) == (message is not None)
    assert all(message in text and "--columns title=" in text for text in said)


def test_title_alone_may_be_named(tmp_path):
    items = "item_id:token\tapp_name:token\ttitle:token\na\tx\ty\nb\tx\ty\nc\tx\ty\n"
    dump = put(tmp_path / "d", toy__inter=inter(), toy__item=items)
    prep.ingest(dump, tmp_path / "out", PrepConfig(columns="title=app_name"))
    assert toolkit.open_dataset(tmp_path / "out").items.column("title").to_pylist() == ["x"] * 3


def test_files_that_were_split_are_one_log(tmp_path):
    parts = {name: [(f"{name}-u", "a", 1_600_000_000)] for name in ("test", "valid", "train")}
    dump = put(tmp_path, **{f"toy__{name}__inter": inter(rows) for name, rows in parts.items()})
    raw, log = read(put(dump, toy__item=ITEMS))
    assert [row[0] for row in log] == ["train-u", "valid-u", "test-u"]
    assert ("joined_splits", raw.problems[0].message) == told(raw)[0]
    assert (
        "toy.train.inter, toy.valid.inter, toy.test.inter: read as one log"
        in raw.problems[0].message
    )
    (dump / "toy.item").unlink()
    assert read(dump)[0].items.num_rows == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a__inter": inter(), "b__inter": inter()},
            r"several \.inter files \(a\.inter, b\.inter\)",
        ),
        ({"a__inter": inter(), "a__train__inter": inter()}, r"several \.inter files"),
        ({"a__inter": "user_id,item_id\nu,a\n"}, r"a\.inter:1: expected a header of RecBole's"),
        (
            {"a__inter": inter(), "x__item": ITEMS, "y__item": ITEMS},
            r"several \.item files \(x\.item, y\.item\)",
        ),
        (
            {"a__inter": inter(time="soon")},
            r"a\.inter:2: expected a timestamp in milliseconds, found 'soon'",
        ),
        ({"a__inter": INTER + "u\t\t4\t5\n"}, r"a\.inter:2: column 'item_id:token' is empty"),
        ({"a__inter": INTER}, r"a\.inter: contains no items"),
        (
            {"a__inter": inter(), "a__item": ITEM + "z\tone\t1\n"},
            r"none of its 3 .*'b' in a\.inter, 'z' in a\.item",
        ),
        (
            {"a__train__inter": inter(), "a__test__inter": "user_id:token\tx:token\nu\ta\n"},
            r"a\.test\.inter:1: no column",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path, files, message):
    dump = put(tmp_path / "d", **files)
    with pytest.raises(UserError, match=message):
        prep.ingest(dump, tmp_path / "out", PrepConfig(layout="recbole"))
