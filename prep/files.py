"""Finds the files of a dump, and in them an item's own, without ever leaving it."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prep.problems import ItemProblem
from toolkit.errors import UserError
from toolkit.ids import is_safe


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
    """The folder of covers or videos: within three levels, named after `word`, holding `*suffix`.

    The shallowest, then the first by name; None if the dump has no such folder. Archives are
    unpacked into folders of their names, and some hold a folder of the same name again.
    """
    for level in ("*/", "*/*/", "*/*/*/"):  # the last slash: folders alone
        for folder in sorted(_visible(dump, level)):
            if word in folder.name.lower() and any(folder.glob(f"*{suffix}")):
                return folder
    return None


def find_files(dump: Path, pattern: str) -> list[Path]:
    """Every file within three levels that matches `pattern`, in the order of their paths."""
    levels = (pattern, f"*/{pattern}", f"*/*/{pattern}")
    return sorted(path for level in levels for path in _visible(dump, level) if path.is_file())


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as `dataset.json` records inputs."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _visible(dump: Path, pattern: str) -> Iterator[Path]:
    """Matches, but for hidden ones and what macOS leaves in archives."""
    for path in dump.glob(pattern):
        parts = path.relative_to(dump).parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield path


def locate(dump: Path, folder: Path, item_id: str, suffix: str) -> Path:
    """The file of one item, not empty and inside the dump.

    Args:
        dump: what no file may lead out of, symbolic links followed.
        folder: where the files lie.
        item_id: the item.
        suffix: with its dot.

    Raises:
        ItemProblem: unsafe, missing or empty.
    """
    path = folder / f"{item_id}{suffix}"
    if not is_safe(item_id):
        raise ItemProblem("unsafe", f"item id {item_id!r} would leave {folder.name}/")
    if not path.is_symlink() and not path.exists():
        raise ItemProblem("missing", f"{folder.name}/{path.name} is not in the dump")
    target = path.resolve()
    if not target.is_relative_to(dump.resolve()):
        raise ItemProblem("unsafe", f"{folder.name}/{path.name} leads out of the dump, to {target}")
    if not target.is_file():
        raise ItemProblem("missing", f"{folder.name}/{path.name} leads to no file")
    if target.stat().st_size == 0:
        raise ItemProblem("empty", f"{folder.name}/{path.name} has zero bytes")
    return target
