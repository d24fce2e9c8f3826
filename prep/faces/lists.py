"""Layout lists: the lists of ME-GraphAU (CVI-SZU/ME-GraphAU) for BP4D and DISFA.

`img/` holds the pictures. `list/DS_{train|test}_img_path_fold{k}.txt` has a path per line, relative to `img/`, and
`list/DS_{train|test}_label_fold{k}.txt` on the same line its labels: 0, 1 or 9 (missing) for each AU, separated by spaces.
Fold k is the part of the subjects that the test lists of fold k have. If DISFA's own files are beside `img/`, intensities
are read from them.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prep.faces import disfa
from prep.faces.raw import Face, RawFaces, leaves_folder, path_parts
from prep.readers.raw import text_of
from prep.steps.problems import Problem
from toolkit.errors import UserError
from toolkit.facs import MISSING, dataset_units

WANTS = "list/DS_{train|test}_{img_path|label}_fold{k}.txt and img/"
_LIST = re.compile(
    r"(?P<name>.+)_(?P<split>train|test)_(?P<what>img_path|label)_fold(?P<fold>[1-9])\.txt",
    re.ASCII,
)
_LABELS = {"0": 0, "1": 1, "9": MISSING}
_SPLITS = ("test", "train")


@dataclass
class _Listed:
    """What the lists say.

    Args:
        labels: by path, as first listed.
        folds: by subject and split, the folds of the lists that have it.
        problems: with lines.
    """

    labels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    folds: dict[str, dict[str, set[int]]] = field(
        default_factory=lambda: defaultdict(lambda: {split: set() for split in _SPLITS})
    )
    problems: list[Problem] = field(default_factory=list)


def find(dump: Path) -> Path | None:
    """The folder that holds `list/` and `img/`: the dump itself or at most two folders below it.

    Raises:
        UserError: if there are several.
    """
    levels = ("list", "*/list", "*/*/list")
    folders = sorted(
        path.parent
        for level in levels
        for path in dump.glob(level)
        if path.is_dir() and any(_LIST.fullmatch(file.name) for file in path.iterdir())
    )
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(dump)) for folder in folders)
        raise UserError(
            f"{dump}: has the lists of several datasets ({names}); give one of these folders"
        )
    return folders[0] if folders else None


def read(folder: Path, units: tuple[int, ...] = ()) -> RawFaces:
    """Reads the lists in a folder that `find` returned.

    Args:
        folder: holds `list/` and `img/`.
        units: the AUs of the columns of labels; by default those that the name of the lists tells.

    Raises:
        UserError: if a list is missing, empty or malformed, with file and line, or `img/` is missing.
    """
    files = _files(folder / "list")
    name = next(iter(files.values())).name.partition("_test_")[0].partition("_train_")[0]
    units = units or _units_of(name, folder)
    if not (folder / "img").is_dir():
        raise UserError(f"{folder / 'img'}: no such folder; put the pictures of the lists there")
    listed = _Listed()
    folds = sorted({fold for _, fold, _ in files})
    for split in _SPLITS:
        for fold in folds:
            paths, labels = (files[split, fold, what] for what in ("img_path", "label"))
            seen: set[str] = set()
            for where, path, values in _pairs(paths, labels, units):
                _add(listed, where, path, values, split, fold)
                if path in seen:
                    message = f"{where.rpartition('/')[2]}: repeats {path}; it counts once"
                    listed.problems.append(Problem(path, "duplicate_id", message))
                seen.add(path)
    fold_of = dict(_fold_of_subjects(listed))
    intensities, more_files, problems = _intensities(folder, listed.labels, units)
    faces = [
        Face(path, labels, intensities.get(path), fold_of[path_parts(path, where=path).subject])
        for path, labels in listed.labels.items()
    ]
    inputs = {path.relative_to(folder).as_posix(): path for path in [*files.values(), *more_files]}
    everything = [*listed.problems, *problems]
    return RawFaces("lists", name, units, faces, folder / "img", inputs, "lists", everything)


def _files(folder: Path) -> dict[tuple[str, int, str], Path]:
    """The lists by split, fold and content, all of one dataset.

    Raises:
        UserError: if they belong to several datasets, or one is missing.
    """
    matches = [match for path in sorted(folder.iterdir()) if (match := _LIST.fullmatch(path.name))]
    names = sorted({match["name"] for match in matches})
    if len(names) > 1:
        raise UserError(f"{folder}: has lists of {', '.join(names)}; keep those of one dataset")
    files = {(m["split"], int(m["fold"]), m["what"]): folder / m[0] for m in matches}
    for split in _SPLITS:
        for fold in sorted({fold for _, fold, _ in files}):
            for what in ("img_path", "label"):
                if (split, fold, what) not in files:
                    missing = f"{names[0]}_{split}_{what}_fold{fold}.txt"
                    raise UserError(f"{folder / missing}: the list is missing; download it again")
    return files


def _units_of(name: str, folder: Path) -> tuple[int, ...]:
    for known in ("bp4d", "disfa"):
        if known in name.lower():
            return dataset_units()[known]
    raise UserError(
        f"{folder}: the name of the lists, {name!r}, is neither of BP4D nor of DISFA, so the AUs of their columns are "
        "unknown; give them, such as --aus 1,2,4"
    )


def _pairs(
    paths: Path, labels: Path, units: tuple[int, ...]
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yields file and line, path and labels of each picture of a pair of lists."""
    listed, values = (text_of(path).rstrip().split("\n") for path in (paths, labels))
    if len(listed) != len(values):
        raise UserError(
            f"{labels}: {len(values):,} lines, but {paths.name} has {len(listed):,}; expected a line of labels for each "
            "path, so download both again"
        )
    for line, (path, row) in enumerate(zip(listed, values, strict=True), start=1):
        yield (
            f"{paths}:{line}",
            posixpath.normpath(path.strip()),
            _labels(row, units, where=f"{labels}:{line}"),
        )


