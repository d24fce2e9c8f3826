"""Data from a dump or dataset runs no code, calls no server and reads no file elsewhere."""

import json
import sys
from pathlib import Path

import pytest
import yaml

import prep
import toolkit
from prep import CaptionConfig, EncodeConfig, PrepConfig
from prep.cli import main
from prep.steps import manifest
from prep.trust import settings_of_data
from toolkit import UserError


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def small(write_microlens):
    return write_microlens()


@pytest.fixture
def dataset(small, tmp_path):
    assert run("ingest", small, tmp_path / "out") == 0
    return tmp_path / "out"


def with_settings(dataset, **config):
    """Writes a configuration into `dataset.json`, as somebody else may have."""
    path = dataset / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    return dataset


TRUST = {"encode": {"extra": {"encoder": "evil", "trust_remote_code": True}}}
SERVER = {
    "caption": {
        "said": {
            "model": "m",
            "captioner": "openai",
            "url": "http://127.0.0.1:9/v1",
            "key_variable": "AWS_SECRET_ACCESS_KEY",
            "prompt": "/etc/passwd",
        }
    }
}
COMMANDS_IN_DATA = [
    (TRUST, "encode.extra.trust_remote_code = true", "--encode.extra.trust_remote_code true"),
    (SERVER, 'caption.said.captioner = "openai"', "--caption.said.captioner openai"),
    (SERVER, "caption.said.url = ", "--caption.said.url http://127.0.0.1:9/v1"),
    (SERVER, "caption.said.key_variable = ", "--caption.said.key_variable AWS_SECRET_ACCESS_KEY"),
    (SERVER, "caption.said.prompt = ", "--caption.said.prompt /etc/passwd"),
    (
        {"caption": {"said": {"model": "m", "trust_remote_code": 1}}},
        "caption.said.trust_remote_code = 1",
        "--caption.said.trust_remote_code 1",
    ),
    (
        {"caption": {"said": {"file": "/etc/secret.csv"}}},
        'caption.said.file = "/etc/secret.csv"',
        "--caption.said.file /etc/secret.csv",
    ),
    ({"caption_cache": "/root"}, 'caption_cache = "/root"', "--caption_cache /root"),
    (
        {"executor": "ray", "address": "10.0.0.1:6379"},
        'address = "10.0.0.1:6379"',
        "--address 10.0.0.1:6379",
    ),
    (
        {"features": {"f": {"file": "/etc/secret.npy", "ids": "../../ids.txt"}}},
        'features.f.file = "/etc/secret.npy", features.f.ids',
        "--features.f.file /etc/secret.npy --features.f.ids ../../ids.txt",
    ),
]


