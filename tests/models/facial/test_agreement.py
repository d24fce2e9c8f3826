import math

import pytest

from models.facial.agreement import agreement
from toolkit.facs import dataset_units, facs, known_units

AUS = dataset_units()["disfa"]


def face_texts(states):
    return [facs().face_text([au for au, on in zip(AUS, row, strict=True) if on]) for row in states]


def au_texts(states):
    return [
        [facs().unit_text(au, active=on) for au, on in zip(AUS, row, strict=True)] for row in states
    ]


def test_every_phrase_is_parsed_as_its_au_and_state():
    for au in known_units():
        for active in (False, True):
            text = facs().unit_text(au, active=active)
            assert facs().stated(text) == {au: active}
            others = [[facs().unit_text(au, active=not active)]]
            assert agreement(facs(), [au], [[active]], au_texts=[[text]]).au_texts == 1
            assert agreement(facs(), [au], [[active]], au_texts=others).au_texts == 0


def test_texts_of_the_predictions_agree_and_others_do_not():
    states = [[bool(n >> k & 1) for k in range(8)] for n in range(256)]
    same = agreement(facs(), AUS, states, au_texts=au_texts(states), face_texts=face_texts(states))
    assert same.per_au.tolist() == [1] * 8
    assert (same.au_texts, same.face_texts, same.named_precision, same.named_recall) == (1, 1, 1, 1)
    opposite = [[not on for on in row] for row in states]
    none = agreement(
        facs(), AUS, opposite, au_texts=au_texts(states), face_texts=face_texts(states)
    )
    assert (none.au_texts, none.face_texts, none.named_precision, none.named_recall) == (0, 0, 0, 0)


def test_shares():
    states = [[True, False], [True, True]]
    said = [
        [facs().unit_text(1, active=True), facs().unit_text(12, active=True)],
        [facs().unit_text(1, active=True), facs().unit_text(2, active=True)],  # of another AU
    ]
    faces = [facs().face_text([1, 12]), facs().face_text([1])]
    found = agreement(facs(), [1, 12], states, au_texts=said, face_texts=faces)
    assert found.per_au.tolist() == [1, 0] and found.au_texts == 0.5
    assert found.face_texts == 0
    assert found.named_precision == 2 / 3 and found.named_recall == 2 / 3


def test_only_the_neutral_text_names_nothing():
    for text, share in {facs().face_text([]): 1, "": 0, "In this face, and.": 0}.items():
        found = agreement(facs(), [1, 12], [[False, False]], face_texts=[text])
        assert found.face_texts == share
        assert math.isnan(found.named_precision) and math.isnan(found.named_recall)
        assert math.isnan(found.au_texts)
    both = f"{facs().face_text([])} {facs().face_text([1])}"
    assert agreement(facs(), [1], [[True]], face_texts=[both]).face_texts == 0


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"predictions of shape \(1, 1\); expected \(faces, 8\)"):
        agreement(facs(), AUS, [[True]])
    with pytest.raises(ValueError, match="texts of 2 faces, but predictions of 1"):
        agreement(facs(), [1], [[True]], face_texts=["", ""])
