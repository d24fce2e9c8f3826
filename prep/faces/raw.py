"""The result of every reader of faces: one row per picture, with its labels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from prep.steps.problems import Problem
from toolkit import schema
from toolkit.errors import UserError

STEP = "lists"  # the step that reads labels, as in `errors/` and `dataset.json`
_FRAME = re.compile(r"(\d{1,9})$", re.ASCII)


class Face(NamedTuple):
    """A picture of a face.

    Args:
        path: of the picture in the folder of pictures.
        labels: 0, 1 or 9 (missing) for each AU.
        intensities: 0 to 5 or 9 for each AU; None if the dump has none.
        fold: the fold that tests its subject, from 1; None for a face in no split.
    """

    path: str
    labels: tuple[int, ...]
    intensities: tuple[int, ...] | None
    fold: int | None


class PathParts(NamedTuple):
    """What the path of a picture says.

    Args:
        subject: its first folder.
        sequence: the folders between subject and picture; None without any.
        frame: the number at the end of its name; None without one.
    """

    subject: str
    sequence: str | None
    frame: int | None

    @property
    def order(self) -> tuple[str, str, int]:
        """Key that sorts pictures by subject, sequence and frame."""
        return self.subject, self.sequence or "", -1 if self.frame is None else self.frame


@dataclass(frozen=True)
class RawFaces:
    """A dump of faces as read.

    Args:
        layout: `lists` or `disfa`.
        name: of the lists, or of the folder.
        units: the AUs of the labels.
        faces: one for each picture.
        folder: of the pictures.
        files: that were read, with the names under which `dataset.json` records them.
        folds: how faces got their folds: `lists`, `published` or `assigned`.
        problems: with lines and subjects.
    """

    layout: str
    name: str
    units: tuple[int, ...]
    faces: Sequence[Face]
    folder: Path
    files: dict[str, Path]
    folds: str
    problems: Sequence[Problem]


def leaves_folder(path: str) -> bool:
    """Whether a listed path is absolute or leads out of the folder of pictures."""
    return path.startswith("/") or ".." in path.split("/") or any(c in path for c in "\\\0")


def path_parts(path: str, *, where: str) -> PathParts:
    """Subject, sequence and frame of a picture.

    >>> path_parts("F007/T1/643.jpg", where="list.txt:1")
    PathParts(subject='F007', sequence='T1', frame=643)
    >>> path_parts("SN003/0.png", where="list.txt:1")
    PathParts(subject='SN003', sequence=None, frame=0)

    Raises:
        UserError: if the path names no folder of a subject.
    """
    *folders, file = path.split("/")
    if not folders:
        raise UserError(
            f"{where}: expected SUBJECT/PICTURE or SUBJECT/SEQUENCE/PICTURE, found {path[:80]!r}; put each subject's "
            "pictures into a folder of its own"
        )
    number = _FRAME.search(file.rpartition(".")[0] or file)
    frame = int(number[1]) if number else None
    return PathParts(folders[0], "/".join(folders[1:]) or None, frame)


def as_table(faces: Iterable[Face], units: int) -> pa.Table:
    """Faces as a table with the columns of `toolkit.schema.faces` that lists decide, by subject, sequence and frame."""
    rows = [(path_parts(face.path, where=face.path), face) for face in faces]
    rows.sort(key=lambda row: (row[0].order, row[1].path))
    columns = {
        "item_id": [face.path for _, face in rows],
        "subject": [parts.subject for parts, _ in rows],
        "sequence": [parts.sequence for parts, _ in rows],
        "frame": [parts.frame for parts, _ in rows],
        "fold": [face.fold for _, face in rows],
        "labels": [face.labels for _, face in rows],
        "intensities": [face.intensities for _, face in rows],
    }
    table = schema.faces(units)
    return pa.table(
        {name: pa.array(values, table.field(name).type) for name, values in columns.items()}
    )
