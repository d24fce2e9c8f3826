"""Any content of `dataset.json` yields one line: a `UserError`, or a finding of `check`."""

import json
from pathlib import Path

import pytest

from prep.cli import main
from toolkit import UserError, open_dataset


@pytest.fixture
def small(write_microlens):
    return write_microlens()


@pytest.fixture
def dataset(small, tmp_path):
    assert main(["ingest", str(small), str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def changed(**parts):
    return lambda manifest: json.dumps(manifest | parts).encode()


def step(**parts):
    return changed(steps={"ingest": parts})


BROKEN = {
    "list": lambda manifest: b"[]",
    "null": lambda manifest: b"null",
    "number": lambda manifest: b"7",
    "empty": lambda manifest: b"",
    "not UTF-8": lambda manifest: b"\xff\xfe{",
    "deep": lambda manifest: b"[" * 200_000,
    "huge number": lambda manifest: b'{"schema_version": ' + b"9" * 6_000 + b"}",
    "version of another type": changed(schema_version=True),
    "no version": lambda manifest: b"{}",
    "steps are a list": changed(steps=[]),
    "steps are null": changed(steps=None),
    "a step is a list": changed(steps={"ingest": []}),
    "a step's config is text": step(config="x"),
    "a step's inputs are a list": step(config={}, inputs=[]),
    "an input is text": step(config={}, inputs={"a.csv": "x"}),
    "an input has no digest": step(config={}, inputs={"a.csv": {"bytes": 1}}),
    "captions without a hash": changed(steps={"caption:x": {}}),
    "a step's versions are null": step(config={}, versions=None),
    "a step's items are negative": step(config={}, items={"ok": -1}),
    "a step's errors are words": step(config={}, errors={"empty": "many"}),
    "a step's rows are text": step(config={}, rows="7"),
    "skipped is a number": step(config={}, skipped=1),
    "config is a list": changed(config=[]),
    "captions are a list": changed(config={"caption": ["x"]}),
    "a tower is a number": changed(config={"encode": {"title": 3}}),
    "features are null": changed(config={"features": {"f": None}}),
    "counts are a list": changed(counts=[1, 2]),
    "a count is huge": changed(counts={"users": 10**400, "items": 2, "interactions": 5}),
    "a count is infinite": changed(counts={"users": float("inf")}),
    "the name is a list": changed(name=["x"]),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_no_content_of_the_manifest_is_a_traceback(small, dataset, tmp_path, capsys, broken):
    path = dataset / "dataset.json"
    content = BROKEN[broken](json.loads(path.read_text()))
    path.write_bytes(content)
    out = str(dataset)
    for words in (
        ["ingest", str(small), out],
        ["build", str(small), out],
        ["media", str(small), out],
        ["caption", out],
        ["caption", out, "--sample", "1"],
        ["encode", out],
        ["report", out],
        ["export", out, "title", str(tmp_path / "title.npy")],
    ):
        with pytest.raises(UserError, match=r"dataset\.json: ") as refused:
            main(words)
        assert len(str(refused.value)) < 600 and "\n" not in str(refused.value)
    assert main(["check", out]) == 1
    assert "broken: " in capsys.readouterr().err
    assert path.read_bytes() == content  # nobody has written over it


@pytest.mark.parametrize(
    ("absent", "message", "report_needs_it"),
    [
        (["counts"], r"has no 'counts', .*the file is damaged", True),
        (["name"], r"has no 'name', .*the file is damaged", False),
        (["steps", "ingest"], r"has no 'steps\.ingest\.config', .*the file is damaged", False),
        (["steps", "ingest", "config", "layout"], "made with layout = null", False),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else "",
)
def test_what_a_manifest_lacks_is_named(small, dataset, absent, message, report_needs_it):
    path = dataset / "dataset.json"
    manifest = json.loads(path.read_text())
    inner = manifest
    for key in absent[:-1]:
        inner = inner[key]
    del inner[absent[-1]]
    path.write_text(json.dumps(manifest))
    for words in (["ingest", small, dataset], ["build", small, dataset]):
        with pytest.raises(UserError, match=message):
            main([str(word) for word in words])
    if report_needs_it:
        with pytest.raises(UserError, match=r"dataset\.json has no 'counts\.users', .*damaged"):
            main(["report", str(dataset)])
    else:
        assert main(["report", str(dataset)]) == 0
    assert main(["encode", str(dataset)]) == 0  # asks for none of these
    assert main(["check", str(dataset)]) == 1


def test_steps_and_config_may_be_absent(dataset):
    """As in a dataset that another program wrote."""
    Path(dataset / "dataset.json").write_text('{"schema_version": 1}')
    assert open_dataset(dataset).manifest == {"schema_version": 1, "steps": {}, "config": {}}
