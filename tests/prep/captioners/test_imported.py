"""Captions from a file: every text in its row with its provenance, and mismatches are refused by name."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet
import pytest

import prep
from prep import CaptionConfig, EncodeConfig, PrepConfig
from prep.cli import main
from prep.steps.pipeline import errors_of
from toolkit import UserError, open_dataset

TEXTS = {"3": "a smile", "1": "a frown, and\na raised brow", "2": "neutral"}
CSV = 'item_id,text\n1,"a frown, and\na raised brow"\n3,a smile\n2,neutral\n'


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    dump = tmp_path_factory.mktemp("dump")
    (dump / "M_titles.csv").write_text("".join(f"{id_},a title\n" for id_ in TEXTS))
    (dump / "M_pairs.tsv").write_text("u\t1 2 3 1 2\n")
    prep.ingest(dump, dump / "out")
    return dump / "out"


@pytest.fixture
def dataset(ingested, tmp_path):
    return shutil.copytree(ingested, tmp_path / "out")


@pytest.fixture
def write(tmp_path):
    def write(content, name="faces.csv"):
        path = tmp_path / name
        if isinstance(content, dict):
            pa.parquet.write_table(pa.table(content), path)
        else:
            path.write_text(content, encoding="utf-8")
        return path

    return write


def imported(dataset, file):
    prep.caption(dataset, PrepConfig(caption={"face_caption": CaptionConfig(file=str(file))}))
    return open_dataset(dataset)


def rows_of(data):
    return {row["item_id"]: row for row in data.captions("face_caption").to_pylist()}


def texts(data):
    return {id_: row["text"] for id_, row in rows_of(data).items()}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CSV, "faces.csv"),
        ("\ufeffitem_id;text\n" + CSV.partition("\n")[2].replace(",", ";", 1)
         .replace("3,", "3;").replace("2,", "2;"), "faces.CSV"),
        ({"text": list(TEXTS.values()), "item_id": [3, 1, 2], "more": [0, 0, 0]}, "faces.parquet"),
        ({"item_id": list(TEXTS), "text": list(TEXTS.values())}, "faces.parquet"),
    ],
)  # fmt: skip
def test_each_form_stores_the_text_of_each_item(dataset, write, content, name):
    file = write(content, name)
    data = imported(dataset, file)
    assert texts(data) == TEXTS
    digest = prep.readers.files.fingerprint(file)["sha256"]
    for row in rows_of(data).values():
        assert (row["model"], row["revision"], row["prompt_hash"], row["status"]) == (
            f"file:{name}",
            digest,
            "",
            "ok",
        )
    step = data.manifest["steps"]["caption:face_caption"]
    assert (step["items"], step["revision"], step["unknown"]) == ({"ok": 3}, digest, 0)
    assert data.source_reader("face_caption").read([2, 1]).to_pylist() == [TEXTS["1"], TEXTS["3"]]
    assert prep.check(dataset) == []


def test_provenance_and_statuses_of_the_file_are_kept(dataset, write):
    columns = {
        "item_id": ["1", "2", "3"],
        "text": ["a frown", None, "half a caption"],
        "model": ["vl-fau", "", "vl-fau"],
        "revision": ["r1", None, "r2"],
        "prompt_hash": ["p", "p", None],
        "status": ["ok", "ok", "corrupt"],
        "message": ["unused", None, "cut after 10 tokens"],
    }
    data = imported(dataset, write(columns, "f.parquet"))
    rows = rows_of(data)
    digest = data.manifest["steps"]["caption:face_caption"]["revision"]
    assert [list(rows[id_].values())[1:] for id_ in "123"] == [
        ["a frown", "vl-fau", "r1", "p", "ok"],
        [None, "file:f.parquet", digest, "p", "empty"],
        ["half a caption", "vl-fau", "r2", "", "corrupt"],
    ]
    errors = {row["item_id"]: row for row in errors_of(dataset, "caption:face_caption").to_pylist()}
    assert {id_: (e["error_class"], e["message"]) for id_, e in errors.items()} == {
        "2": ("empty", "f.parquet has an empty caption of it"),
        "3": ("corrupt", "cut after 10 tokens"),
    }
    assert data.source_reader("face_caption").read([1, 2, 3]).to_pylist() == [None, "a frown", None]
    assert prep.check(dataset) == []


def test_items_without_a_caption_are_missing_and_unknown_items_are_counted(dataset, write, capsys):
    data = imported(dataset, write("item_id,text,status\n 1 ,a frown,\n77,other,\n3, ,\n"))
    assert texts(data) == {"1": "a frown", "2": None, "3": None}
    errors = errors_of(dataset, "caption:face_caption").to_pylist()
    assert {(row["item_id"], row["error_class"], row["message"]) for row in errors} == {
        ("2", "missing", "faces.csv has no caption of it"),
        ("3", "empty", "faces.csv has an empty caption of it"),
    }
    step = data.manifest["steps"]["caption:face_caption"]
    assert (step["items"], step["unknown"]) == ({"ok": 1, "missing": 1, "empty": 1}, 1)
    printed = capsys.readouterr().out
    assert "1 captions of" in printed and "not used: their items are not in the dataset" in printed
    assert prep.check(dataset) == []


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("item_id,text\n1,a\n2,b\n1,c\n", "f.csv", "f.csv: item '1' has several captions; keep one"),
        ("item_id,text\na1,a\n", "f.csv", r"none of its 1 ids \(e\.g\. 'a1'\) .*\(e\.g\. '3'\)"),
        ("item_id,text\n", "f.csv", "none of its 0 ids is an item"),
        ("item,text\n1,a\n", "f.csv", "no column 'item_id'; found item, text"),
        ("item_id,caption\n1,a\n", "f.csv", "no column 'text'; found item_id, caption"),
        ("item_id,text,text\n1,a,b\n", "f.csv", "several columns are called 'text'"),
        ("item_id,text,status\n1,a,ok\n2,b,good\n", "f.csv", r"f\.csv:3: status 'good' is unknown"),
        ("item_id,text\n1,a\n,b\n", "f.csv", "f.csv:3: column 'item_id' is empty"),
        ("item_id,text\n1,a,b\n", "f.csv", "Expected 2 columns, got 3"),
        ("[]", "f.json", r"captions are read from \.csv and \.parquet"),
        ("no Parquet", "f.parquet", "not a Parquet file"),
        ({"item_id": [1], "text": [["a"]]}, "f.parquet", r"column 'text' \(text\) has type list"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(dataset, write, content, name, message):
    file = write(content, name)
    with pytest.raises(UserError, match=message):
        imported(dataset, file)
    assert not (dataset / "captions").exists()


def test_an_absent_file_is_reported_before_anything_runs(dataset, tmp_path):
    with pytest.raises(UserError, match=r"captions 'face_caption': .*f\.csv: no such file"):
        imported(dataset, tmp_path / "f.csv")


def test_a_file_and_a_model_are_refused():
    with pytest.raises(UserError, match=r"file is f\.csv and model is m: .* one of them; omit"):
        CaptionConfig(file="f.csv", model="m")


def test_a_rerun_continues_and_another_file_is_refused(dataset, write, capsys):
    file = write("item_id,text\n1,a frown\n")
    words = ["caption", str(dataset), f"--caption.face_caption.file={file}"]
    assert main(words) == 0
    assert main(words[:2]) == 0  # a file that is already imported counts without being typed
    assert "caption:face_caption: 0 of 3 items done now" in capsys.readouterr().out
    write(CSV)
    with pytest.raises(UserError, match=r"made with revision = .*delete .*captions/face_caption"):
        main(words)


def test_a_recorded_file_counts_only_for_captions_that_exist(dataset, write):
    imported(dataset, write(CSV))
    path = dataset / "dataset.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["caption"] = {"other": manifest["config"]["caption"]["face_caption"]}
    manifest["steps"]["caption:other"] = manifest["steps"]["caption:face_caption"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"asks for caption\.other\.file"):
        main(["caption", str(dataset)])


def test_a_tower_reads_them_and_knows_their_file(dataset, write, tiny_bert):
    imported(dataset, write(CSV))
    tower = EncodeConfig(encoder=str(tiny_bert), source="face_caption", layers="all")
    config = PrepConfig(encode={"face_caption": tower})
    prep.encode(dataset, config)
    assert open_dataset(dataset).states("face_caption").abs().sum(dim=(1, 2))[1:].min() > 0
    shutil.rmtree(dataset / "captions")
    imported(dataset, write(CSV.replace("smile", "grin")))
    with pytest.raises(UserError, match="was made with captions = "):
        prep.encode(dataset, config)


def test_build_and_its_estimate_know_the_file(synth_dump, write, tmp_path):
    ids = [path.stem for path in (synth_dump / "covers").iterdir()]
    file = write("item_id,text\n" + "".join(f"{id_},a smile\n" for id_ in ids[:5]))
    config = PrepConfig(caption={"face_caption": CaptionConfig(file=str(file))})
    (step,) = [s for s in prep.estimate(synth_dump, config).steps if s.step.startswith("caption")]
    assert (step.step, step.rows) == ("caption:face_caption", len(ids))
