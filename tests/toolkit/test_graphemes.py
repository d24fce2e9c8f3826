"""Texts are cut between grapheme clusters, at any length."""

import pytest

from prep.captioners.postprocess import cut as cut_caption
from toolkit import graphemes
from toolkit.page.plots import shortened

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # man, joiner, woman, joiner, girl
FLAG = "\U0001f1e9\U0001f1ea"
WAVE = "\U0001f44b\U0001f3fd"  # a hand and a tone of skin
ACCENTS = "e\u0301\u0323"
HANGUL = "\u1112\u1161\u11ab"  # one syllable of three letters
DEVANAGARI = "\u0928\u093f"
KEYCAP = "1\ufe0f\u20e3"
WHOLE = {
    "family": FAMILY,
    "flag": FLAG,
    "wave": WAVE,
    "accents": ACCENTS,
    "hangul": HANGUL,
    "devanagari": DEVANAGARI,
    "keycap": KEYCAP,
}


@pytest.mark.parametrize("character", WHOLE.values(), ids=WHOLE)
def test_no_character_is_cut_in_half(character):
    text = f"ab{character}cd"
    whole = {"", "a", "ab", f"ab{character}", f"ab{character}c", text}
    tail = {"", "d", "cd", f"{character}cd", f"b{character}cd", text}
    for end in range(len(text) + 1):
        for found, allowed in (
            (graphemes.cut(text, end), whole),
            (graphemes.cut_start(text, end), tail),
        ):
            assert found in allowed and len(found) <= end


@pytest.mark.parametrize("character", WHOLE.values(), ids=WHOLE)
def test_captions_and_names_are_cut_so_too(character):
    for at in range(30):
        text = "x" * at + character * 12
        assert set(cut_caption(text, 20).replace("x", "").split(character)) <= {""}
        assert set(shortened(text).replace("…", "").replace("x", "").split(character)) <= {""}


def test_two_flags_are_not_three():
    assert graphemes.cut(FLAG * 3, 5) == FLAG * 2
