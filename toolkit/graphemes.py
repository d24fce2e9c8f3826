"""Cuts text between grapheme clusters: an emoji of several code points, a flag, a letter with its accents.

The `regex` package implements Unicode's rules for grapheme clusters (`\\X`).
"""

import regex


def whole_end(text: str, end: int) -> int:
    """The last position at or before `end` that is between two grapheme clusters.

    Args:
        text: any text.
        end: position in the text, in code points, at least 0.

    >>> whole_end("ab", 1), whole_end("e\\u0301x", 1), whole_end("\\U0001f1e9\\U0001f1ea!", 1)
    (1, 0, 0)
    """
    if end >= len(text):
        return len(text)
    last = 0
    for character in regex.finditer(r"\X", text):
        if character.end() > end:
            break
        last = character.end()
    return last


def cut(text: str, characters: int) -> str:
    """The beginning of a text: at most `characters` code points, without splitting a grapheme cluster.

    >>> cut("cafe\\u0301 noir", 4)
    'caf'
    """
    return text[: whole_end(text, characters)]


def cut_start(text: str, characters: int) -> str:
    """The end of a text: at most `characters` code points, without splitting a grapheme cluster.

    >>> cut_start("noir cafe\\u0301", 1)
    ''
    """
    first = max(len(text) - characters, 0)
    begin = whole_end(text, first)
    if begin == first:
        return text[begin:]
    match = regex.match(r"\X", text, pos=begin)
    return text[match.end() :] if match else ""
