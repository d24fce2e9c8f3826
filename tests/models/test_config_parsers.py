"""Parsers of runs' settings are kept: what they parsed or refused before does not show in what they parse next."""

from pathlib import Path

import pytest

import models.config
from models.config import load_run_config, parse_run_config, save_run_config, untrusting
from models.facial.config import parse_face_config
from models.fusion import FUSIONS
from toolkit import UserError

BOTH = ["--data=DATASET", "--output=RUN"]
OPTIONS = {
    "a preset and another kind": [
        "--config=paper",
        "--sequence.kind=gru4rec",
        "--train={epochs: 7}",
    ],
    "defaults": [],
    "settings of items": ["--item=pooled", "--towers=[title, cover]", "--train.trackers=[]"],
    "encoders": ["--item=encoders", "--towers=[title]", "--encoders.title.adapt=lora"],
}
REFUSED = (["--train.epochs=many"], ["--train.epoch=3"], ["--towers=[a]", "--nothing"])


def forget() -> None:
    for kept in (models.config._parser_of_options, models.config._parser_of_values):
        kept.cache_clear()


def spoil(values: object) -> None:
    """Changes every list and mapping of a config in place."""
    if isinstance(values, list):
        values.append("spoilt")
    elif isinstance(values, dict):
        values["spoilt"] = "spoilt"
    elif hasattr(values, "__dict__"):
        for value in vars(values).values():
            spoil(value)


def test_a_parser_that_parsed_and_refused_much_parses_as_a_new_one(tmp_path: Path) -> None:
    whole = {}
    for name, options in OPTIONS.items():
        forget()
        whole[name] = save_run_config(parse_run_config([*BOTH, *options]))
    for wrong in REFUSED:
        with pytest.raises(UserError):
            parse_run_config([*BOTH, *wrong])
    file = tmp_path / "config.yaml"
    for name in (*OPTIONS, *reversed(OPTIONS)):
        parsed = parse_run_config([*BOTH, *OPTIONS[name]])
        assert save_run_config(parsed) == whole[name], name
        file.write_text(whole[name], encoding="utf-8")
        loaded = load_run_config(file)
        assert save_run_config(loaded) == whole[name], name
        spoil(parsed)
        spoil(loaded)
        file.write_text(whole[name] + "nothing: 1\n", encoding="utf-8")
        with pytest.raises(UserError, match="nothing"):
            load_run_config(file)


def test_settings_that_a_file_lacks_have_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("data: DATASET\noutput: RUN\nsequence: {kind: gru4rec}\ntrain.epochs: 3\n")
    options = ["--sequence.kind=gru4rec", "--train.epochs=3"]
    assert load_run_config(file) == untrusting(parse_run_config([*BOTH, *options]))


def test_one_parser_serves_the_same_kinds() -> None:
    forget()
    for _ in range(2):
        for options in ([], ["--towers=[title]"], ["--sequence.kind=gru4rec"]):
            parse_run_config([*BOTH, *options])
    kept = models.config._parser_of_options.cache_info()
    assert (kept.misses, kept.hits) == (2, 4)


def test_a_kind_is_known_from_when_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [*BOTH, "--fusion.kind=own"]
    with pytest.raises(UserError, match="own"):
        parse_run_config(own)
    with monkeypatch.context() as patch:
        patch.setitem(FUSIONS, "own", FUSIONS["concat"])
        assert parse_run_config(own).fusion.kind == "own"
    with pytest.raises(UserError, match="own"):
        parse_run_config(own)


@pytest.mark.parametrize("value", ["-1", str(2**53), str(2**70)])
@pytest.mark.parametrize("key", ["train.seed", "train.user_seed"])
def test_a_seed_that_no_generator_takes_is_refused(key: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"{key} is {value}; it must be from 0 to"):
        parse_run_config([*BOTH, f"--{key}={value}"])


def test_the_seed_of_a_run_of_faces_is_checked_too() -> None:
    with pytest.raises(UserError, match=r"train\.seed is -1; it must be from 0 to"):
        parse_face_config([*BOTH, "--train.seed=-1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.rates.base=-1"], r"train\.rates\.base is -1\.0; it must be at least 0"),
        (["--train.rates.text_adapter=-0.1"], r"train\.rates\.text_adapter is -0\.1"),
        (["--side.embedding_dim=0"], r"side\.embedding_dim is 0; it must be at least 1"),
        (["--residency.device_gib=-1"], r"residency\.device_gib is -1\.0; it must be at least 0"),
        (["--towers=[title, cover, title]"], "repeats title; name each tower once"),
        (["--item=pooled", "--towers=[id, id]"], "repeats id; name each tower once"),
    ],
)
def test_settings_that_would_not_train_what_they_say_are_refused(
    words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        parse_run_config([*BOTH, *words])


@pytest.mark.parametrize(
    "setting",
    [
        "network.width=0",
        "network.decoder_layers=0",
        "network.au_texts_weight=-1",
        "train.rates.base=-1",
    ],
)
def test_such_settings_of_a_run_of_faces_are_refused(setting: str) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(UserError, match=rf"{key} is {value}.*; it must be at least"):
        parse_face_config([*BOTH, f"--{setting}"])
