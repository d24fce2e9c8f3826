import json
from dataclasses import asdict, replace
from itertools import chain, combinations

import pytest
import torch

from models.facial import Texts, Vocabulary, vocabulary_of
from models.facial.vocabulary import END, IGNORED, tokens_of
from toolkit.facs import dataset_units, facs, known_units

DISFA = dataset_units()["disfa"]
SUBSETS = list(chain.from_iterable(combinations(DISFA, n) for n in range(len(DISFA) + 1)))


def test_every_text_of_the_facs_file_is_restored_exactly():
    every = vocabulary_of(facs(), known_units())
    for au in known_units():
        for active in (False, True):
            text = facs().unit_text(au, active=active)
            tokens = every.encode(text)
            assert len(tokens) <= every.au_tokens
            assert every.decode(torch.tensor([tokens])) == [text]
    of_disfa = vocabulary_of(facs(), DISFA)
    for subset in SUBSETS:
        text = facs().face_text(subset)
        tokens = of_disfa.encode(text)
        assert len(tokens) <= of_disfa.face_tokens
        assert of_disfa.decode(torch.tensor([tokens])) == [text]


def test_the_vocabulary_depends_on_texts_alone():
    made = {"au_texts": ["a b.", "b c."], "face_texts": ["c d"]}
    one = Vocabulary.of_texts([1, 2], **made)
    other = Vocabulary.of_texts(
        [1, 2], **{key: list(reversed(value)) for key, value in made.items()}
    )
    assert one == other
    assert (one.au_tokens, one.face_tokens) == (4, 3)
    numbers = [*one.au_starts.tolist(), *one.encode("a b c d.")]
    assert numbers[-1] == END and len(set(numbers)) == len(numbers) and max(numbers) < len(one)
    assert Vocabulary.from_settings(json.loads(json.dumps(asdict(one)))) == one


def test_scripts_without_spaces_have_a_token_per_character():
    assert tokens_of("眉が上がる。") == ["眉", "が", "上", "が", "る", "。"]
    units = {
        au: replace(unit, name=f"{au}号", active=f"{au}号が動く", inactive=f"{au}号は休む")
        for au, unit in facs().units.items()
    }
    face = {
        "unit": "{name}：{phrase}。", "active": "{phrases}。", "neutral": "無表情。",
        "separator": "、", "last_separator": "と",
    }  # fmt: skip
    other = replace(facs(), units=units, face=face)
    vocabulary = vocabulary_of(other, DISFA)
    for subset in SUBSETS:
        tokens = torch.tensor([vocabulary.encode(other.face_text(subset))])
        assert vocabulary.decode(tokens) == [other.face_text(subset)]


def test_targets_are_the_texts_of_labels(texts: Texts, vocabulary: Vocabulary):
    targets = texts.targets(torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0]]))
    assert vocabulary.decode(targets.faces) == [
        facs().face_text(active) for active in ([1], [12, 25], [])
    ]
    for row, active in enumerate([[1], [12, 25], []]):
        assert vocabulary.decode(targets.aus[row]) == [
            facs().unit_text(au, active=au in active) for au in texts.aus
        ]
    assert (targets.aus == END).sum() == 9 and (targets.faces == END).sum() == 3


def test_missing_labels_mask_the_text_of_the_au_and_of_the_face(texts: Texts):
    whole = texts.targets(torch.tensor([[1, 0, 0], [0, 1, 1]]))
    targets = texts.targets(torch.tensor([[1, 9, 0], [0, 1, 1]]))
    assert (targets.aus[0, 1] == IGNORED).all() and (targets.faces[0] == IGNORED).all()
    assert torch.equal(targets.aus[:, [0, 2]], whole.aus[:, [0, 2]])
    assert torch.equal(targets.faces[1], whole.faces[1])


def test_a_vocabulary_of_other_texts_is_refused(vocabulary: Vocabulary):
    other = replace(vocabulary, words=vocabulary.words[1:])
    with pytest.raises(ValueError, match=r"lacks .* build the vocabulary and the texts from one"):
        Texts(facs(), other)
