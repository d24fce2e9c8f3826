"""Checks a text file before it is parsed: its encoding, its line ends, and whether it is text.

Every reader of text calls `refuse_other_text` first, so that all of them report the same file in the same way.
"""

from pathlib import Path

from toolkit.errors import UserError

MARK = "\ufeff"  # byte order mark of UTF-8 files from Windows; skipped at the start of a file
_SNIFFED_BYTES = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip it"),
    b"PK\x03\x04": ("ZIP (as Excel's .xlsx is)", "unpack it, or save it as CSV UTF-8,"),
    b"BZh": ("bzip2", "bunzip2 it"),
    b"\xfd7zXZ": ("xz", "unxz it"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd it"),
}


def refuse_other_text(path: Path) -> None:
    """Refuses files whose first 64 KiB cannot be lines of UTF-8 text.

    Raises:
        UserError: if the file cannot be read, is packed, UTF-16 or binary, or its lines end with CR only.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); fix its permissions or its link"
        ) from None
    for begin, (name, command) in _PACKED.items():
        if head.startswith(begin):
            raise UserError(
                f"{path}: the file is compressed as {name}, expected plain text; {command} first"
            )
    if head.startswith(_UTF16) or _looks_like_utf16(head):
        raise UserError(
            f"{path}: the file is UTF-16 (written by PowerShell's > or Excel's 'Unicode Text'), expected "
            f"UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path.name} > FILE, or save it as 'CSV UTF-8'"
        )
    if b"\0" in head:
        raise UserError(
            f"{path}: the file contains zero bytes, expected text; download it again, or save it as UTF-8"
        )
    if b"\r" in head.rstrip(b"\r") and b"\n" not in head:
        raise UserError(
            f"{path}: its lines end with CR only (written by old Macs or Excel's 'CSV (Macintosh)'), expected LF or "
            f"CRLF; convert it: tr '\\r' '\\n' < {path.name} > FILE, or save it as 'CSV UTF-8'"
        )


def _looks_like_utf16(head: bytes) -> bool:
    """Whether nearly every other byte is zero, as in Western text in UTF-16 without a byte order mark."""
    pairs = len(head) // 2
    return pairs >= 4 and any(head[at : 2 * pairs : 2].count(0) > 0.8 * pairs for at in (0, 1))


def not_utf8(path: Path, line: int, byte: int | None = None) -> UserError:
    """The error for a line that is not UTF-8."""
    detail = "" if byte is None else f" (byte {byte:#04x})"
    return UserError(
        f"{path}:{line}: not UTF-8{detail}; convert the file to UTF-8 from its encoding "
        f"(Western Windows: iconv -f CP1252 -t UTF-8; Chinese: iconv -f GB18030 -t UTF-8)"
    )


def first_lines(path: Path, count: int) -> list[str]:
    """The first lines without line ends and byte order mark; invalid UTF-8 bytes become U+FFFD.

    Args:
        path: text file.
        count: maximum number of lines; each line is cut at one MiB.

    Raises:
        UserError: as for `refuse_other_text`.
    """
    refuse_other_text(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        lines = [file.readline(1 << 20) for _ in range(count)]
    return [line.rstrip("\r\n") for line in lines if line]


def packed_beside(folder: Path) -> str:
    """A hint about archives in a folder without a known layout; empty if it has none."""
    suffixes = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".zst", ".xlsx", ".xls")
    archives = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return f"; {archives[0]} has to be unpacked or saved as CSV first" if archives else ""
