"""NineRec, IDvs.MoRec and tables of the user's own: what is read, what is asked, what is refused."""

from typing import get_args

import cv2
import numpy as np
import pytest

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.cli import main
from prep.config import Layout
from prep.readers import choose, make_readers, morec, ninerec
from toolkit import UserError


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
    columns = (raw.interactions.column(name).to_pylist() for name in names)
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
        ('v1,一,"one\n', r"X_item\.csv:1: expected id,zh,en with quotes closed"),
        ('v1,一,"one" two\n', r"X_item\.csv:1: expected id,zh,en with quotes closed"),
        ("", r"X_item\.csv: the file is empty"),
        (b"v1,\xff,one\n", r"X_item\.csv:1: not UTF-8 \(byte 0xff\)"),
    ],
)
def test_ninerec_titles_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        ninerec.read_items(write(tmp_path, X_item__csv=text) / "X_item.csv")


@pytest.mark.parametrize("order", ["item,user,time", "user,item,time"])
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
    told = ninerec.read(files, pair_columns="item,user,time", time_unit="s")
    assert interactions_of(told) == [("2", "1", 7000, 1), ("1", "2", 8000, 2)]
    told = ninerec.read(files, pair_columns="user,item,time")
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
    message = (
        rf"X_pair\.csv: which column holds the items\? .*{shares}.*--pair_columns item,user,time"
    )
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
        ninerec.read(ninerec.find(dump), time_unit=unit)


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
    with pytest.raises(UserError, match=r"pair_columns is 'user,item,time', but .*microlens"):
        main(["ingest", str(dump), str(out), "--pair_columns", "user,item,time"])
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
            r":2: expected item; item<TAB>.*found 2 columns, and 3 on line 1",
        ),
        ("n1\nn2\ttwo\n", r":2: expected .*found 2 columns, and 1 on line 1"),
        ("n1\ta\tb\tc\n", r":1: expected .*found 4 columns"),
        ("", r": the file is empty"),
    ],
)
def test_morec_items_that_cannot_be_read(tmp_path, text, message):
    path = write(tmp_path, mind_items__tsv=text) / "mind_items.tsv"
    with pytest.raises(UserError, match=rf"mind_items\.tsv{message}"):
        morec.read_items(path)


def test_morec_is_taken_by_name_only(tmp_path):
    dump = write(tmp_path, hm_items__tsv="n1\n", hm_users__tsv="u\tn1\n")
    assert choose("auto", dump)[0] == "amazon"
    with pytest.raises(UserError, match=r"hm_items\.tsv:1: .*--layout morec"):
        prep.ingest(dump, tmp_path / "out")
    (dump / "hm_users.tsv").unlink()
    with pytest.raises(UserError, match=r"found hm_items\.tsv but no \*users\*\.tsv"):
        choose("morec", dump)


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
    assert row["message"] == "hm_items.tsv: no titles in it; those of all 2 items are empty"


def test_empty_titles_in_a_column_of_titles_are_told_one_by_one(tmp_path):
    dump = write(tmp_path / "d", a_items__tsv="n1\t\nn2\t\n", a_users__tsv="u\tn1 n2 n1 n2 n1\n")
    prep.ingest(dump, tmp_path / "out", PrepConfig(layout="morec"))
    told = toolkit.open_dataset(tmp_path / "out").errors.to_pylist()
    assert [(row["item_id"], row["error_class"]) for row in told] == [
        ("n1", "empty"),
        ("n2", "empty"),
    ]


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
        with pytest.raises(UserError, match=f"found no dump of layout {other} here"):
            choose(other, dump)
