"""Detects the format of a file from its first bytes instead of its name.

Decoders guess the format: FFmpeg opens a JPEG named .mp4 as a clip of one frame.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from prep.steps.problems import ItemProblem

Medium = Literal["image", "video", "sound", "document"]
HEAD_BYTES = 4096  # an SVG file may begin with a long comment, an ISO file with many brands


class Kind(NamedTuple):
    """A file format and its magic bytes.

    Args:
        name: name of the format, for messages.
        medium: kind of content.
        offset: offset of the magic bytes in the file.
        magic: bytes that every file of this format has at this offset.
        decoder: Pillow's name of the format; None if `prep.pictures.pixels` does not read it.
    """

    name: str
    medium: Medium
    offset: int
    magic: bytes
    decoder: str | None = None


# The first match wins: a file of ISO boxes may begin with the four bytes of an ICO file.
KINDS = (
    Kind("MP4", "video", 4, b"ftyp"),  # or one of ISO_KINDS, by its brands
    Kind("QuickTime", "video", 4, b"moov"),
    Kind("QuickTime", "video", 4, b"mdat"),
    Kind("QuickTime", "video", 4, b"wide"),
    Kind("JPEG", "image", 0, b"\xff\xd8\xff", "JPEG"),
    Kind("PNG", "image", 0, b"\x89PNG", "PNG"),
    Kind("GIF", "image", 0, b"GIF8", "GIF"),
    Kind("BMP", "image", 0, b"BM", "BMP"),
    Kind("WebP", "image", 8, b"WEBP", "WEBP"),
    Kind("TIFF", "image", 0, b"II*\0", "TIFF"),
    Kind("TIFF", "image", 0, b"MM\0*", "TIFF"),
    Kind("TIFF", "image", 0, b"II+\0", "TIFF"),
    Kind("TIFF", "image", 0, b"MM\0+", "TIFF"),
    Kind("ICO", "image", 0, b"\0\0\1\0", "ICO"),
    Kind("JPEG 2000", "image", 4, b"jP  \r\n\x87\n", "JPEG2000"),
    Kind("JPEG 2000", "image", 0, b"\xff\x4f\xff\x51", "JPEG2000"),
    Kind("QOI", "image", 0, b"qoif", "QOI"),
    Kind("PGM", "image", 0, b"P5\n", "PPM"),
    Kind("PPM", "image", 0, b"P6\n", "PPM"),
    Kind("JPEG XL", "image", 4, b"JXL \r\n\x87\n"),
    Kind("JPEG XL", "image", 0, b"\xff\x0a"),
    Kind("Photoshop", "image", 0, b"8BPS"),
    Kind("Matroska or WebM", "video", 0, b"\x1a\x45\xdf\xa3"),
    Kind("AVI", "video", 8, b"AVI "),
    Kind("MPEG", "video", 0, b"\0\0\1\xba"),
    Kind("Flash video", "video", 0, b"FLV\1"),
    Kind("Ogg", "video", 0, b"OggS"),
    Kind("Windows Media", "video", 0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    Kind("WAVE", "sound", 8, b"WAVE"),
    Kind("MP3", "sound", 0, b"ID3"),
    Kind("FLAC", "sound", 0, b"fLaC"),
    Kind("HTML or XML", "document", 0, b"<"),  # or SVG
    Kind("JSON", "document", 0, b"{"),
    Kind("PDF", "document", 0, b"%PDF"),
    Kind("PostScript", "document", 0, b"%!PS"),
    Kind("ZIP", "document", 0, b"PK\x03\x04"),
    Kind("gzip", "document", 0, b"\x1f\x8b"),
    Kind("Git LFS pointer", "document", 0, b"version https://git-lfs"),
)
SVG = Kind("SVG", "image", 0, b"<")

# ISO base media files by their brands (ISO 14496-12; 23008-12 for HEIF): the magic is a brand. The major brand is not
# sufficient: writers other than Apple's use mif1 as the major brand, and heic or avif as a compatible brand.
ISO_KINDS = (
    *(Kind("AVIF", "image", 8, brand, "AVIF") for brand in (b"avif", b"avis")),
    *(
        Kind("HEIC", "image", 8, brand, "HEIF")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
    ),
    *(Kind("HEIF or HEIC", "image", 8, brand, "HEIF") for brand in (b"mif1", b"mif2", b"msf1")),
    Kind("Canon raw", "image", 8, b"crx "),
)
_SEQUENCES = {b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}
_TEXT_BLANKS = b"\xef\xbb\xbf \t\r\n"  # a byte order mark, and what may precede a document


def sniff(path: Path) -> Kind | None:
    """The format of a file, or None if its first bytes match no known format.

    Raises:
        ItemProblem: corrupt, if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ItemProblem("corrupt", unreadable(path, error)) from None
    return kind_of(head)


def unreadable(path: Path, error: OSError) -> str:
    """The message for a file that cannot be read, without the path of its folder."""
    return f"{path.name} cannot be read ({error.strerror or type(error).__name__})"


def kind_of(head: bytes) -> Kind | None:
    """The format of a file that begins with these bytes (`HEAD_BYTES` of them suffice), or None."""
    kind = next((kind for kind in KINDS if head.startswith(kind.magic, kind.offset)), None)
    if kind is None:
        text = head.lstrip(_TEXT_BLANKS)
        kind = next(
            (k for k in KINDS if k.magic in (b"<", b"{") and text.startswith(k.magic)), None
        )
    if kind is None:
        return None
    if kind.magic == b"ftyp":
        return _iso_kind(head) or kind
    if kind.magic == b"<" and b"<svg" in head.lower():
        return SVG
    return kind


def refuse_other(path: Path, medium: Medium) -> None:
    """Refuses files whose format is known to be of another medium.

    Raises:
        ItemProblem: unsupported, if the file has another medium; corrupt, if it cannot be read.
    """
    kind = sniff(path)
    if kind is not None and kind.medium != medium:
        raise ItemProblem("unsupported", f"{path.name} holds {kind.name}, not {medium} data")


def _iso_kind(head: bytes) -> Kind | None:
    """The picture format of a file of ISO boxes; None if it is a video."""
    length = int.from_bytes(head[:4], "big")
    major, others = head[8:12], head[16 : max(length, 16)]
    compatible = [others[at : at + 4] for at in range(0, len(others) - 3, 4)]
    known = {kind.magic: kind for kind in ISO_KINDS}
    if major not in known:  # videos may also list a brand of image sequences
        compatible = [brand for brand in compatible if brand not in _SEQUENCES]
    brands = {major, *compatible}
    return next((kind for brand, kind in known.items() if brand in brands), None)
