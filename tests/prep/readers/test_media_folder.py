"""Paths and names of an item's file, files that are refused, and the hints if none is found."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

import prep
import toolkit
from prep import MediaConfig, PrepConfig
from prep.readers.media_folder import CLIPS, PICTURES, MediaFolder
from prep.readers.media_places import MediaPlaces
from prep.readers.survey import Survey
from prep.steps.problems import ItemProblem
from toolkit import schema

COMPOSED, TAKEN_APART = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "dump" / "covers"
    path.mkdir(parents=True)
    return path


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def of(folder, suffixes=PICTURES, dump=None):
    return MediaFolder(dump or folder.parent, folder, suffixes)


def problem_of(folder, item_id):
    with pytest.raises(ItemProblem) as problem:
        of(folder).locate(item_id)
    return problem.value.status, problem.value.message


@pytest.mark.parametrize(
    ("name", "item_id"),
    [
        *((f"7{suffix}", "7") for suffix in PICTURES),
        *((f"7{suffix.upper()}", "7") for suffix in PICTURES),
        ("a.b.c.jpg", "a.b.c"),
        (".hidden.png", ".hidden"),
        ("-dash.jpg", "-dash"),
        ("two\nlines.jpg", "two\nlines"),
        ("a b.Jpg", "a b"),
        ("12/123.jpg", "123"),
        ("ab/cd/ef/gh/abcdefgh.webp", "abcdefgh"),
        (f"{COMPOSED}.jpg", COMPOSED),
        (f"{COMPOSED}.jpg", TAKEN_APART),
        (f"{TAKEN_APART}.jpg", COMPOSED),
        (f"{TAKEN_APART}.jpg", TAKEN_APART),
    ],
)
def test_the_file_of_an_item(folder, name, item_id):
    put(folder, name, "other.jpg")
    assert of(folder).locate(item_id) == (folder / name).resolve()


def test_clips_have_suffixes_of_their_own(folder):
    put(folder, "1.webm", "2.MP4", "3.mov", "4.mkv", "1.jpg")
    found = of(folder, CLIPS)
    assert [found.locate(k).name for k in "1234"] == ["1.webm", "2.MP4", "3.mov", "4.mkv"]


def test_of_several_files_the_first_suffix_the_shallowest_and_the_first_by_name_counts(folder):
    put(
        folder,
        "1.png",
        "1.jpg",
        "1.webp",
        "2.JPG",
        "2.jpg",
        "b/3.jpg",
        "3.JPG",
        "a/4.jpg",
        "b/4.jpg",
    )
    found = of(folder)
    names = [found.locate(k).relative_to(folder).as_posix() for k in "1234"]
    assert names == ["1.jpg", "2.JPG", "3.JPG", "a/4.jpg"]


def test_names_that_differ_in_case_or_in_form_are_of_different_items(folder):
    put(folder, "A.jpg", "a.jpg", f"{COMPOSED}.jpg", f"{TAKEN_APART}.jpg")
    found = of(folder)
    for stem in ("A", "a", COMPOSED, TAKEN_APART):
        assert found.locate(stem).name == f"{stem}.jpg"
    assert problem_of(folder, "ä")[0] == "missing"


@pytest.mark.parametrize("item_id", ["L" * 300, "é" * 200, "x" * 100_000])
def test_an_id_that_is_too_long_for_a_name_is_missing(folder, item_id):
    status, message = problem_of(folder, item_id)
    assert status == "missing" and "is not in the dump" in message and len(message) < 200


@pytest.mark.parametrize("item_id", ["", ".", "..", "../x", "a/b", "a\\b", "nul\0"])
def test_an_id_that_would_leave_its_folder_is_unsafe(folder, item_id):
    assert problem_of(folder, item_id)[0] == "unsafe"


def test_another_suffix_is_told(folder):
    put(folder, "1.svg")
    status, message = problem_of(folder, "1")
    assert status == "missing"
    assert message.startswith(
        "covers/1.jpg is not in the dump, but 1.svg is; supported suffixes are .jpg .jpeg"
    )


# --- links


def test_a_linked_folder_is_followed_wherever_it_leads(tmp_path, folder):
    far = tmp_path / "disk" / "covers"
    put(far, "1.jpg", "sub/2.jpg")
    folder.rmdir()
    folder.symlink_to(far)
    found = of(folder)
    assert [found.locate(k).read_text() for k in "12"] == ["x", "x"]
    (far / "3.jpg").symlink_to(tmp_path / "disk" / "3.jpg")
    put(tmp_path / "disk", "3.jpg")  # beside the folder that was linked
    status, message = problem_of(folder, "3")
    assert status == "unsafe" and message.startswith("covers/3.jpg is a link out of the dump, to ")


def test_a_link_in_the_folder_to_another_one_outside_is_told(tmp_path, folder):
    put(tmp_path / "disk", "1.jpg")
    (folder / "shard").symlink_to(tmp_path / "disk")
    status, message = problem_of(folder, "1")
    assert status == "missing"
    assert "covers/shard is a link out of the dump; make covers itself a link instead" in message
    put(folder.parent / "more", "2.jpg")
    (folder / "inside").symlink_to(folder.parent / "more")
    assert of(folder).locate("2").read_text() == "x"


def test_links_that_lead_to_themselves(folder):
    (folder / "1.jpg").symlink_to(folder / "1.jpg")
    (folder / "2.jpg").symlink_to(folder / "3.jpg")
    (folder / "3.jpg").symlink_to(folder / "2.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "up").symlink_to(folder.parent)
    put(folder, "4.jpg")
    for item_id in "123":
        message = f"covers/{item_id}.jpg is a link to itself"
        assert problem_of(folder, item_id) == ("missing", message)
    assert of(folder).locate("4") == folder / "4.jpg"


def test_what_is_no_file(folder, monkeypatch):
    os.mkfifo(folder / "1.jpg")
    (folder / "3.jpg").mkdir()
    (folder / "4.jpg").symlink_to("/dev/null")
    monkeypatch.chdir(folder)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("2.jpg")
        assert problem_of(folder, "1") == (
            "missing",
            "covers/1.jpg is a named pipe, expected a file",
        )
        assert problem_of(folder, "2") == (
            "missing",
            "covers/2.jpg is a socket, expected a file",
        )
    assert problem_of(folder, "3")[0] == "missing"
    assert problem_of(folder, "4")[0] == "unsafe"


# --- files that change or may not be read


def test_a_file_or_folder_that_is_deleted_meanwhile(folder):
    put(folder, "1.jpg", "sub/2.jpg")
    found = of(folder)
    found.locate("1")
    (folder / "1.jpg").unlink()
    with pytest.raises(ItemProblem, match=r"covers/1.jpg was deleted since it was listed"):
        found.locate("1")
    (folder / "sub" / "2.jpg").unlink()
    (folder / "sub").rmdir()
    folder.rmdir()
    with pytest.raises(ItemProblem, match="was deleted since it was listed"):
        found.locate("2")
    assert problem_of(folder, "1")[0] == "missing"


def test_a_folder_that_may_not_be_read_is_told(folder, monkeypatch):
    put(folder, "1.jpg", "shut/2.jpg")
    forbid(monkeypatch, folder / "shut")
    assert of(folder).locate("1")
    status, message = problem_of(folder, "2")
    assert status == "missing" and "(not searched: covers/shut/ (Permission denied))" in message


def forbid(monkeypatch, folder):
    scandir = os.scandir

    def guarded(path):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


def test_a_folder_is_listed_once(folder, monkeypatch):
    put(folder, *(f"{k}.jpg" for k in range(50)))
    found, calls, scandir = of(folder), [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or scandir(path))
    for k in range(50):
        found.locate(str(k))
        with pytest.raises(ItemProblem):
            found.locate(f"absent{k}")
    assert len(calls) == 1


# --- which folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/b/c/d/e/F_covers/1.png"], "a/b/c/d/e/F_covers"),
        (["Covers/12/1.jpg", "Covers/13/2.jpg"], "Covers"),
        (["covers/cover_0/1.jpg", "covers/cover_1/2.jpg"], "covers"),
        (["covers/covers/1.jpg"], "covers/covers"),
        (["cover_project/covers/1.jpg", "cover_project/frames/1-1.jpg"], "cover_project/covers"),
        (["covers/readme.txt", "x/covers/1.jpg"], "x/covers"),
        (["__MACOSX/covers/1.jpg", ".covers/1.jpg"], None),
        (["covers/1.mp4"], None),
    ],
)
def test_which_folder_holds_the_covers(tmp_path, names, expected):
    put(tmp_path, *names)
    found = Survey(tmp_path).find("cover", ".jpg")
    assert found == (tmp_path / expected if expected else None)


def test_a_dump_that_links_to_itself_is_looked_at_once(tmp_path):
    put(tmp_path, "covers/1.jpg")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "covers_loop").symlink_to(tmp_path / "covers_loop")
    assert Survey(tmp_path).folders[0].below[".jpg"] == 1


def test_a_link_to_a_whole_disk_is_followed_three_levels(tmp_path):
    put(tmp_path / "disk", "1/2/3/4/5/covers/1.jpg")
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "all").symlink_to(tmp_path / "disk")
    assert Survey(tmp_path / "dump").find("cover", ".jpg") is None


def test_what_looks_like_media_and_is_not_read_is_told(tmp_path, monkeypatch):
    assert MediaPlaces(tmp_path).why_none("covers") == "the dump has none"
    put(
        tmp_path,
        "pics/1.png",
        "pics/2.png",
        "covers/1.svg",
        "frames/7-1.jpg",
        "clips/7.MOV",
        "list.txt",
    )
    (tmp_path / "cover_disk").symlink_to(tmp_path / "not_mounted")
    said = MediaPlaces(tmp_path).why_none("covers")
    assert said.startswith(
        "the dump has none: covers/ holds 1 .svg; pics/ holds 2 .png; cover_disk/ is a link, but not to a folder; "
        "covers are read from a folder with 'cover' in its name, as covers/ITEM.jpg (.jpg "
    )
    assert "the dump has none: clips/ holds 1 .mov; clips are read" in MediaPlaces(
        tmp_path
    ).why_none("frames")


def test_a_second_folder_of_covers_is_told(tmp_path):
    put(tmp_path, "covers_a/1.jpg", "covers_b/2.jpg")
    (told,) = MediaPlaces(tmp_path).unread()
    assert told.startswith("covers_a/ is read, but covers_b with files of the same kind is not")


# --- through a build


def test_a_build_reads_any_suffix_and_says_what_it_could_not(write_microlens, tmp_path, capsys):
    dump = write_microlens(titles=f"item,title\na,one\nb,two\n{'L' * 300},three\n")
    (tmp_path / "disk").mkdir()
    (dump / "M_covers").symlink_to(tmp_path / "disk")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "disk" / "a.PNG", "PNG")
    Image.new("RGB", (8, 8)).save(tmp_path / "disk" / "b.WebP", "WEBP")
    prep.build(dump, tmp_path / "out", PrepConfig(media=MediaConfig(workers=1)))
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.covers["status"].to_pylist() == ["ok", "ok", "missing"]
    assert data.covers["note"].to_pylist() == ["transparent parts put on white", None, None]
    assert "covers: 1 of them with transparent parts put on white" in capsys.readouterr().out
    verdict = [finding["what"] for finding in prep.report(tmp_path / "out")["verdict"]]
    assert "1 cover with transparent parts put on white" in verdict
    assert prep.check(data.path) == []


def test_a_table_that_an_earlier_version_began_keeps_its_columns(
    write_microlens, tmp_path, monkeypatch
):
    dump, config = write_microlens(), PrepConfig(media=MediaConfig(workers=1))
    (dump / "covers").mkdir()
    Image.new("RGB", (8, 8)).save(dump / "covers" / "a.jpg")
    monkeypatch.setattr("prep.pictures.covers.STORED", schema.COVERS)  # as it was
    prep.build(dump, tmp_path / "out", config)
    monkeypatch.undo()
    Image.new("LA", (8, 8)).save(dump / "covers" / "b.png")
    prep.build(dump, tmp_path / "out", config, retry_failed=True)
    covers = toolkit.open_dataset(tmp_path / "out").covers
    assert covers["status"].to_pylist() == ["ok", "ok"] and "note" not in covers.schema.names
    assert prep.check(tmp_path / "out") == []
