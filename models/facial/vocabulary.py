"""The words of the texts about faces, and their numbers.

A token is a word or a punctuation mark, with the space before it, so that the concatenation of tokens is the text. Scripts
without spaces have a token per character.

B texts, L tokens, A action units (AUs).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex
import torch
from torch import Tensor

PAD, END, FACE = 0, 1, 2  # padding, the end of a text, and the start of a text about a face
IGNORED = -100  # target at padding and in masked texts, the default of torch's cross-entropy
_WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
_TOKEN = regex.compile(
    rf" ?(?:[{_WITHOUT_SPACES}]|[^\s\p{{P}}\p{{S}}{_WITHOUT_SPACES}]+|[\p{{P}}\p{{S}}])"
)


@dataclass(frozen=True)
class Vocabulary:
    """Numbers of tokens: padding, the end, the start of a text about a face, the start of each AU's text, then the words.

    A text about an AU begins with a token of this AU. By its embedding, a decoder that all AUs share knows which AU it
    describes.

    Args:
        aus: (A,) numbers of the AUs in FACS.
        words: all tokens of texts.
        au_tokens: largest number of tokens of a text about an AU, including the end.
        face_tokens: largest number of tokens of a text about a face, including the end.
    """

    aus: tuple[int, ...]
    words: tuple[str, ...]
    au_tokens: int
    face_tokens: int

    @classmethod
    def of_texts(
        cls, aus: Sequence[int], *, au_texts: Iterable[str], face_texts: Iterable[str]
    ) -> "Vocabulary":
        """The vocabulary of some texts, whose order does not matter.

        Args:
            aus: numbers of the AUs in FACS.
            au_texts: all texts about an AU.
            face_texts: texts about a face: the longest, and others until every word occurs.
        """
        of_aus, of_faces = ([tokens_of(text) for text in texts] for texts in (au_texts, face_texts))
        return cls(
            tuple(aus),
            words=tuple(sorted({token for tokens in of_aus + of_faces for token in tokens})),
            au_tokens=1 + max(map(len, of_aus)),
            face_tokens=1 + max(map(len, of_faces)),
        )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary of a JSON object of its fields (`dataclasses.asdict`)."""
        words = {key: tuple(settings[key]) for key in ("aus", "words")}
        return cls(**{**settings, **words})

    def __len__(self) -> int:
        return self._first_word + len(self.words)

    @property
    def au_starts(self) -> Tensor:
        """(A,) the first token of the text about each AU."""
        return torch.arange(FACE + 1, self._first_word)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text and the end.

        Raises:
            ValueError: if the text has an unknown word.

        >>> Vocabulary((12,), ("lips", " parted"), 3, 3).encode("lips parted")
        [4, 5, 1]
        """
        tokens = tokens_of(text)
        unknown = [token for token in tokens if token not in self._numbers]
        if unknown:
            raise ValueError(
                f"the vocabulary lacks {unknown[0].strip()!r}, a word of {text!r:.80}; build the vocabulary and the "
                "texts from one FACS file"
            )
        return [*(self._numbers[token] for token in tokens), END]

    def decode(self, tokens: Tensor) -> list[str]:
        """The texts of (B, L) tokens, each up to its end, without special tokens."""
        rows = (row[: row.index(END)] if END in row else row for row in tokens.tolist())
        first = self._first_word
        return [
            "".join(self.words[token - first] for token in row if token >= first) for row in rows
        ]

    @property
    def _first_word(self) -> int:
        return FACE + 1 + len(self.aus)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: self._first_word + index for index, word in enumerate(self.words)}


def tokens_of(text: str) -> list[str]:
    """The tokens of a text; a longer white space is one space.

    >>> tokens_of("The lids (both): raised.")
    ['The', ' lids', ' (', 'both', ')', ':', ' raised', '.']
    """
    return _TOKEN.findall(" ".join(text.split()))


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """(B, L) rows of tokens, padded at their ends."""
    longest = max((len(row) for row in rows), default=0)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows]).long()
