"""Finds the tables of a dump and its media folders; `prep.readers.media_folder` finds an item's file in a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prep.readers.media_folder import is_hidden
from prep.readers.survey import Survey
from toolkit.checksums import checksum_of
from toolkit.errors import UserError


def find_file(dump: Path, pattern: str) -> Path | None:
    """The file that matches `pattern`, in the dump or one folder below it; None if there is none.

    Archives are unpacked either directly into the dump or into a folder with the archive's name.

    Raises:
        UserError: if several files match at the same level.
    """
    levels = (pattern, f"*/{pattern}")
    paths = (_only(dump, pattern, _visible(dump, level)) for level in levels)
    return next((path for path in paths if path is not None), None)


def one_file(dump: Path, pattern: str) -> Path | None:
    """The file in the dump itself that matches `pattern`, or None.

    Raises:
        UserError: if several files match.
    """
    return _only(dump, pattern, dump.glob(pattern))


def _only(dump: Path, pattern: str, paths: Iterable[Path]) -> Path | None:
    files = sorted(path for path in paths if path.is_file())
    if len(files) > 1:
        names = ", ".join(str(path.relative_to(dump)) for path in files)
        raise UserError(f"{dump}: several files match {pattern} ({names}); keep only one of them")
    return files[0] if files else None


def find_folder(dump: Path, word: str, suffix: str) -> Path | None:
    """The folder of covers or videos: its name contains `word`, and its files are of the kind of `suffix`.

    Returns the shallowest, then the first by name, or None if the dump has no such folder (`prep.readers.survey`).
    """
    return Survey(dump).find(word, suffix)


def find_files(dump: Path, pattern: str) -> list[Path]:
    """Every file within three levels that matches `pattern`, sorted by path."""
    levels = (pattern, f"*/{pattern}", f"*/*/{pattern}")
    return sorted(path for level in levels for path in _visible(dump, level) if path.is_file())


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, in the form in which `dataset.json` records inputs."""
    return checksum_of(path)._asdict()


def _visible(dump: Path, pattern: str) -> Iterator[Path]:
    """Matching paths, without hidden files and the extra files of macOS archives."""
    for path in dump.glob(pattern):
        parts = path.relative_to(dump).parts
        if not any(map(is_hidden, parts)):
            yield path
