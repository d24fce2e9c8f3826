"""Settings files from anybody: values, or one line that explains the error."""

import pytest

from toolkit import UserError
from toolkit.yaml_files import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("", {}), ("# nothing\n", {}), ("\ufeffa: {b: 1}\n", {"a": {"b": 1}}), ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]})],
)  # fmt: skip
def test_settings_are_read(tmp_path, text, value):
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "settings.yaml") == value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"- a\n", "expected keys and values, found list"),
        (b"a: [", "not valid YAML"),
        (b"a: \xff\xfe", "not valid YAML"),
        (b"a: !!python/object/apply:os.system [touch PROOF]\n", "not valid YAML .*python/object"),
        (b"[" * 20_000, "not valid YAML"),
        (b"a: &a [*a]\n", "an alias refers to a node that contains it"),
        (BOMB.encode(), "aliases expand to more than 100,000 values"),
        (b"a: 1\n" * (1 << 19), "expected a settings file"),
    ],
    ids=["list", "cut", "not UTF-8", "python", "deep", "circle", "bomb", "large"],
)
def test_anything_else_is_refused(tmp_path, data, message):
    (tmp_path / "settings.yaml").write_bytes(data)
    with pytest.raises(UserError, match=rf"settings\.yaml: .*{message}"):
        read_yaml(tmp_path / "settings.yaml")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a"),
        ("methods:\n  id: {config: [id]}\n  id: {config: [ease]}\n", 3, "id"),
        ("a: [{b: 1, b: 1}]\n", 1, "b"),
    ],
)
def test_a_key_twice_is_refused(tmp_path, text, line, key):
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"settings\.yaml:{line}: repeats the key '{key}'"):
        read_yaml(tmp_path / "settings.yaml")


def test_merged_keys_may_be_overridden(tmp_path):
    text = "a: &base {b: 1, c: 2}\nd:\n  <<: *base\n  b: 3\n"
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "settings.yaml")["d"] == {"b": 3, "c": 2}


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_yaml(tmp_path / "settings.yaml")
