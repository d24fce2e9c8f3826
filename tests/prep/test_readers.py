"""What the readers accept, and their messages for what they refuse."""

import pyarrow as pa
import pytest

from prep.readers import choose
from prep.readers.amazon import find as find_amazon
from prep.readers.amazon import read as read_amazon
from prep.readers.microlens import find, read, read_likes_and_views, read_pairs, read_titles
from prep.readers.stream import sequences
from toolkit import UserError


def titles_of(tmp_path, text):
    path = tmp_path / "M_titles.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    frame = read_titles(path)
    return list(zip(frame["item_id"], frame["title"], frame["line"], strict=True))


def test_headed_titles_are_a_csv(tmp_path):
    text = 'item,title\n7,"Gu long, song # comic"\n12,"she said ""no"""\n3,\n'
    assert titles_of(tmp_path, text) == [
        ("7", "Gu long, song # comic", 2),
        ("12", 'she said "no"', 3),
        ("3", "", 4),
    ]


def test_headless_titles_are_split_at_the_first_comma_whatever_the_quotes(tmp_path):
    text = '1,"unbalanced, and more\n2,a, b, c\r\n\n3,\n'
    assert titles_of(tmp_path, text) == [
        ("1", '"unbalanced, and more', 1),
        ("2", "a, b, c", 2),
        ("3", "", 4),
    ]


def test_a_byte_order_mark_belongs_to_no_id(tmp_path):
    assert titles_of(tmp_path, "\ufeffitem,title\n1,x\n") == [("1", "x", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "item,titel\n1,x\n",
            r"M_titles\.csv:1: the header is 'item,titel', expected 'item,title'",
        ),
        ("name,title\n1,x\n", r"M_titles\.csv:1: the header is 'name,title'"),
        ("item,title\n1,x\n2,a,b\n", r"M_titles\.csv:3: expected item,title.*3 fields"),
        ('item,title\n1,x\n2,"open\n', r"M_titles\.csv:3: expected item,title with closed quotes"),
        ("1,x\nno comma here\n", r"M_titles\.csv:2: expected item,title, found 'no comma here'"),
        ("", r"M_titles\.csv: the file is empty"),
        (b"item,title\n1,caf\xe9\n", r"M_titles\.csv:2: not UTF-8 \(byte 0xe9\); convert"),
    ],
)
def test_titles_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        titles_of(tmp_path, text)


def whole(batches):
    return pa.Table.from_batches(list(batches))


@pytest.mark.parametrize("header", ["user,item,timestamp", "userID,videoID,timestamp"])
def test_pairs_keep_the_order_of_the_file(tmp_path, header):
    path = tmp_path / "M_pairs.csv"
    path.write_text(f"{header}\nu2,b,300\nu1,a,100\n\nu2,a,200\n")
    assert whole(read_pairs(path)).to_pydict() == {
        "user_id": ["u2", "u1", "u2"],
        "item_id": ["b", "a", "a"],
        "timestamp_ms": [300, 100, 200],
        "line": [2, 3, 5],
    }


def test_ids_are_strings_as_they_are(tmp_path):
    path = tmp_path / "M_pairs.csv"
    path.write_text("user,item,timestamp\n007,NA,1\n1.0,null,2\n")
    assert whole(read_pairs(path)).to_pydict()["user_id"] == ["007", "1.0"]
    assert whole(read_pairs(path)).to_pydict()["item_id"] == ["NA", "null"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user;what;timestamp\n", r"M_pairs\.csv:1: the header is 'user;what;timestamp', expected"),
        ("1,2,3\n", r"M_pairs\.csv:1: the header is '1,2,3', expected 'user,item,timestamp'"),
        (
            "user,item,timestamp\n1,2,3\n1,2,soon\n",
            r"M_pairs\.csv:3: expected a timestamp in milliseconds, found 'soon'",
        ),
        ("user,item,timestamp\n1,2,0x10\n", r"M_pairs\.csv:2: expected a timestamp .*'0x10'"),
        ("user,item,timestamp\n1,2,3\n1,2\n", r"M_pairs\.csv:3: expected .*found '1,2'"),
        ("user,item,timestamp\n1,2,3\n1,2,3,4\n", r"M_pairs\.csv:3: expected .*found '1,2,3,4'"),
        (
            "user,item,timestamp\n1,2,3\n1,2,3,4,5\n",
            r"M_pairs\.csv:3: expected .*found '1,2,3,4,5'",
        ),
    ],
)
def test_pairs_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "M_pairs.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        whole(read_pairs(path))


