"""Layout disfa: DISFA's own files, one per AU and subject.

`ActionUnit_Labels/SN001/SN001_au1.txt` has a line `frame,intensity` for each frame of the subject's video, from frame 1, with
intensities 0 to 5. The pictures are the frames of the videos, `img/SN001/1.png`. If a subject has a picture 0, its pictures
count from 0 instead, as those of ME-GraphAU do.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prep.faces.folds import assigned_folds
from prep.faces.raw import Face, RawFaces
from prep.readers.media_folder import PICTURES
from prep.readers.raw import text_of
from prep.steps.problems import Problem
from toolkit.errors import UserError
from toolkit.facs import ACTIVE_FROM, HIGHEST_INTENSITY, MISSING, checked_units

LABELS = "ActionUnit_Labels"
WANTS = f"{LABELS}/SUBJECT/SUBJECT_au1.txt and img/SUBJECT/1.png"
_FILE = re.compile(r"(?P<subject>.+)_au(?P<unit>\d{1,3})\.txt", re.ASCII | re.IGNORECASE)
_LINE = re.compile(r"\s*(\d{1,9})\s*[,\s]\s*(\d{1,9})\s*", re.ASCII)


@dataclass(frozen=True)
class Recording:
    """The intensities of a subject.

    Args:
        frames: intensities (A,) by frame, from 1; 9 for an AU without a file.
        files: that were read.
    """

    frames: dict[int, tuple[int, ...]]
    files: list[Path]

    def by_picture(self, numbers: Sequence[int | None]) -> list[tuple[int, ...] | None]:
        """The intensities of pictures; None for one that has none.

        Args:
            numbers: all picture numbers of the subject; with a 0 among them, picture n is frame n + 1.
        """
        shift = 1 if 0 in numbers else 0
        return [None if n is None else self.frames.get(n + shift) for n in numbers]


def labels_of(intensities: Sequence[int]) -> tuple[int, ...]:
    """Labels of intensities: 1 from intensity 2, as in published results on DISFA; 9 stays 9.

    >>> labels_of([0, 1, 2, 5, 9])
    (0, 0, 1, 1, 9)
    """
    return tuple(i if i == MISSING else int(i >= ACTIVE_FROM) for i in intensities)


def find(dump: Path) -> Path | None:
    """The folder that holds `ActionUnit_Labels/`: the dump itself or at most two folders below it."""
    levels = (LABELS, f"*/{LABELS}", f"*/*/{LABELS}")
    folders = [
        path.parent for level in levels for path in sorted(dump.glob(level)) if path.is_dir()
    ]
    return folders[0] if folders else None


def read(folder: Path, units: tuple[int, ...] = ()) -> RawFaces:
    """Reads DISFA's own files.

    Args:
        folder: holds `ActionUnit_Labels/` and `img/`.
        units: the AUs to read; by default all that have files.

    Raises:
        UserError: if there are no files or pictures, or a line is malformed, with file and line.
    """
    units = units or _units_in(folder / LABELS)
    recordings = read_recordings(folder / LABELS, units)
    folds, how = assigned_folds(sorted(recordings))
    problems: list[Problem] = []
    faces: list[Face] = []
    for subject, recording in recordings.items():
        problems += _without_file(subject, recording, units)
        pictures = _pictures(folder / "img" / subject)
        shift = 1 if 0 in pictures else 0
        for frame, values in recording.frames.items():
            number = frame - shift
            path = f"{subject}/{pictures.get(number, f'{number}.png')}"
            faces.append(Face(path, labels_of(values), values, folds[subject]))
    _refuse_no_pictures(folder)
    files = [file for recording in recordings.values() for file in recording.files]
    inputs = {path.relative_to(folder).as_posix(): path for path in files}
    name = folder.resolve().name
    return RawFaces("disfa", name, units, faces, folder / "img", inputs, how, problems)


def read_recordings(folder: Path, units: tuple[int, ...]) -> dict[str, Recording]:
    """The intensities of every subject of `ActionUnit_Labels/`, by subject.

    Raises:
        UserError: if no subject has a file, the files of a subject have different frames, or a line is malformed.
    """
    recordings = {}
    for subject, files in sorted(_by_subject(folder).items()):
        read_files = {unit: files[unit] for unit in units if unit in files}
        if not read_files:
            continue
        columns = {unit: _column(path) for unit, path in read_files.items()}
        first, frames = next(iter(columns.items()))
        for unit, values in columns.items():
            if values.keys() != frames.keys():
                raise UserError(
                    f"{read_files[unit]}: has other frames ({len(values):,}) than {read_files[first].name} "
                    f"({len(frames):,}); download both again"
                )
        rows = {
            frame: tuple(columns[unit][frame] if unit in columns else MISSING for unit in units)
            for frame in frames
        }
        recordings[subject] = Recording(rows, list(read_files.values()))
    if not recordings:
        raise UserError(
            f"{folder}: no file of the AUs {', '.join(map(str, units))}; expected SUBJECT/SUBJECT_au1.txt"
        )
    return recordings


def _by_subject(folder: Path) -> dict[str, dict[int, Path]]:
    files: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*/*.txt")):
        match = _FILE.fullmatch(path.name)
        if match:
            files.setdefault(path.parent.name, {})[int(match["unit"])] = path
    return files


def _units_in(folder: Path) -> tuple[int, ...]:
    numbers = sorted({unit for files in _by_subject(folder).values() for unit in files})
    if not numbers:
        raise UserError(f"{folder}: no file of an AU; expected SUBJECT/SUBJECT_au1.txt")
    return checked_units(numbers, where=f"{folder}, by the names of its files")


def _column(path: Path) -> dict[int, int]:
    """Intensity by frame."""
    values: dict[int, int] = {}
    for line, text in enumerate(text_of(path).rstrip().split("\n"), start=1):
        match = _LINE.fullmatch(text)
        if not match:
            raise UserError(
                f"{path}:{line}: expected frame,intensity, found {text[:60]!r}; fix the line"
            )
        frame, intensity = int(match[1]), int(match[2])
        if intensity > HIGHEST_INTENSITY:
            raise UserError(
                f"{path}:{line}: intensity {intensity}, expected 0 to {HIGHEST_INTENSITY}; fix the line"
            )
        if frame in values:
            raise UserError(f"{path}:{line}: repeats frame {frame}; delete one of its lines")
        values[frame] = intensity
    return values


def _without_file(subject: str, recording: Recording, units: tuple[int, ...]) -> Iterator[Problem]:
    row = next(iter(recording.frames.values()))
    missing = [unit for unit, value in zip(units, row, strict=True) if value == MISSING]
    if missing:
        names = ", ".join(map(str, missing))
        yield Problem(None, "no_labels", f"subject {subject} has no file of the AUs {names}")


def _pictures(folder: Path) -> dict[int, str]:
    """Picture names of a subject by number."""
    if not folder.is_dir():
        return {}
    names = (path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES)
    return {int(stem): name for name in names if (stem := name.rpartition(".")[0]).isdecimal()}


def _refuse_no_pictures(folder: Path) -> None:
    if (folder / "img").is_dir():
        return
    raise UserError(
        f"{folder / 'img'}: no such folder, expected the frames of the videos as SUBJECT/1.png; write them, such as "
        "ffmpeg -i LeftVideoSN001_comp.avi img/SN001/%d.png"
    )
