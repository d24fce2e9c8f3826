"""The pictures or clips of a folder by item: listed once, and never left.

One listing answers for all items, so that a name is never asked of the file system: no id is too long for it, and a
hundred thousand items with fifteen suffixes cost one pass over the folder.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prep.readers.sniff import unreadable
from prep.steps.problems import ItemProblem
from toolkit.ids import is_safe

# In the order of preference where an item has several files. Capitals count as small letters.
PICTURES = [
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".jp2",
    ".ico",
]
CLIPS = [
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".flv",
    ".wmv",
    ".3gp",
    ".ogv",
]
LITTER = "__MACOSX"  # what macOS leaves in archives
SHOWN_LETTERS = 80  # of an item id in a message
SHOWN_FOLDERS = 3


def suffixes_like(suffix: str) -> list[str]:
    """All suffixes of the kind of file that one suffix stands for, the preferred one first.

    Raises:
        ValueError: if it is neither of pictures nor of clips.
    """
    for family in (PICTURES, CLIPS):
        if suffix in family:
            return family
    raise ValueError(f"suffix {suffix!r} is none of {', '.join((*PICTURES, *CLIPS))}")


@dataclass
class _Listing:
    """What a folder holds.

    Args:
        files: the path, relative to the folder, of the preferred file of each name without its suffix.
        normal: the same for names beyond ASCII, by their composed form (NFC).
        others: a file of each name that has another suffix.
        unread: folders in it that were not looked into, and why.
    """

    files: dict[str, str] = field(default_factory=dict)
    normal: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


class MediaFolder:
    """Finds the file of an item in a folder, and in the folders in it.

    The folder may be a link to another disk: whoever made the link meant it. A link in it to a single file or
    to a folder counts only where it stays in the folder or in the dump.

    The folder is listed at the first question; a copy in another process lists it anew.

    Args:
        dump: the dump's folder.
        path: where the files lie.
        suffixes: of such files, small letters, the preferred first.
    """

    def __init__(self, dump: Path, path: Path, suffixes: list[str]) -> None:
        self.dump, self.path, self.suffixes = dump, path, suffixes

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("dump", "path", "suffixes")}

    def __repr__(self) -> str:
        return f"MediaFolder({self.path})"

    def locate(self, item_id: str, ending: str = "") -> Path:
        """The file of one item: readable in principle, not empty, inside the folder or the dump.

        Args:
            item_id: the item.
            ending: what follows the id in the file's name, before its suffix.

        Raises:
            ItemProblem: unsafe, missing or empty.
        """
        if not is_safe(item_id):
            raise ItemProblem("unsafe", f"item id {item_id!r} would leave {self.path.name}/")
        name = self._name_of(item_id + ending)
        where = f"{self.path.name}/{name}"
        path = self._roots[0] / name
        try:
            about = path.lstat()
            if stat.S_ISLNK(about.st_mode):
                path = self._target(path, where)
                about = path.stat()
        except FileNotFoundError:
            raise ItemProblem("missing", f"{where} has gone since it was listed") from None
        except OSError as error:
            raise ItemProblem("missing", unreadable(path, error)) from None
        if not stat.S_ISREG(about.st_mode):
            raise ItemProblem("missing", f"{where} leads to no file but to a {_kind_of(about)}")
        if about.st_size == 0:
            raise ItemProblem("empty", f"{where} has zero bytes")
        return path

    def _name_of(self, stem: str) -> str:
        """The file of a name without its suffix, relative to the folder."""
        listing = self._listing
        name = listing.files.get(stem)
        if name is None and not stem.isascii():
            name = listing.normal.get(unicodedata.normalize("NFC", stem))
        if name is not None:
            return name
        shown = stem if len(stem) <= SHOWN_LETTERS else f"{stem[:SHOWN_LETTERS]}…"
        message = f"{self.path.name}/{shown}{self.suffixes[0]} is not in the dump"
        if stem in listing.others:
            message += f", but {listing.others[stem]} is; suffixes are {' '.join(self.suffixes)}"
        if listing.unread:
            message += f" (not looked into: {'; '.join(listing.unread[:SHOWN_FOLDERS])})"
        raise ItemProblem("missing", message)

    def _target(self, link: Path, where: str) -> Path:
        """The file behind a link. Folders on the way were looked at when they were listed."""
        try:
            target = link.resolve(strict=True)
        except FileNotFoundError:
            raise ItemProblem("missing", f"{where} leads to no file") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop, before Python 3.13
            if isinstance(error, OSError) and error.errno != errno.ELOOP:
                what = f"cannot be reached ({error.strerror})"
            else:
                what = "is a link that leads to itself"
            raise ItemProblem("missing", f"{where} {what}") from None
        if not any(target.is_relative_to(root) for root in self._roots):
            raise ItemProblem("unsafe", f"{where} leads out of the dump, to {target}")
        return target

    @cached_property
    def _roots(self) -> tuple[Path, Path]:
        return self.path.resolve(), self.dump.resolve()

    @cached_property
    def _listing(self) -> _Listing:
        found = _Listing()
        for folder, name in self._files(found.unread):
            stem, dot, suffix = name.rpartition(".")
            path = f"{folder}{name}"
            if f".{suffix}".lower() not in self.suffixes:
                found.others[stem if dot else name] = path
                continue
            self._keep(found.files, stem, path)
            if not stem.isascii():
                self._keep(found.normal, unicodedata.normalize("NFC", stem), path)
        return found

    def _keep(self, files: dict[str, str], stem: str, path: str) -> None:
        known = files.setdefault(stem, path)
        if known is not path:
            files[stem] = min(known, path, key=self._rank)

    def _rank(self, path: str) -> tuple[int, int, str]:
        suffix = path[path.rindex(".") :]
        return self.suffixes.index(suffix.lower()), path.count("/"), path

    def _files(self, unread: list[str]) -> Iterator[tuple[str, str]]:
        """Every file, as its folder (relative, with a slash behind it, or empty) and its name."""
        waiting, seen = [""], set()
        while waiting:
            folder = waiting.pop()
            try:
                about = (self.path / folder).stat()
                if (about.st_dev, about.st_ino) in seen:  # a link to a folder around it
                    continue
                seen.add((about.st_dev, about.st_ino))
                with os.scandir(self.path / folder) as entries:
                    for entry in entries:
                        if not is_folder(entry):
                            yield folder, entry.name
                        elif self._may_enter(entry, unread):
                            waiting.append(f"{folder}{entry.name}/")
            except FileNotFoundError:
                continue  # deleted meanwhile: its items are missing
            except OSError as error:
                unread.append(f"{self.path.name}/{folder} ({error.strerror})")

    def _may_enter(self, entry: os.DirEntry[str], unread: list[str]) -> bool:
        if is_hidden(entry.name):
            return False
        if not entry.is_symlink():
            return True
        target = Path(entry.path).resolve()
        is_inside = any(target.is_relative_to(root) for root in self._roots)
        if not is_inside:
            unread.append(
                f"{self.path.name}/{entry.name} is a link that leads out of the dump; link {self.path.name} "
                "itself instead"
            )
        return is_inside


def as_media_folder(dump: Path, folder: Path | MediaFolder, suffixes: list[str]) -> MediaFolder:
    """A folder as what finds files in it, listed anew if it is a path."""
    return MediaFolder(dump, folder, suffixes) if isinstance(folder, Path) else folder


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere or to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Whether a name is of what a dump's reader does not see."""
    return name.startswith(".") or name == LITTER


def _kind_of(about: os.stat_result) -> str:
    kinds = {stat.S_ISFIFO: "named pipe", stat.S_ISSOCK: "socket", stat.S_ISDIR: "folder"}
    return next((name for test, name in kinds.items() if test(about.st_mode)), "device")
