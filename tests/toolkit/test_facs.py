"""The AUs of FACS: texts, the lists of the datasets, and phrase files in other languages."""

import copy

import pytest
import yaml

from toolkit.errors import UserError
from toolkit.facs import FILE, checked_units, dataset_units, facs, known_units


def test_the_lists_are_those_of_the_published_protocols():
    assert dataset_units() == {
        "bp4d": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
        "disfa": (1, 2, 4, 6, 9, 12, 25, 26),
        "disfa-all": (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26),
    }
    assert {unit for units in dataset_units().values() for unit in units} == set(known_units())


def test_a_text_states_exactly_the_units_it_was_made_from():
    language = facs()
    for number in known_units():
        for active in (True, False):
            assert language.stated(language.unit_text(number, active=active)) == {number: active}
    assert language.stated(language.face_text(known_units())) == dict.fromkeys(known_units(), True)
    assert language.stated(language.face_text([])) == {}


def test_both_phrases_of_a_unit_state_nothing():
    unit = facs().units[9]
    assert facs().stated(f"{unit.active}, {unit.inactive}") == {}


def written(path, change):
    values = copy.deepcopy(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    change(values)
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


def test_a_file_in_another_language(tmp_path):
    def translate(values):
        values["units"][12] |= {
            "name": "嘴角上扬",
            "active": "嘴角向上拉",
            "inactive": "嘴角未动",
        }
        values["face"]["neutral"] = "面部中性。"

    language = facs(written(tmp_path / "chinese.yaml", translate))
    assert language.unit_text(12, active=True) == "嘴角上扬 (zygomaticus major): 嘴角向上拉."
    assert language.face_text([]) == "面部中性。"


def test_templates_are_not_evaluated(tmp_path):
    def attack(values):
        values["face"]["active"] = "{phrases.__class__} {phrases}"

    text = facs(written(tmp_path / "odd.yaml", attack)).face_text([9])
    assert text == "{phrases.__class__} the nose is wrinkled"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["units"].pop(12), "units lacks 12"),
        (lambda v: v["units"][12].pop("active"), r"units\.12 lacks active"),
        (lambda v: v["units"].update({99: {}}), "unknown key 99"),
        (lambda v: v["units"][12].update(muscles="zygomaticus"), "must be a list of names"),
        (lambda v: v["units"][12].update(inactive="the lip"), "is contained in"),
        (lambda v: v["face"].update(active="neutral"), r"must contain \{phrases\}"),
        (lambda v: v["face"].update(neutral=""), r"face\.neutral must be a text"),
        (lambda v: v.pop("face"), "face must hold keys and values"),
    ],
)
def test_broken_files_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        facs(written(tmp_path / "broken.yaml", change))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([1, 3], "AU 3 is unknown"), ([], "no AU is listed"), ([1, 2, 1], "AU 1 is listed twice")],
)
def test_unit_lists_are_checked(numbers, message):
    with pytest.raises(UserError, match=message):
        checked_units(numbers, where="--aus")
