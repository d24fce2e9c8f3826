"""Finds the picture or clip of an item in a folder, and never leaves this folder.

The folder is listed once for all items. So ids may be longer than file names, and a hundred thousand items with
fifteen possible suffixes need one pass over the folder.
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

# In order of preference if an item has several files. Case is ignored.
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
LITTER = "__MACOSX"  # extra folder in archives of macOS
SHOWN_LETTERS = 80  # characters of an item id in a message
SHOWN_FOLDERS = 3


def suffixes_like(suffix: str) -> list[str]:
    """All suffixes of the same kind of file, pictures or clips, in order of preference.

    Raises:
        ValueError: if the suffix is neither of pictures nor of clips.
    """
    for family in (PICTURES, CLIPS):
        if suffix in family:
            return family
    raise ValueError(f"suffix {suffix!r} is none of {', '.join((*PICTURES, *CLIPS))}")


@dataclass
class _Listing:
    """Files of a folder.

    Args:
        files: for each name without suffix, the path of the preferred file, relative to the folder.
        normal: the same for non-ASCII names, by their composed form (NFC).
        others: for each name, a file with an unsupported suffix.
        unread: subfolders that were not read, with reasons.
    """

    files: dict[str, str] = field(default_factory=dict)
    normal: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


class MediaFolder:
    """Finds the file of an item in a folder and its subfolders.

    The folder itself may be a link to another disk. Links inside the folder, to files or folders, are followed only
    if their targets lie inside the folder or the dump.

    The folder is listed at the first lookup; a copy in another process lists it again.

    Args:
        dump: folder of the dump.
        path: folder of the files.
        suffixes: accepted suffixes in lower case, in order of preference.
    """

    def __init__(self, dump: Path, path: Path, suffixes: list[str]) -> None:
        self.dump, self.path, self.suffixes = dump, path, suffixes

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("dump", "path", "suffixes")}

    def __repr__(self) -> str:
        return f"MediaFolder({self.path})"

    def locate(self, item_id: str, ending: str = "") -> Path:
        """The file of one item: a regular file, not empty, inside the folder or the dump.

        Args:
            item_id: id of the item.
            ending: text between the id and the suffix in the file name.

        Raises:
            ItemProblem: unsafe, missing or empty.
        """
        if not is_safe(item_id):
            raise ItemProblem("unsafe", f"item id {item_id!r} would leave {self.path.name}/")
        name = self._name_of(item_id + ending)
        where = f"{self.path.name}/{name}"
        path = self._roots[0] / name
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                path = self._target(path, where)
                status = path.stat()
        except FileNotFoundError:
            raise ItemProblem("missing", f"{where} was deleted since it was listed") from None
        except OSError as error:
            raise ItemProblem("missing", unreadable(path, error)) from None
        if not stat.S_ISREG(status.st_mode):
            raise ItemProblem("missing", f"{where} is a {_kind_of(status)}, expected a file")
        if status.st_size == 0:
            raise ItemProblem("empty", f"{where} has zero bytes")
        return path

    def _name_of(self, stem: str) -> str:
        """The path, relative to the folder, of the file with a name without suffix."""
        listing = self._listing
        name = listing.files.get(stem)
        if name is None and not stem.isascii():
            name = listing.normal.get(unicodedata.normalize("NFC", stem))
        if name is not None:
            return name
        shown = stem if len(stem) <= SHOWN_LETTERS else f"{stem[:SHOWN_LETTERS]}…"
        message = f"{self.path.name}/{shown}{self.suffixes[0]} is not in the dump"
        if stem in listing.others:
            message += (
                f", but {listing.others[stem]} is; supported suffixes are {' '.join(self.suffixes)}"
            )
        if listing.unread:
            message += f" (not searched: {'; '.join(listing.unread[:SHOWN_FOLDERS])})"
        raise ItemProblem("missing", message)

    def _target(self, link: Path, where: str) -> Path:
        """The target of a link. Folders on the path were checked when they were listed."""
        try:
            target = link.resolve(strict=True)
        except FileNotFoundError:
            raise ItemProblem("missing", f"{where} is a link to a missing file") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop, before Python 3.13
            if isinstance(error, OSError) and error.errno != errno.ELOOP:
                reason = f"cannot be reached ({error.strerror})"
            else:
                reason = "is a link to itself"
            raise ItemProblem("missing", f"{where} {reason}") from None
        if not any(target.is_relative_to(root) for root in self._roots):
            raise ItemProblem("unsafe", f"{where} is a link out of the dump, to {target}")
        return target

    @cached_property
    def _roots(self) -> tuple[Path, Path]:
        return self.path.resolve(), self.dump.resolve()

    @cached_property
    def _listing(self) -> _Listing:
        listing = _Listing()
        for folder, name in self._files(listing.unread):
            stem, dot, suffix = name.rpartition(".")
            path = f"{folder}{name}"
            if f".{suffix}".lower() not in self.suffixes:
                listing.others[stem if dot else name] = path
                continue
            self._keep(listing.files, stem, path)
            if not stem.isascii():
                self._keep(listing.normal, unicodedata.normalize("NFC", stem), path)
        return listing

    def _keep(self, files: dict[str, str], stem: str, path: str) -> None:
        known = files.setdefault(stem, path)
        if known is not path:
            files[stem] = min(known, path, key=self._rank)

    def _rank(self, path: str) -> tuple[int, int, str]:
        suffix = path[path.rindex(".") :]
        return self.suffixes.index(suffix.lower()), path.count("/"), path

    def _files(self, unread: list[str]) -> Iterator[tuple[str, str]]:
        """Yields every file as its folder (relative, with a trailing slash, or empty) and its name."""
        waiting, seen = [""], set()
        while waiting:
            folder = waiting.pop()
            try:
                status = (self.path / folder).stat()
                if (status.st_dev, status.st_ino) in seen:  # a link to a parent folder
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(self.path / folder) as entries:
                    for entry in entries:
                        if not is_folder(entry):
                            yield folder, entry.name
                        elif self._may_enter(entry, unread):
                            waiting.append(f"{folder}{entry.name}/")
            except FileNotFoundError:
                continue  # deleted in the meantime: its items are missing
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
                f"{self.path.name}/{entry.name} is a link out of the dump; make {self.path.name} itself "
                "a link instead"
            )
        return is_inside


def as_media_folder(dump: Path, folder: Path | MediaFolder, suffixes: list[str]) -> MediaFolder:
    """A `MediaFolder` for a path; an existing `MediaFolder` is returned unchanged."""
    return MediaFolder(dump, folder, suffixes) if isinstance(folder, Path) else folder


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to a folder; broken and circular links are not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Whether readers ignore a file or folder with this name."""
    return name.startswith(".") or name == LITTER


def _kind_of(status: os.stat_result) -> str:
    kinds = {stat.S_ISFIFO: "named pipe", stat.S_ISSOCK: "socket", stat.S_ISDIR: "folder"}
    return next((name for test, name in kinds.items() if test(status.st_mode)), "device")
