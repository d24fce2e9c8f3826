"""Settings files cannot import code, and typed options override them in any position."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.config import load_run_config, parse_run_config
from prep.cli import main as prep_main
from toolkit import UserError
from toolkit.settings import refuse_other_shape, split_files


@dataclass
class Part:
    size: int = 1


@dataclass
class Whole:
    name: str = ""
    part: Part = field(default_factory=Part)
    parts: dict[str, Part] = field(default_factory=dict)


@pytest.mark.parametrize(
    "values", [{}, {"name": "x", "part": {"size": 2}}, {"parts": {"a": {}}}, {"part.size": 3}]
)
def test_settings_of_the_right_shape_pass(values):
    refuse_other_shape(values, Whole, where=Path("f.yaml"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": 1}, "unknown key 'nmae'; did you mean name"),
        ({"part": {"class_path": "os.system"}}, r"unknown key 'part\.class_path'"),
        ({"part": "some.module.Class"}, "part: expected keys and values, found str 'some.module.Class'"),
        ({"parts": {"a": "some.module.Class"}}, r"parts\.a: expected keys and values"),
        ({"part.class_path": "x"}, r"unknown key 'part\.class_path'"),
        ({"part": ["x"]}, "part: expected keys and values, found list"),
    ],
)  # fmt: skip
def test_others_are_refused(values, message):
    with pytest.raises(UserError, match=rf"^f\.yaml: {message}"):
        refuse_other_shape(values, Whole, where=Path("f.yaml"))


def test_config_without_a_file_is_told():
    with pytest.raises(UserError, match="--config: expected the name of a file"):
        split_files(["--train.epochs=1", "--config"])


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that leaves a proof where it is imported."""
    (tmp_path / "evil_settings.py").write_text(f"open({str(tmp_path / 'PROOF')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "PROOF"
    sys.modules.pop("evil_settings", None)


@pytest.mark.parametrize("side", ["{class_path: evil_settings.X}", "evil_settings.X"])
def test_a_runs_settings_import_nothing(tmp_path, module, side):
    path = tmp_path / "config.yaml"
    path.write_text(f"format: 1\ndata: d\noutput: o\nside: {side}\n")
    with pytest.raises(UserError, match=r"config\.yaml: .*side"):
        load_run_config(path)
    with pytest.raises(UserError, match=r"config\.yaml: .*side"):
        parse_run_config([f"--config={path}", "--data=d", "--output=o"])
    assert not module.exists()


@pytest.mark.parametrize("media", ["{class_path: evil_settings.X}", "evil_settings.X"])
def test_preps_settings_import_nothing(tmp_path, module, media):
    path = tmp_path / "mine.yaml"
    path.write_text(f"media: {media}\n")
    with pytest.raises(UserError, match=r"mine\.yaml: .*media"):
        prep_main(["build", str(tmp_path), str(tmp_path / "out"), "--config", str(path)])
    assert not module.exists()


@pytest.mark.parametrize(
    "words", [["--train.epochs=3", "--config", "modern"], ["--config=modern", "--train.epochs=3"]]
)
def test_what_is_typed_overrides_files_wherever_it_stands(words):
    config = parse_run_config([*words, "--data=d", "--output=o"])
    assert config.train.epochs == 3
    assert config.train.optimizer == "adamw"  # of the recipe


def test_later_files_override_earlier_ones(tmp_path):
    for name, epochs in (("a", 5), ("b", 7)):
        (tmp_path / f"{name}.yaml").write_text(f"train: {{epochs: {epochs}}}\n")
    files = [f"--config={tmp_path / name}.yaml" for name in ("a", "b")]
    assert parse_run_config([*files, "--data=d", "--output=o"]).train.epochs == 7