def _labels(row: str, units: tuple[int, ...], *, where: str) -> tuple[int, ...]:
    words = row.split()
    if len(words) != len(units):
        raise UserError(
            f"{where}: {len(words)} labels, expected {len(units)}, for the AUs {' '.join(map(str, units))}; fix the "
            "line, or give the AUs of the columns with --aus"
        )
    unknown = next((word for word in words if word not in _LABELS), None)
    if unknown is not None:
        raise UserError(
            f"{where}: label {unknown[:20]!r}, expected 0, 1 or 9 (missing); convert intensities to labels first"
        )
    return tuple(_LABELS[word] for word in words)


def _add(
    listed: _Listed, where: str, path: str, labels: tuple[int, ...], split: str, fold: int
) -> None:
    line = where.rpartition("/")[2]
    if leaves_folder(path):
        message = f"{line}: {path[:200]!r} would leave img/; left out"
        listed.problems.append(Problem(path, "unsafe", message))
        return
    subject = path_parts(path, where=where).subject
    listed.folds[subject][split].add(fold)
    known = listed.labels.setdefault(path, labels)
    if known != labels:
        message = f"{line}: {path} has other labels than in an earlier list; the first are kept"
        listed.problems.append(Problem(path, "other_labels", message))


def _fold_of_subjects(listed: _Listed) -> Iterator[tuple[str, int | None]]:
    """Yields each subject with its fold; None if its lists contradict each other, which becomes a problem."""
    for subject, folds in sorted(listed.folds.items()):
        tested, both = sorted(folds["test"]), sorted(folds["test"] & folds["train"])
        if len(tested) > 1 or both:
            where = f"in train and test lists of fold {_joined(both)}"
            if len(tested) > 1:
                where = f"in the test lists of the folds {_joined(tested)}"
            message = f"subject {subject} is {where}; its faces are in no fold"
            listed.problems.append(Problem(None, "two_folds", message))
        elif not tested:
            message = f"subject {subject} is in no test list; its faces are in no fold"
            listed.problems.append(Problem(None, "no_fold", message))
        yield subject, tested[0] if len(tested) == 1 and not both else None


def _joined(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


def _intensities(
    folder: Path, labels: Mapping[str, tuple[int, ...]], units: tuple[int, ...]
) -> tuple[dict[str, tuple[int, ...]], list[Path], list[Problem]]:
    """Intensities by path from DISFA's own files, if there are any; the files; and contradictions with the labels."""
    own = folder / disfa.LABELS
    if not own.is_dir():
        return {}, [], []
    recordings = disfa.read_recordings(own, units)
    by_subject = defaultdict(list)
    for path in labels:
        parts = path_parts(path, where=path)
        by_subject[parts.subject].append((path, parts.frame))
    found, problems = {}, []
    for subject, pictures in by_subject.items():
        if subject not in recordings:
            continue
        values = recordings[subject].by_picture([frame for _, frame in pictures])
        known = {path: row for (path, _), row in zip(pictures, values, strict=True) if row}
        other = sum(disfa.labels_of(row) != labels[path] for path, row in known.items())
        if other and any(MISSING not in labels[path] for path in known):
            message = f"subject {subject}: the labels of {other:,} of {len(known):,} faces are not intensity >= 2"
            problems.append(Problem(None, "other_intensities", message))
        found.update(known)
    files = [file for recording in recordings.values() for file in recording.files]
    return found, files, problems
