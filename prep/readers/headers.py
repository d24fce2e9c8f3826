"""Detects header lines, in the same way for every layout.

Public dumps come with and without a header, as pandas, Excel and other programs write it: in quotes, with an index
column, with spaces after the commas, in another order, in capitals, with `;` or tabs as separators. A header that
is read as data misaligns ids and titles silently. A line that may be a header but is not understood is therefore
refused.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import UserError

SEPARATORS = (",", "\t", ";", "|")

# Column names in lower case, without spaces, dashes, underscores and quotes.
_ITEM = """item itemid items video videoid vid id iid asin parentasin product productid movie movieid news newsid
    track trackid song songid book bookid business businessid photo photoid note noteid goods goodsid article articleid"""
_NAMES: dict[str, frozenset[str]] = {
    role: frozenset(names.split())
    for role, names in {
        "item": _ITEM,
        "user": "user userid users uid customer customerid member memberid reviewer reviewerid visitor visitorid",
        "time": "time timestamp timestamps ts date datetime timestampms timems unixtime unixreviewtime created createdat",
        "title": "title titles name itemtitle itemname videotitle entitle titleen englishtitle titleenglish "
        "productname producttitle movietitle newstitle caption text english en",
        "zh": "zh cn chinese zhtitle titlezh cntitle titlecn chinesetitle titlechinese title name rawtitle",
        "en": "en english entitle titleen englishtitle titleenglish title name",
        "abstract": "abstract description summary body text",
        "likes": "likes like likescount likecount",
        "views": "views view viewscount viewcount plays playcount",
        "tag": "tag tags category categories genre genres label topic summary tagstosummary",
        "text": "text comment comments content commenten commenttext review",
        "items": "items item itemids itemid history sequence seq itemseq itemlist videos videoids behaviour behavior "
        "interactions",
    }.items()
}
_INDEX = frozenset(
    {"", "unnamed0", "index", "level0", "indexlevel0", "rowid", "rowname", "rownames", "row", "no"}
)
_EVERY_NAME = frozenset().union(*_NAMES.values()) | (_INDEX - {""})


@dataclass(frozen=True)
class Header:
    """A header line.

    Args:
        separator: field separator of the header and the rows.
        width: number of columns.
        columns: index of the column of each role.
        spaced: whether spaces follow the separators.
    """

    separator: str
    width: int
    columns: dict[str, int]
    spaced: bool = False


def simple(name: str) -> str:
    """Normalises a column name for comparison: `"Item ID"` and `item_id` are equal.

    >>> simple('"Unnamed: 0"'), simple("videoID"), simple(" item_id:token")
    ('unnamed0', 'videoid', 'itemidtoken')
    """
    return re.sub(r"[\s_\-.:\"'\ufeff]", "", name).lower()


def fields_of(line: str, separator: str) -> list[str]:
    """The fields of one CSV line, with CSV quoting and without spaces after separators."""
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return line.split(separator)


def find_header(line: str, roles: Sequence[str]) -> Header | None:
    """Parses a header line; returns None if the line does not name a column for each role.

    Args:
        line: first line of a file.
        roles: keys of `_NAMES`, in the layout's order.
    """
    for separator in SEPARATORS:
        fields = fields_of(line, separator)
        columns = _assign_columns([simple(field) for field in fields], roles)
        if columns is not None:
            return Header(separator, len(fields), columns, f"{separator} " in line)
    return None


def _assign_columns(names: list[str], roles: Sequence[str]) -> dict[str, int] | None:
    """Assigns a column to each role, beginning with the role that fits the fewest columns."""
    if len(names) < len(roles):
        return None
    columns: dict[str, int] = {}
    fits = {role: [at for at, name in enumerate(names) if name in _NAMES[role]] for role in roles}
    for role in sorted(roles, key=lambda role: len(fits[role])):
        free = [at for at in fits[role] if at not in columns.values()]
        if not free:
            return None
        columns[role] = free[0]
    return columns


def header_or_none(
    path: Path, lines: Sequence[str], roles: Sequence[str], *, form: str, separator: str = ","
) -> Header | None:
    """The header of a file whose layout does not require a header; None if the first line is a row.

    Args:
        path: the file, for messages.
        lines: first lines of the file, up to a few hundred; blank lines are ignored.
        roles: roles of the columns, in the layout's order.
        form: expected form of a row, for messages.
        separator: field separator of the layout.

    Raises:
        UserError: if the first line looks like a header but does not name a column for each role.
    """
    filled = [line for line in lines if line.strip()]
    if not filled:
        return None
    header = find_header(filled[0], roles)
    if header is None and _may_be_header(filled, roles, separator):
        raise UserError(
            f"{path}:1: the header is {filled[0].strip()[:80]!r}, expected {form!r} (or no header at all); "
            "rename its columns, or delete the line if it is not a header"
        )
    if header is None and _is_indexed(filled, separator):
        raise UserError(
            f"{path}:1: every line begins with its line number and another number ({filled[0][:60]!r}), which looks "
            f"like the index of a data frame, expected {form!r}; write the file without the index (index=False)"
        )
    return header


def _may_be_header(lines: Sequence[str], roles: Sequence[str], separator: str) -> bool:
    """Whether the first line looks like a header: it has known names, or only the other lines begin with numbers."""
    own = fields_of(lines[0], separator)
    if _starts_with_names(own, roles):
        return True
    firsts = [line.partition(separator)[0].strip() for line in lines[1:]]
    numbers = len(firsts) >= 2 and all(_is_number(first) for first in firsts)
    return numbers and not _is_number(own[0].strip())


def _starts_with_names(fields: list[str], roles: Sequence[str]) -> bool:
    names = [simple(field) for field in fields]
    if (
        len(names) > 1
        and names[0] in _INDEX
        and (names[0] or any(n in _EVERY_NAME for n in names[1:]))
    ):
        return True
    wide = len(names) == len(roles)
    second = wide and len(names) > 1 and names[1] in _NAMES[roles[1]]
    return (
        names[0] in _NAMES[roles[0]]
        or second
        or (len(names) > 1 and all(n in _EVERY_NAME for n in names))
    )


def _is_number(field: str) -> bool:
    return re.fullmatch(r"\"?\d+(\.0*)?\"?", field) is not None


def _is_indexed(lines: Sequence[str], separator: str) -> bool:
    """Whether every line begins with its index from 0 and a number: a data frame's index without a header."""
    if len(lines) < 3:
        return False
    rows = [line.split(separator, 2) for line in lines]
    return all(
        len(row) == 3 and row[0] == str(number) and _is_number(row[1].strip())
        for number, row in enumerate(rows)
    )


def roles_of(names: Sequence[str], roles: Sequence[str]) -> Mapping[str, int]:
    """The index of the first column for each role that the names match."""
    plain = [simple(name) for name in names]
    fits = {role: [at for at, name in enumerate(plain) if name in _NAMES[role]] for role in roles}
    return {role: columns[0] for role, columns in fits.items() if columns}
