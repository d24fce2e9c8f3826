"""Bad dumps of faces: one clear message, or an error row and the rest of the dump."""

import numpy as np
import pytest

import prep
from toolkit import open_dataset
from toolkit.errors import UserError
from toolkit.faces import open_faces

LISTS = "data/BP4D-synth/list"
LABELS = f"{LISTS}/BP4D-synth_test_label_fold1.txt"
PATHS = f"{LISTS}/BP4D-synth_test_img_path_fold1.txt"
AU = "data/DISFA-synth/ActionUnit_Labels/SN001/SN001_au1.txt"


def change(dump, name, old, new, count=1):
    path = dump / name
    text = path.read_bytes()
    assert old.encode() in text
    path.write_bytes(
        text.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), count)
    )


def errors_of(dataset):
    return [
        (row["step"], row["error_class"], row["item_id"])
        for row in open_dataset(dataset).errors.to_pylist()
    ]


def test_pictures_that_cannot_be_read_are_rows(broken, store, tmp_path):
    pictures = broken / "data/BP4D-synth/img/F001/T1"
    (pictures / "1.jpg").unlink()
    (pictures / "2.jpg").write_bytes(b"")
    outside = tmp_path / "outside.jpg"
    (pictures.parent / "T2/1.jpg").rename(outside)
    (pictures.parent / "T2/1.jpg").symlink_to(outside)
    (pictures.parent / "T2/2.jpg").write_bytes(outside.read_bytes()[:300])
    data = store(broken, tmp_path / "data")
    expected = ["missing", "empty", "unsafe", "corrupt"]
    names = ["T1/1", "T1/2", "T2/1", "T2/2"]
    failed = [("faces", status, f"F001/{n}.jpg") for status, n in zip(expected, names, strict=True)]
    assert errors_of(data) == failed
    assert prep.check(data) == []
    assert len(open_faces(data).rows(1, "test")) == 16 - 4
    finding = prep.report(data)["verdict"][0]
    assert finding["what"] == (
        "4 of 48 faces have no picture (1 missing, 1 empty, 1 unsafe, 1 corrupt)"
    )
    (pictures.parent / "T2/1.jpg").unlink()
    outside.rename(pictures.parent / "T2/1.jpg")
    store(broken, data, retry_failed=True)
    assert [row[1] for row in errors_of(data)] == ["missing", "empty", "corrupt"]


def test_a_subject_in_two_folds_is_in_none(broken, store, tmp_path):
    text = (broken / PATHS).read_text().splitlines()
    labels = (broken / LABELS).read_text().splitlines()
    for name, lines in {"img_path": text, "label": labels}.items():
        path = broken / LISTS / f"BP4D-synth_test_{name}_fold2.txt"
        path.write_text(path.read_text() + f"{lines[0]}\n")
    data = store(broken, tmp_path / "data")
    faces = open_faces(data)
    subjects = np.array(faces.table["subject"].to_pylist())
    assert set(subjects[faces.folds == 0]) == {"F001"}
    assert all(
        "F001" not in subjects[faces.rows(f, s)] for f in (1, 2, 3) for s in ("train", "test")
    )
    (error,) = open_dataset(data).errors.to_pylist()
    assert error["message"] == (
        "subject F001 is in the test lists of the folds 1 and 2; its faces are in no fold"
    )
    finding = prep.report(data)["verdict"][0]
    assert (finding["severity"], finding["kind"]) == ("error", "two_folds")
    assert prep.check(data) == []


def test_a_subject_in_train_and_test_of_a_fold_is_in_none(broken, store, tmp_path):
    for name in ("img_path", "label"):
        first = (broken / LISTS / f"BP4D-synth_test_{name}_fold1.txt").read_text().splitlines()[0]
        path = broken / LISTS / f"BP4D-synth_train_{name}_fold1.txt"
        path.write_text(path.read_text() + f"{first}\n")
    store(broken, tmp_path / "data")
    (error,) = open_dataset(tmp_path / "data").errors.to_pylist()
    assert "is in train and test lists of fold 1" in error["message"]


