"""What a file is by its first bytes, whatever its name says.

Decoders guess: FFmpeg opens a JPEG named .mp4 as a clip of one frame.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from prep.problems import ItemProblem

Medium = Literal["image", "video", "document"]


class Kind(NamedTuple):
    """A file format and how to know it."""

    name: str
    medium: Medium
    offset: int
    magic: bytes


KINDS = (
    Kind("JPEG", "image", 0, b"\xff\xd8\xff"),
    Kind("PNG", "image", 0, b"\x89PNG"),
    Kind("GIF", "image", 0, b"GIF8"),
    Kind("BMP", "image", 0, b"BM"),
    Kind("WebP", "image", 8, b"WEBP"),
    Kind("AVIF", "image", 4, b"ftypavif"),
    Kind("HEIC", "image", 4, b"ftyphei"),
    Kind("MP4", "video", 4, b"ftyp"),
    Kind("Matroska or WebM", "video", 0, b"\x1a\x45\xdf\xa3"),
    Kind("AVI", "video", 8, b"AVI "),
    Kind("HTML or XML", "document", 0, b"<"),
    Kind("JSON", "document", 0, b"{"),
    Kind("PDF", "document", 0, b"%PDF"),
    Kind("ZIP", "document", 0, b"PK\x03\x04"),
    Kind("gzip", "document", 0, b"\x1f\x8b"),
)


def sniff(path: Path) -> Kind | None:
    """The format of a file, or None if its first bytes are those of none known here."""
    with path.open("rb") as file:
        head = file.read(16)
    found = (kind for kind in KINDS if head.startswith(kind.magic, kind.offset))
    return next(found, None)


def refuse_other(path: Path, medium: Medium) -> None:
    """Lets through what is, or may be, of this medium.

    Raises:
        ItemProblem: unsupported, if the first bytes are those of another.
    """
    kind = sniff(path)
    if kind is not None and kind.medium != medium:
        raise ItemProblem("unsupported", f"{path.name} holds {kind.name}, not {medium} data")
