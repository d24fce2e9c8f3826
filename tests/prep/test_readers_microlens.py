"""MicroLens downloads: locations of the files, the three forms of titles, tags, likes."""

import csv
import io

import pytest

import prep
import toolkit
from prep.readers import choose
from prep.readers.files import find_file, find_folder
from prep.readers.microlens import find, read, read_tags, read_titles
from toolkit import UserError


def put(folder, **files):
    """Files by name, `__` standing for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8", newline="")
    return folder


TITLES = "1,one\n2,two\n3,\n"
PAIRS = "u\t1 2 3 1 2\n"
RELEASE = {"MicroLens_title_en__csv": TITLES, "MicroLens_pairs__tsv": PAIRS}


# --- where the files lie


def test_files_one_folder_deeper_are_found(tmp_path):
    put(tmp_path / "MicroLens-100k", **RELEASE, tags_to_summary__csv="1,food\n")
    layout, files = choose("auto", tmp_path)
    assert layout == "microlens"
    assert set(files) == {"titles", "pairs", "tags"}
    assert {path.parent.name for path in files.values()} == {"MicroLens-100k"}


def test_the_dump_itself_goes_before_its_folders(tmp_path):
    put(tmp_path, **RELEASE)
    put(tmp_path / "older", **RELEASE)
    assert find(tmp_path)["titles"].parent == tmp_path


def test_the_item_map_of_the_1m_release_does_not_make_it_another_layout(tmp_path):
    put(tmp_path, **RELEASE, **{"MicroLens-1M_items__tsv": "1\n2\n3\n"})
    assert choose("auto", tmp_path)[0] == "microlens"


def test_two_releases_below_one_folder_are_a_question(tmp_path):
    for name in ("50k", "100k"):
        put(tmp_path / name, **RELEASE)
    message = (
        r"several files match \*title\*\.csv \(100k/Micro.*, 50k/Micro.*\); keep only one of them"
    )
    with pytest.raises(UserError, match=message):
        choose("auto", tmp_path)


def test_hidden_files_and_the_litter_of_macos_are_no_files_of_the_dump(tmp_path):
    put(tmp_path / "__MACOSX", _title__csv="")
    put(tmp_path, **{".MicroLens_title__csv": ""})
    assert find_file(tmp_path, "*title*.csv") is None


@pytest.mark.parametrize(
    ("place", "word", "name", "pattern"),
    [
        ("MicroLens-100k_covers", "cover", "1.jpg", ".jpg"),
        ("cover", "cover", "1.jpg", ".jpg"),
        ("MicroLens-50k_covers/MicroLens-50k_covers", "cover", "1.jpg", ".jpg"),
        ("MicroLens-100k_videos", "video", "1.mp4", ".mp4"),
        (
            "MicroLens-100k/f_interval_1_frames/f_interval_1_frames",
            "frame",
            "1-2.jpg",
            "-[0-9].jpg",
        ),
    ],
)
def test_folders_of_media_are_found_in_their_archives_folders(tmp_path, place, word, name, pattern):
    assert find_folder(tmp_path, word, pattern) is None
    put(tmp_path / place, **{name: ""})
    assert find_folder(tmp_path, word, pattern) == tmp_path / place


# --- tags, likes and views


def test_tags_of_an_item_come_in_several_lines(tmp_path):
    path = (
        put(tmp_path, tags__csv="7,food\n12, pets \r\n7,Food, drinks\n\n7,food\n3,\n") / "tags.csv"
    )
    assert read_tags(path).to_dict("list") == {
        "item_id": ["7", "12", "3"],
        "tags": [["food", "Food, drinks"], ["pets"], []],
    }


def test_a_line_of_tags_without_a_comma_is_named(tmp_path):
    path = put(tmp_path, tags__csv="7,food\npets\n") / "tags.csv"
    with pytest.raises(UserError, match=r"tags\.csv:2: expected item,tag, found 'pets'"):
        read_tags(path)


def test_tags_and_likes_stand_beside_titles(tmp_path):
    dump = put(
        tmp_path / "dump",
        **RELEASE,
        tags_to_summary__csv="2,food\n9,x\n2,fun\n8,x\n9,y\n",
        M_likes_and_views__txt="3\t5\t50\n9\t1\t2\n",
    )
    prep.ingest(dump, tmp_path / "out")
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.items.column("tags").to_pylist() == [None, ["food", "fun"], None]
    assert data.items.column("likes").to_pylist() == [None, None, 5]
    told = {row["message"] for row in data.errors.to_pylist() if row["error_class"] != "empty"}
    assert told == {
        "tags_to_summary.csv: 2 items are not in MicroLens_title_en.csv (e.g. '9'); "
        "their tags left out",
        "M_likes_and_views.txt: 1 items are not in MicroLens_title_en.csv (e.g. '9'); "
        "their likes left out",
    }


def test_a_dump_without_tags_has_no_such_column(tmp_path):
    assert "tags" not in read(find(put(tmp_path, **RELEASE))).items.schema.names


# --- the real titles of 50k, in the three forms in which releases have them


@pytest.fixture(scope="module")
def real_titles(real_data):
    text = (real_data / "microlens-sample" / "MicroLens-50k_titles.csv").read_text("utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


def test_the_real_file_is_headed(real_data, real_titles):
    frame = read_titles(real_data / "microlens-sample" / "MicroLens-50k_titles.csv")
    assert frame[["item_id", "title"]].to_numpy().tolist() == real_titles
    assert len(frame) == 19_220


@pytest.mark.parametrize(
    ("name", "quoted"), [("MicroLens-100k_title_en.csv", ""), ("MicroLens-1M_title.csv", '"')]
)
def test_headless_titles_are_kept_byte_for_byte(real_titles, tmp_path, name, quoted):
    # The second form opens a quote in every title and closes none.
    expected = [[item, quoted + title] for item, title in real_titles if "\n" not in title]
    assert len(expected) > 19_000
    text = "".join(f"{item},{title}\n" for item, title in expected)
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    frame = read_titles(tmp_path / name)
    assert frame[["item_id", "title"]].to_numpy().tolist() == expected


@pytest.mark.parametrize("header", ["user,item,timestamp", "userID,videoID,timestamp"])
def test_the_real_titles_with_either_header_of_pairs(real_data, real_titles, tmp_path, header):
    source = real_data / "microlens-sample" / "MicroLens-50k_titles.csv"
    ids = [item for item, _ in real_titles[:5]]
    rows = "".join(f"7,{item},{1_600_000_000_000 - place}\n" for place, item in enumerate(ids))
    dump = put(tmp_path / "dump", **{"MicroLens-50k_pairs__csv": f"{header}\n{rows}"})
    (dump / source.name).write_bytes(source.read_bytes())
    prep.ingest(dump, tmp_path / "out")
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.items.column("title").to_pylist() == [title for _, title in real_titles]
    wanted = [data.item_ids.number(item) for item in reversed(ids)]  # the last line is the earliest
    assert data.interactions.column("item").to_pylist() == wanted