def test_paths_that_leave_the_dump_are_left_out(broken, store, tmp_path):
    change(broken, PATHS, "F001/T1/1.jpg", "../../../secret/1.jpg")
    change(broken, PATHS, "F001/T1/2.jpg", "/etc/passwd")
    data = store(broken, tmp_path / "data")
    assert errors_of(data) == [
        ("lists", "unsafe", "../../../secret/1.jpg"),
        ("lists", "unsafe", "/etc/passwd"),
    ]
    assert (
        open_faces(data).table.num_rows == 48
    )  # the train lists of folds 2 and 3 have both pictures


def test_a_path_that_is_listed_twice_counts_once(broken, store, tmp_path):
    for name in (PATHS, LABELS):
        first, rest = (broken / name).read_text().split("\n", 1)
        (broken / name).write_text(f"{first}\r\n./{first}\n" if name == PATHS else f"{first}\n" * 2)
        (broken / name).write_text((broken / name).read_text() + rest)
    data = store(broken, tmp_path / "data")
    assert errors_of(data) == [("lists", "duplicate_id", "F001/T1/1.jpg")]
    assert open_faces(data).table.num_rows == 48
    (finding,) = (f for f in prep.report(data)["verdict"] if f["kind"] == "duplicate_id")
    assert finding["what"] == "1 line that repeats a path of the same list"


def test_other_labels_for_a_picture_are_reported(broken, store, tmp_path):
    line = (broken / LABELS).read_text().splitlines()[0]
    other = " ".join("1" if label == "0" else "0" for label in line.split())
    change(broken, LABELS, line, other)
    data = store(broken, tmp_path / "data")
    assert {row[1:] for row in errors_of(data)} == {("other_labels", "F001/T1/1.jpg")}
    first = open_faces(data).labels[0]
    assert " ".join(map(str, first)) == other  # test lists are read first


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LABELS, "\n", " 1\n", r"fold1\.txt:1: 13 labels, expected 12, for the AUs 1 2 4 6"),
        (LABELS, "1", "2", r"fold1\.txt:\d+: label '2', expected 0, 1 or 9"),
        (LABELS, "1", "0.7", r"label '0\.7', expected 0, 1 or 9"),
        (PATHS, "F001/T1/1.jpg\n", "", r"16 lines, but BP4D-synth_test_img_path_fold1\.txt has 15"),
        (PATHS, "F001/T1/1.jpg", "1.jpg", r"fold1\.txt:1: expected SUBJECT/PICTURE"),
        (PATHS, "F001/T1/1.jpg", b"F001/T1/\xe9.jpg", r"fold1\.txt:1: not UTF-8"),
    ],
)
def test_malformed_lists_are_refused(broken, store, tmp_path, name, old, new, message):
    change(broken, name, old, new)
    with pytest.raises(UserError, match=message):
        store(broken, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,", "1;", r"SN001_au1\.txt:1: expected frame,intensity"),
        ("\n", "0\n", r"SN001_au1\.txt:1: intensity \d0, expected 0 to 5"),
        ("2,", "1,", r"SN001_au1\.txt:2: repeats frame 1"),
        ("8,", "9,", r"has other frames \(8\) than SN001_au1\.txt"),
        ("1,", "1,-", r"SN001_au1\.txt:1: expected frame,intensity"),
    ],
)
def test_malformed_files_of_disfa_are_refused(disfa_copy, store, tmp_path, old, new, message):
    change(disfa_copy, AU, old, new)
    if old == "\n":
        text = (disfa_copy / AU).read_text()
        (disfa_copy / AU).write_text("1,20\n" + text.split("\n", 1)[1])
    with pytest.raises(UserError, match=message):
        store(disfa_copy, tmp_path / "data")


