"""Finds an item's cover or clip in the dump, without ever leaving it."""

from pathlib import Path

from prep.problems import ItemProblem
from toolkit.ids import is_safe


def find_folder(dump: Path, word: str, suffix: str) -> Path | None:
    """The folder of covers or videos: within two levels, named after `word`, holding `*suffix`.

    The shallowest, then the first by name; None if the dump has no such folder.
    """
    for pattern in ("*", "*/*"):
        for folder in sorted(dump.glob(pattern)):
            if word in folder.name.lower() and folder.is_dir() and any(folder.glob(f"*{suffix}")):
                return folder
    return None


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
