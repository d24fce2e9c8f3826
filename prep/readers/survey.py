"""Which folders of a dump hold pictures or clips: one look at all of it.

Archives are unpacked into folders of their names, some hold a folder of the same name again, and large collections
are divided into folders of a thousand files.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from prep.readers.media_folder import is_folder, is_hidden, suffixes_like

DEPTH = 12
DEPTH_BEHIND_LINKS = 3  # a link may lead to a whole disk
NUMBERED = "-[0-9]"  # how the names of released frames end, before the suffix
TABLES = ".arrow"  # of a dataset that was built into its dump
SHOWN = 3
_NUMBERED = re.compile(NUMBERED + "$")


@dataclass
class _Folder:
    """One folder.

    Args:
        path: of it.
        parent: its index among the folders, -1 of the dump.
        levels: how many levels of folders in it are looked at.
        files: how many files have which suffix, small letters; again as "-[0-9].jpg" where they are numbered.
        below: the same, of all folders in it too.
    """

    path: Path
    parent: int
    levels: int
    files: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)


class Survey:
    """The folders of a dump, the shallowest first, then by name.

    Hidden folders are left out. A link to a folder is followed, once.

    Args:
        dump: its folder.
    """

    def __init__(self, dump: Path) -> None:
        self.dump = dump
        self.folders: list[_Folder] = []
        self.broken: dict[Path, str] = {}  # what may be a folder, and why it was not looked into
        self._seen: set[tuple[int, int]] = set()
        level = [_Folder(dump, -1, DEPTH)]
        while level:
            start = len(self.folders)
            self.folders += level
            inner = [
                found for at, folder in enumerate(level, start) for found in self._look(folder, at)
            ]
            level = sorted(inner, key=lambda folder: folder.path)
        for folder in reversed(self.folders):
            folder.below.update(folder.files)
            if folder.parent >= 0:
                self.folders[folder.parent].below.update(folder.below)

    def find(self, word: str, ending: str) -> Path | None:
        """The folder named after `word` that holds files of a kind, itself or in folders of it.

        Where a folder holds such files only in one of its folders that is named so too, it is that one.

        Args:
            word: in small letters.
            ending: a suffix, which stands for all of its kind; "-[0-9].jpg" for numbered pictures.
        """
        candidates = self._candidates(word, ending)
        return self.folders[candidates[0]].path if candidates else None

    def others(self, word: str, ending: str) -> list[str]:
        """Folders, relative to the dump, that `find` could as well have found."""
        first, *others = self._candidates(word, ending) or [0]
        depth = len(self.folders[first].path.parts)
        paths = (self.folders[at].path for at in others)
        return [str(p.relative_to(self.dump)) for p in paths if len(p.parts) == depth]

    def hints(self, words: list[str], ending: str, taken: list[Path]) -> list[str]:
        """What looks as if it were meant: folders with such files, or of such a name with others.

        Args:
            words: that the folder's name would hold.
            ending: a suffix, as for `find`.
            taken: folders that are known to hold something else.
        """
        family = _family(ending)
        told = []
        for folder in self.folders:
            if any(folder.path.is_relative_to(path) for path in taken):
                continue
            is_named = any(word in folder.path.name.lower() for word in words)
            is_named = is_named and folder.path != self.dump
            suffixes = [end for end in folder.files if end in family or (is_named and end)]
            counts = Counter(
                {
                    end: folder.files[end]
                    for end in suffixes
                    if NUMBERED not in end and end != TABLES
                }
            )
            if counts:
                held = ", ".join(f"{count:,} {end}" for end, count in counts.most_common(SHOWN))
                told.append(f"{self._shown(folder.path)} holds {held}")
        for path, reason in self.broken.items():
            if any(word in path.name.lower() for word in words):
                told.append(f"{self._shown(path)} {reason}")
        more = [f"and {len(told) - SHOWN:,} more"] if len(told) > SHOWN else []
        return told[:SHOWN] + more

    def _shown(self, path: Path) -> str:
        return "the dump itself" if path == self.dump else f"{path.relative_to(self.dump)}/"

    def _candidates(self, word: str, ending: str) -> list[int]:
        """Folders that hold such files and are named so, none of them in another."""
        family = _family(ending)
        named: list[int] = []
        inside: set[int] = {0}  # of a candidate; the dump's own name says nothing
        children: dict[int, list[int]] = {}
        for at, folder in enumerate(self.folders):
            is_named = word in folder.path.name.lower() and at > 0 and _count(folder.below, family)
            if is_named:
                children.setdefault(folder.parent, []).append(at)
            if folder.parent in inside and folder.parent != 0:
                inside.add(at)
            elif is_named:
                inside.add(at)
                named.append(at)
        return [self._innermost(at, children, family) for at in named]

    def _innermost(self, at: int, children: dict[int, list[int]], family: set[str]) -> int:
        """A folder, or the one in it that has all of its files and its name."""
        while not _count(self.folders[at].files, family) and len(children.get(at, [])) == 1:
            (at,) = children[at]
        return at

    def _look(self, folder: _Folder, at: int) -> list[_Folder]:
        """Counts a folder's files, and returns the folders in it."""
        inner: list[_Folder] = []
        try:
            about = folder.path.stat()
            if (about.st_dev, about.st_ino) in self._seen:
                return []
            self._seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    if is_hidden(entry.name):
                        continue
                    if is_folder(entry):
                        inner += self._inner(folder, at, entry)
                    else:
                        self._count(folder, entry)
        except OSError as error:
            self.broken[folder.path] = f"cannot be read ({error.strerror})"
        return inner

    def _count(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        stem, dot, suffix = entry.name.rpartition(".")
        suffix = f".{suffix.lower()}" if dot else ""
        folder.files[suffix] += 1
        if _NUMBERED.search(stem):
            folder.files[NUMBERED + suffix] += 1
        if not suffix and entry.is_symlink():
            self.broken[Path(entry.path)] = "is a link that leads to no folder"

    def _inner(self, folder: _Folder, at: int, entry: os.DirEntry[str]) -> list[_Folder]:
        levels = folder.levels - 1
        if entry.is_symlink():
            levels = min(levels, DEPTH_BEHIND_LINKS)
        return [_Folder(Path(entry.path), at, levels)] if levels >= 0 else []


def _family(ending: str) -> set[str]:
    suffix = ending.removeprefix(NUMBERED)
    return {ending.removesuffix(suffix) + other for other in suffixes_like(suffix)}


def _count(files: Counter[str], family: set[str]) -> int:
    return sum(files[ending] for ending in family if ending in files)