def test_sequences_keep_order_and_repeats(tmp_path):
    path = tmp_path / "users.tsv"
    path.write_text("u1\tb a b\n\nu2\t a  c \r\nu3\t\n")
    assert whole(sequences(path)).to_pydict() == {
        "user_id": ["u1", "u1", "u1", "u2", "u2", "u3"],
        "item_id": ["b", "a", "b", "a", "c", None],
        "timestamp_ms": [None] * 6,
        "line": [1, 1, 1, 3, 3, 4],
    }


def test_a_line_without_a_tab_is_named(tmp_path):
    path = tmp_path / "users.tsv"
    path.write_text("u1\ta\nu2 a b\n")
    with pytest.raises(UserError, match=r"users\.tsv:2: expected a user, a tab.*found 'u2 a b'"):
        whole(sequences(path))


def test_likes_and_views(tmp_path):
    path = tmp_path / "M_likes_and_views.txt"
    path.write_text("b\t3\t10\na\t7\t5\nb\t9\t9\n")
    frame = read_likes_and_views(path)
    assert frame.to_dict("list") == {"item_id": ["b", "a"], "likes": [3, 7], "views": [10, 5]}


def test_likes_that_are_no_number(tmp_path):
    path = tmp_path / "M_likes_and_views.txt"
    path.write_text("b\t3\t10\na\tmany\t5\n")
    with pytest.raises(UserError, match=r":2: expected a whole number of likes, found 'many'"):
        read_likes_and_views(path)


def test_microlens_joins_likes_and_leaves_unknown_ones_null(write_microlens):
    raw = read(find(write_microlens(likes="b\t3\t10\n")))
    assert raw.items.column("likes").to_pylist() == [None, 3]
    assert raw.items.column("views").to_pylist() == [None, 10]


def test_pairs_with_timestamps_are_preferred(write_microlens):
    dump = write_microlens(pairs_csv="user,item,timestamp\nu,b,5\n")
    assert whole(read(find(dump)).interactions).column("timestamp_ms").to_pylist() == [5]


def test_amazon_keeps_html_entities(tmp_path):
    (tmp_path / "X_items.tsv").write_text("i1\tHold &amp; Error\twith a tab\n")
    (tmp_path / "X_users.tsv").write_text("u1\ti1 i1\n")
    raw = read_amazon(find_amazon(tmp_path))
    assert raw.items.column("title").to_pylist() == ["Hold &amp; Error\twith a tab"]
    assert whole(raw.interactions).num_rows == 2


def test_auto_recognises_both_layouts(write_microlens, tmp_path):
    assert choose("auto", write_microlens())[0] == "microlens"
    amazon = tmp_path / "amazon"
    amazon.mkdir()
    (amazon / "S_items.tsv").write_text("i\tt\n")
    (amazon / "S_users.tsv").write_text("u\ti\n")
    assert choose("auto", amazon)[0] == "amazon"


def test_a_folder_that_is_no_dump(tmp_path):
    with pytest.raises(UserError, match=r"no dump of layout auto found; expected \*title\*\.csv"):
        choose("auto", tmp_path)
    with pytest.raises(UserError, match=r"layout amazon found; expected \*items\*\.tsv and"):
        choose("amazon", tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        choose("auto", tmp_path / "absent")


def test_missing_pairs_and_ambiguous_titles_are_named(write_microlens):
    dump = write_microlens(pairs_tsv=None)
    with pytest.raises(UserError, match=r"found M_titles\.csv but neither \*_pairs\.csv"):
        choose("auto", dump)
    (dump / "N_title_en.csv").write_text("1,x\n")
    with pytest.raises(UserError, match=r"several files match .*M_titles\.csv, N_title_en\.csv"):
        choose("auto", dump)


def test_amazon_without_users(tmp_path):
    (tmp_path / "X_items.tsv").write_text("i1\tt\n")
    with pytest.raises(UserError, match=r"found X_items\.tsv but no \*users\*\.tsv"):
        choose("auto", tmp_path)
