"""Finds the tables of a dump, and the folders of its media (`prep.readers.media_folder` finds an item's file there)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prep.readers.media_folder import is_hidden
from prep.readers.survey import Survey
from toolkit.checksums import checksum_of
from toolkit.errors import UserError


def find_file(dump: Path, pattern: str) -> Path | None:
    """The file that matches `pattern`: in the dump, else in a folder of it; None if there is none.

    People unpack an archive into its folder, or into a folder of its name there.

    Raises:
        UserError: if several match at the same level.
    """
    levels = (pattern, f"*/{pattern}")
    found = (_only(dump, pattern, _visible(dump, level)) for level in levels)
    return next((path for path in found if path is not None), None)


def one_file(dump: Path, pattern: str) -> Path | None:
    """The file in the dump itself that matches `pattern`, or None.

    Raises:
        UserError: if several match.
    """
    return _only(dump, pattern, dump.glob(pattern))


def _only(dump: Path, pattern: str, paths: Iterable[Path]) -> Path | None:
    found = sorted(path for path in paths if path.is_file())
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(dump)) for path in found)
        raise UserError(f"{dump}: several files match {pattern} ({names}); keep the one you mean")
    return found[0] if found else None


def find_folder(dump: Path, word: str, suffix: str) -> Path | None:
    """The folder of covers or videos: named after `word`, holding files of the kind of `suffix`.

    The shallowest, then the first by name; None if the dump has no such folder (`prep.readers.survey`).
    """
    return Survey(dump).find(word, suffix)


def find_files(dump: Path, pattern: str) -> list[Path]:
    """Every file within three levels that matches `pattern`, in the order of their paths."""
    levels = (pattern, f"*/{pattern}", f"*/*/{pattern}")
    return sorted(path for level in levels for path in _visible(dump, level) if path.is_file())


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as `dataset.json` records inputs."""
    return checksum_of(path)._asdict()


def _visible(dump: Path, pattern: str) -> Iterator[Path]:
    """Matches, but for hidden ones and what macOS leaves in archives."""
    for path in dump.glob(pattern):
        parts = path.relative_to(dump).parts
        if not any(map(is_hidden, parts)):
            yield path