def test_intensities_that_contradict_labels_are_reported(disfa_copy, store, tmp_path):
    lines = (disfa_copy / AU).read_text().splitlines()
    other = [f"{line.split(',')[0]},{5 if int(line[-1]) < 2 else 0}" for line in lines]
    (disfa_copy / AU).write_text("\n".join(other) + "\n")
    store(disfa_copy, tmp_path / "data")
    (error,) = open_dataset(tmp_path / "data").errors.to_pylist()
    assert error["message"] == "subject SN001: the labels of 8 of 8 faces are not intensity >= 2"


def test_an_au_without_a_file_is_missing(disfa_copy, store, tmp_path):
    (disfa_copy / AU).unlink()
    for path in (disfa_copy / "data/DISFA-synth/list").iterdir():
        path.unlink()
    faces = open_faces(store(disfa_copy, tmp_path / "data"))
    own = np.array(faces.table["subject"].to_pylist()) == "SN001"
    assert set(faces.labels[own, 0]) == {9}
    assert 9 not in faces.labels[~own]
    assert [row[1] for row in errors_of(tmp_path / "data")] == ["no_labels"]


def test_what_is_no_dump_of_faces(broken, store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no dump of faces found; expected list/DS_"):
        store(tmp_path / "empty", tmp_path / "data")
    with pytest.raises(UserError, match="no such folder"):
        store(tmp_path / "absent", tmp_path / "data")
    with pytest.raises(UserError, match="AU 3 is unknown"):
        store(broken, tmp_path / "data", aus="1,3")
    with pytest.raises(UserError, match="12 labels, expected 2"):
        store(broken, tmp_path / "data", aus="1,2")
    (broken / LABELS).write_text("\n")
    with pytest.raises(UserError, match=r"fold1\.txt: the file is empty"):
        store(broken, tmp_path / "data")
    (broken / LABELS).unlink()
    with pytest.raises(UserError, match=r"test_label_fold1\.txt: the list is missing"):
        store(broken, tmp_path / "data")


def test_lists_of_an_unknown_name_need_their_aus(broken, store, tmp_path):
    for path in list((broken / LISTS).iterdir()):
        path.rename(path.with_name(path.name.replace("BP4D", "Mine")))
    with pytest.raises(
        UserError, match=r"'Mine-synth', is neither of BP4D nor of DISFA.*--aus 1,2,4"
    ):
        store(broken, tmp_path / "data")
    aus = "1,2,4,6,7,10,12,14,15,17,23,24"
    assert open_faces(store(broken, tmp_path / "data", aus=aus)).name == "Mine-synth"


def test_two_datasets_in_a_dump_are_refused(broken, store, tmp_path):
    (broken / "data/BP4D-synth").rename(broken / "data/A")
    (broken / "data/B/list").mkdir(parents=True)
    (broken / "data/B/list/B_test_label_fold1.txt").write_text("")
    with pytest.raises(UserError, match=r"several datasets \(data/A, data/B\); give one"):
        store(broken, tmp_path / "data")


def test_lists_of_which_every_line_is_left_out_are_refused(broken, store, tmp_path):
    """Paths as Windows writes them."""
    for path in (broken / LISTS).glob("*img_path*"):
        path.write_text(path.read_text().replace("/", "\\"))
    with pytest.raises(
        UserError, match=r"no face can be read: .*would leave img/; .*relative to img/"
    ):
        store(broken, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "has no box; add one for each picture, or leave out --crops"),
        ("a,0,0,99999999999,10\n", r":2: a box of 99999999999x10 px at 0, 0; expected pixels"),
        ("a,-3000000000,0,10,10\n", r":2: a box of 10x10 px at -3000000000, 0"),
        ("x" * 200_000 + ",0,0,1,1\n", r":\d: not a line of CSV \(field larger than"),
    ],
    ids=["none", "wide", "left", "long"],
)
def test_crops_that_are_no_boxes_are_refused(bp4d_dump, store, tmp_path, rows, message):
    crops = tmp_path / "crops.csv"
    crops.write_text(f"path,x,y,width,height\n{rows}")
    with pytest.raises(UserError, match=rf"crops\.csv.*{message}"):
        store(bp4d_dump, tmp_path / "data", crops=str(crops))