@pytest.mark.parametrize(("settings", "key", "option"), COMMANDS_IN_DATA)
@pytest.mark.parametrize("command", ["build", "ingest", "media", "estimate"])
def test_a_dumps_file_is_refused_with_key_file_and_what_to_type(
    small, tmp_path, settings, key, option, command
):
    (small / "prep.yaml").write_text(yaml.safe_dump(settings))
    places = [small] if command == "estimate" else [small, tmp_path / "out"]
    with pytest.raises(UserError) as refused:
        run(command, *places)
    message = str(refused.value)
    assert message.startswith(f"{small / 'prep.yaml'} asks for ") and "\n" not in message
    assert key in message and option in message
    assert message.endswith(f"--config {small / 'prep.yaml'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("settings", "key", "option"), COMMANDS_IN_DATA)
def test_a_datasets_record_is_refused_by_the_command_that_would_use_it(
    dataset, settings, key, option
):
    with_settings(dataset, **settings)
    refusals = []
    for words in (["caption"], ["caption", "--sample", "1"], ["encode"]):
        try:
            assert run(words[0], dataset, *words[1:]) == 0
        except UserError as error:
            if "asks for" in str(error):
                refusals.append(words[0])
                assert key in str(error) and option in str(error) and "dataset.json" in str(error)
    used_by_both = "address" in settings
    used_by = "encode" if {"encode", "features"} & set(settings) else "caption"
    assert set(refusals) == ({"caption", "encode"} if used_by_both else {used_by})


def test_what_is_typed_counts_again(small, tmp_path, monkeypatch):
    """By the option itself, or by naming the file; the other settings of the file stay."""
    seen = []
    monkeypatch.setattr(prep, "build", lambda dump, out, config, **_: seen.append(config))
    settings = {
        "name": "theirs",
        "encode": {"extra": {"encoder": "own", "trust_remote_code": True}},
    }
    (small / "prep.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "out"
    assert run("build", small, out, "--encode.extra.trust_remote_code", "true", "--quiet") == 0
    assert run("build", small, out, "--encode.extra.trust_remote_code=false", "--quiet") == 0
    assert run("build", small, out, "--config", small / "prep.yaml", "--quiet") == 0
    assert run("build", small, out, f"--config={small / 'prep.yaml'}", "--quiet") == 0
    assert [config.encode["extra"].trust_remote_code for config in seen] == [
        True,
        False,
        True,
        True,
    ]
    assert {(config.name, config.encode["extra"].encoder) for config in seen} == {("theirs", "own")}


def test_what_reads_only_stays_with_the_data(small, tmp_path, monkeypatch):
    """Local and packaged encoders, built-in prompts, and files that lie in the dump itself."""
    seen = []
    monkeypatch.setattr(prep, "build", lambda dump, out, config, **_: seen.append(config))
    settings = {
        "encode": {"title": {"encoder": "/models/bert", "trust_remote_code": False}},
        "caption": {"said": {"model": "package:prep/synth/tiny_vlm", "prompt": "image-rec@1"}},
        "features": {"f": {"file": str(small / "f.npy")}},
    }
    (small / "prep.yaml").write_text(yaml.safe_dump(settings))
    assert run("build", small, tmp_path / "out", "--quiet") == 0
    (config,) = seen
    assert config.features["f"].file == str(small / "f.npy")
    assert config.caption["said"].prompt == "image-rec@1"


def test_a_link_in_the_dump_does_not_lead_out_of_it(small, tmp_path):
    secret = tmp_path / "secret.npy"
    secret.write_bytes(b"")
    (small / "f.npy").symlink_to(secret)
    (small / "prep.yaml").write_text(
        yaml.safe_dump({"features": {"f": {"file": str(small / "f.npy")}}})
    )
    with pytest.raises(UserError, match=r"asks for features\.f\.file"):
        run("build", small, tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"encode": {"a": {"class_path": "evil_in_a_dump.Code"}}},
        {"encode": {"a": "evil_in_a_dump.Code"}},
        {"media": {"class_path": "evil_in_a_dump.Code"}},
        {"media": "evil_in_a_dump.Code"},
        {"encode.a.trust_remote_code": True},
    ],
)
@pytest.mark.parametrize("where", ["dump", "dataset"])
def test_a_file_cannot_name_code_to_import(small, dataset, tmp_path, monkeypatch, settings, where):
    """The parser of options would import what `class_path` names, to find that it is no setting."""
    (tmp_path / "evil_in_a_dump.py").write_text("class Code: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (small / "prep.yaml").write_text(yaml.safe_dump(settings))
    with_settings(dataset, **settings)
    with pytest.raises(UserError, match=r"unknown key|expected (keys and values|dict)"):
        run(*(["build", small, tmp_path / "new"] if where == "dump" else ["encode", dataset]))
    assert "evil_in_a_dump" not in sys.modules


def test_a_yaml_bomb_is_refused_in_both_places(small, tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (small / "prep.yaml").write_text("\n".join(lines))
    for words in ([], ["--config", small / "prep.yaml"]):
        with pytest.raises(UserError, match=r"prep\.yaml: its aliases expand to more than"):
            run("build", small, tmp_path / "out", *words)


def test_python_and_the_command_line_ask_the_same_function(dataset):
    with_settings(dataset, **TRUST, **SERVER)
    with pytest.raises(UserError, match=r"asks for encode.extra.trust_remote_code = true"):
        prep.encode(dataset)
    with pytest.raises(UserError, match=r"asks for caption.said.captioner = .openai"):
        prep.caption(dataset)
    with pytest.raises(UserError, match=r"asks for caption.said.captioner = .openai"):
        prep.sample_captions(dataset)
    bare = manifest.recorded_config(dataset)  # nothing of it is used, so nothing is refused
    assert bare.encode["extra"] == EncodeConfig("evil")
    assert bare.caption["said"] == CaptionConfig(model="m")


def test_a_record_by_the_user_is_typed_again_as_the_message_says(dataset):
    """The options of the message are what makes the same call possible."""
    with_settings(dataset, **SERVER)
    with pytest.raises(UserError) as refused:
        run("caption", dataset)
    options = str(refused.value).partition("to allow it, add ")[2].split()
    assert options[::2] == [
        f"--caption.said.{key}" for key in ("captioner", "url", "key_variable", "prompt")
    ]
    with pytest.raises(UserError, match="covers are not stored yet"):  # which comes after
        run("caption", dataset, *options)


def test_every_key_that_commands_is_declared():
    """Whoever adds a key that runs, sends, calls or reads elsewhere declares it with `users_word`, and here."""
    asked = {
        "encode": {"t": {key: "/elsewhere" for key in EncodeConfig.__dataclass_fields__}},
        "caption": {"t": {key: "/elsewhere" for key in CaptionConfig.__dataclass_fields__}},
        "features": {"t": {key: "/elsewhere" for key in prep.FeaturesConfig.__dataclass_fields__}},
    }
    alone = {key: "/elsewhere" for key in PrepConfig.__dataclass_fields__ if key not in asked}
    _, left_out = settings_of_data(
        asked | alone | {"media": {}}, PrepConfig, where=Path("prep.yaml")
    )
    assert {one.key for one in left_out} == {
        "caption_cache",
        "address",
        "encode.t.trust_remote_code",
        *(
            f"caption.t.{key}"
            for key in ("captioner", "prompt", "trust_remote_code", "url", "key_variable", "file")
        ),
        "features.t.file",
        "features.t.ids",
    }


def test_text_of_any_kind_comes_through_the_default_file(small, tmp_path):
    name = "emoji 😀, bell \a, quote ' and # colon: x"
    (small / "prep.yaml").write_text(yaml.safe_dump({"name": name}), encoding="utf-8")
    assert run("ingest", small, tmp_path / "out") == 0
    assert toolkit.open_dataset(tmp_path / "out").name == name


def test_features_that_are_imported_already_are_only_compared(dataset, tmp_path, capsys):
    """Of a tower that is stored as it is recorded, the file may lie anywhere; of any other it may not."""
    file = tmp_path / "features.json"
    file.write_text(json.dumps({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    words = ["encode", dataset, "--features.f.file", file]
    assert run(*words) == 0
    assert run("encode", dataset) == 0
    assert "encode:f: 0 of 2 items done now" in capsys.readouterr().out
    path = dataset / "dataset.json"
    said = json.loads(path.read_text())
    said["config"]["features"] = {"g": said["config"]["features"]["f"]}
    said["steps"]["encode:g"] = said["steps"]["encode:f"]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"asks for features\.g\.file"):
        run("encode", dataset)
    assert not (dataset / "states" / "g").exists()
