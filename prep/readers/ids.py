"""Ids of a dump: surrounding spaces are ignored, every other character counts.

`1`, `01` and `1.0` are three different ids. `look_alike` finds examples for messages if the ids of two files differ.
"""

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_AROUND = r"^[\s\p{Z}\x{FEFF}\x{200B}]+|[\s\p{Z}\x{FEFF}\x{200B}]+$"


def trimmed_ids(ids: pa.Array) -> pa.Array:
    """Ids without surrounding white space, no-break spaces and byte order marks.

    Args:
        ids: strings, possibly with nulls.
    """
    data = ids.buffers()[2]
    if data is None:
        return ids
    codes = np.frombuffer(data, np.uint8)
    # White space is a byte up to 32 or begins with a non-ASCII byte; most files have none and need no copy.
    if not np.any((codes <= 32) | (codes >= 128)):
        return ids
    return pc.replace_substring_regex(ids, _AROUND, "")


def look_alike(
    left: Iterable[str], right: Iterable[str], *, loosely: bool = False
) -> tuple[str, str, str] | None:
    """A pair of ids that look alike, one from each side, and how they differ; None if there is none.

    Args:
        left: ids of one side.
        right: ids of the other side.
        loosely: whether ids with the same number among other characters match, such as `item_7` and `7`.

    >>> look_alike(["1.0"], ["7", "1"])
    ('1.0', '1', 'the same number, as a decimal')
    >>> look_alike(["a"], ["b"]) is None
    True
    """
    left, right = list(left), list(right)
    for why, simple in (_ALIKE | (_LOOSELY if loosely else {})).items():
        known = {simple(id_): id_ for id_ in right}
        for id_ in left:
            other = known.get(simple(id_))
            if other is not None and other != id_:
                return id_, other, why
    return None


def _as_number(id_: str) -> str:
    return re.sub(r"[.,]0*$", "", id_)


def _unpadded(id_: str) -> str:
    return _as_number(id_).lstrip("0") or "0" if id_[:1].isdigit() else id_


def _expanded(id_: str) -> str:
    if not re.fullmatch(r"\d+([.,]\d*)?[eE][+]?\d{1,2}", id_):
        return _unpadded(id_)
    mantissa, exponent = re.split("[eE]", id_.replace(",", "."))
    return f"{float(mantissa) * 10 ** int(exponent):.0f}"


def _bare(id_: str) -> str:
    return re.sub(r"[\s\"'`\[\](){}\u200b\ufeff]|\.(jpe?g|png|mp4|webm)$", "", id_.casefold())


_ALIKE = {
    "the same number, as a decimal": _as_number,
    "the same number, with leading zeros": _unpadded,
    "the same number, written with an exponent": _expanded,
    "the same except for case, quotes, brackets or a suffix": _bare,
}
_LOOSELY = {
    "the same except for the characters around the number": lambda id_: (
        _unpadded(numbers[0]) if len(numbers := re.findall(r"\d+", id_)) == 1 else id_
    ),
}
