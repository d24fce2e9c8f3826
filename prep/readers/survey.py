"""Surveys a dump in one pass to find the folders that hold pictures or clips.

Archives are unpacked into folders with their names, some archives contain a folder with the same name again, and
large collections are divided into folders of a thousand files.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from prep.readers.media_folder import is_folder, is_hidden, suffixes_like

DEPTH = 12
DEPTH_BEHIND_LINKS = 3  # a link may lead to a whole disk
NUMBERED = "-[0-9]"  # end of the names of released frames, before the suffix
TABLES = ".arrow"  # tables of a dataset that lies inside its dump
SHOWN = 3
_NUMBERED = re.compile(NUMBERED + "$")


@dataclass
class _Folder:
    """A folder and the numbers of its files.

    Args:
        path: path of the folder.
        parent: index of the parent folder; -1 for the dump itself.
        levels: number of levels below that are surveyed.
        files: number of files by suffix in lower case; numbered files also count as "-[0-9].jpg".
        below: the same, including all subfolders.
    """

    path: Path
    parent: int
    levels: int
    files: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)


class Survey:
    """The folders of a dump, sorted by depth, then by name.

    Hidden folders are skipped. Each link to a folder is followed once.

    Args:
        dump: folder of the dump.
    """

    def __init__(self, dump: Path) -> None:
        self.dump = dump
        self.folders: list[_Folder] = []
        self.broken: dict[Path, str] = {}  # paths that could not be read as folders, with reasons
        self._seen: set[tuple[int, int]] = set()
        level = [_Folder(dump, -1, DEPTH)]
        while level:
            start = len(self.folders)
            self.folders += level
            inner = [
                child for at, folder in enumerate(level, start) for child in self._look(folder, at)
            ]
            level = sorted(inner, key=lambda folder: folder.path)
        for folder in reversed(self.folders):
            folder.below.update(folder.files)
            if folder.parent >= 0:
                self.folders[folder.parent].below.update(folder.below)

    def find(self, word: str, ending: str) -> Path | None:
        """The folder whose name contains `word` and that holds files of a kind, directly or in subfolders.

        If all such files lie in one subfolder whose name contains `word` too, the subfolder is returned.

        Args:
            word: part of the name, in lower case.
            ending: a suffix, which stands for all suffixes of its kind; "-[0-9].jpg" for numbered pictures.
        """
        candidates = self._candidates(word, ending)
        return self.folders[candidates[0]].path if candidates else None

    def others(self, word: str, ending: str) -> list[str]:
        """Other folders at the same depth that match as well as the result of `find`, relative to the dump."""
        first, *others = self._candidates(word, ending) or [0]
        depth = len(self.folders[first].path.parts)
        paths = (self.folders[at].path for at in others)
        return [str(p.relative_to(self.dump)) for p in paths if len(p.parts) == depth]

    def hints(self, words: list[str], ending: str, taken: list[Path]) -> list[str]:
        """Descriptions of similar folders: folders with such files, or with such a name but other files.

        Args:
            words: possible parts of the folder's name.
            ending: a suffix, as for `find`.
            taken: folders that are already used for other media.
        """
        family = _family(ending)
        hints = []
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
                hints.append(f"{self._shown(folder.path)} holds {held}")
        for path, reason in self.broken.items():
            if any(word in path.name.lower() for word in words):
                hints.append(f"{self._shown(path)} {reason}")
        more = [f"and {len(hints) - SHOWN:,} more"] if len(hints) > SHOWN else []
        return hints[:SHOWN] + more

    def _shown(self, path: Path) -> str:
        return "the dump itself" if path == self.dump else f"{path.relative_to(self.dump)}/"

    def _candidates(self, word: str, ending: str) -> list[int]:
        """Indices of folders with such files and a name that contains `word`; none lies inside another."""
        family = _family(ending)
        named: list[int] = []
        inside: set[int] = {0}  # folders inside a candidate; the name of the dump itself is ignored
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
        """Descends from a folder without such files into its only candidate subfolder, repeatedly."""
        while not _count(self.folders[at].files, family) and len(children.get(at, [])) == 1:
            (at,) = children[at]
        return at

    def _look(self, folder: _Folder, at: int) -> list[_Folder]:
        """Counts the files of a folder and returns its subfolders."""
        inner: list[_Folder] = []
        try:
            status = folder.path.stat()
            if (status.st_dev, status.st_ino) in self._seen:
                return []
            self._seen.add((status.st_dev, status.st_ino))
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
            self.broken[Path(entry.path)] = "is a link, but not to a folder"

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
