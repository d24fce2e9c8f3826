"""Sequences of users in RecBole's augmented files, whose lines are targets with their histories.

The public sets of UniSRec (arXiv 2206.05941) and MISSRec (arXiv 2308.11175) have this form: `NAME.train.inter`,
`NAME.valid.inter` and `NAME.test.inter` with the columns user_id, item_id_list (the items before the target, at most the
last 50) and item_id (the target). A user's lines are together, the longest history first or last. Each line continues the
sequence of the lines before it, so the targets alone, after the first history, are the user's sequence; every other
history is compared with it.
"""

from collections.abc import Iterator
from itertools import groupby
from sys import intern
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from prep.readers.columns import Sheet, read_columns
from prep.readers.raw import INTERACTIONS
from toolkit.errors import UserError

BATCH_ROWS = 1 << 18


class Line(NamedTuple):
    """A line of a file.

    Args:
        number: its number, from 1.
        user: user.
        history: items before the target, in order.
        target: item.
    """

    number: int
    user: str
    history: list[str]
    target: str


class Joined(NamedTuple):
    """The sequences of all users.

    Args:
        sequences: items by user, in order; users by their first line.
        lines: line of each user's first target.
        cut: users whose first history is as long as the longest of all files, so that items before it may be missing.
    """

    sequences: dict[str, list[str]]
    lines: dict[str, int]
    cut: int


def join(files: list[tuple[Sheet, dict[str, str]]]) -> Joined:
    """Joins the lines of one or several files, in this order, to one sequence per user.

    Memory holds the sequences, not the histories.

    Args:
        files: each file with the names of its columns of user, item and history.

    Raises:
        UserError: with file and line, if a history does not continue its user's sequence, or a user's lines are not
            together.
    """
    sequences: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    first_lengths: dict[str, int] = {}
    longest = 0
    for sheet, names in files:
        done: set[str] = set()
        for user, group in groupby(_lines(sheet, names), key=lambda line: line.user):
            rows = _ascending(list(group))
            if user in done:
                raise UserError(
                    f"{sheet.path}:{rows[0].number}: user {user!r} has earlier lines that are not next to this one; sort "
                    "the file by user"
                )
            done.add(user)
            longest = max(longest, *(len(row.history) for row in rows))
            if user not in sequences:
                sequences[user] = [intern(item) for item in rows[0].history]
                first_lengths[user], lines[user] = len(rows[0].history), rows[0].number
            _continue(sheet, sequences[user], rows)
    cut = sum(length == longest > 1 for length in first_lengths.values())
    return Joined(sequences, lines, cut)


def _lines(sheet: Sheet, names: dict[str, str]) -> Iterator[Line]:
    for batch in read_columns(sheet, names):
        columns = (batch.column(name).to_pylist() for name in ("line", "user", "history", "item"))
        for number, user, history, item in zip(*columns, strict=True):
            yield Line(number, user, history.split(), intern(item))


def _ascending(rows: list[Line]) -> list[Line]:
    """A user's lines, the earliest target first; RecBole's tools write either order."""
    first, last = rows[0], rows[-1]
    if len(first.history) == len(last.history) and len(rows) > 1:
        follows = rows[1].history[-1:] == [first.target]
    else:
        follows = len(first.history) <= len(last.history)
    return rows if follows else rows[::-1]


def _continue(sheet: Sheet, sequence: list[str], rows: list[Line]) -> None:
    """Appends the targets of lines whose histories are the end of the sequence so far."""
    for row in rows:
        length = len(row.history)
        if length > len(sequence) or sequence[len(sequence) - length :] != row.history:
            raise UserError(
                f"{sheet.path}:{row.number}: the history of user {row.user!r} ends with {_end(row.history)}, but the lines "
                f"before it end with {_end(sequence)}; expected train, valid and test files of one dataset, in which each "
                "line continues its user's sequence"
            )
        sequence.append(row.target)


def _end(items: list[str]) -> str:
    return " ".join(items[-3:]) if items else "no item"


def interactions(
    joined: Joined, user_ids: dict[str, str], item_ids: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    """The sequences as interactions without times, users in order.

    Args:
        joined: the sequences.
        user_ids: id of each user as the files name it.
        item_ids: id of each item as the files name it.
    """
    users: list[str] = []
    items: list[str] = []
    lines: list[int] = []
    for user, sequence in joined.sequences.items():
        users += [user_ids[user]] * len(sequence)
        items += [item_ids[item] for item in sequence]
        lines += [joined.lines[user]] * len(sequence)
        if len(users) >= BATCH_ROWS:
            yield _batch(users, items, lines)
            users, items, lines = [], [], []
    yield _batch(users, items, lines)


def _batch(users: list[str], items: list[str], lines: list[int]) -> pa.RecordBatch:
    columns = [
        pa.array(users, pa.string()),
        pa.array(items, pa.string()),
        pa.nulls(len(users), pa.int64()),
        pa.array(np.asarray(lines, np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=INTERACTIONS)
