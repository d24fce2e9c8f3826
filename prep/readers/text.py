"""What a text file is before anything in it is read: its encoding, its line ends, whether it is text at all.

Every reader of text asks `refuse_other_text` first, so that each says the same about the same file.
"""

from pathlib import Path

from toolkit.errors import UserError

MARK = "\ufeff"  # of UTF-8 files from Windows; skipped wherever it begins a file
_SNIFFED_BYTES = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"PK\x03\x04": ("ZIP (Excel's .xlsx is one, too)", "unpack, or save as CSV UTF-8,"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


def refuse_other_text(path: Path) -> None:
    """Lets through what may be UTF-8 text in lines, by its first 64 KiB.

    Raises:
        UserError: if the file cannot be read, is packed, UTF-16 or binary, or its lines end with CR alone.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); mend its rights or its link"
        ) from None
    for begin, (name, command) in _PACKED.items():
        if head.startswith(begin):
            raise UserError(
                f"{path}: the file is packed, as {name}, expected plain text; {command} it first"
            )
    if head.startswith(_UTF16) or _looks_like_utf16(head):
        raise UserError(
            f"{path}: the file is UTF-16, as PowerShell's > and Excel's 'Unicode Text' write it, expected "
            f"UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path.name} > FILE, or save it as 'CSV UTF-8'"
        )
    if b"\0" in head:
        raise UserError(
            f"{path}: the file has zero bytes and is no text; download it again, or save it as UTF-8"
        )
    if b"\r" in head.rstrip(b"\r") and b"\n" not in head:
        raise UserError(
            f"{path}: its lines end with CR alone, as old Macs and Excel's 'CSV (Macintosh)' write them; "
            f"convert it: tr '\\r' '\\n' < {path.name} > FILE, or save it as 'CSV UTF-8'"
        )


def _looks_like_utf16(head: bytes) -> bool:
    """Whether every other byte is zero nearly always: western text in UTF-16 without its mark."""
    pairs = len(head) // 2
    return pairs >= 4 and any(head[at : 2 * pairs : 2].count(0) > 0.8 * pairs for at in (0, 1))


def not_utf8(path: Path, line: int, byte: int | None = None) -> UserError:
    """What to say of a line that is not UTF-8."""
    told = "" if byte is None else f" (byte {byte:#04x})"
    return UserError(
        f"{path}:{line}: not UTF-8{told}; convert the file to UTF-8 from what it is in "
        f"(western Windows: iconv -f CP1252 -t UTF-8; Chinese: iconv -f GB18030 -t UTF-8)"
    )


def first_lines(path: Path, count: int) -> list[str]:
    """The first lines without their ends and the byte order mark; bytes that are no UTF-8 become U+FFFD.

    Args:
        path: the file.
        count: how many at most; a line is cut at a MiB.

    Raises:
        UserError: as `refuse_other_text` does.
    """
    refuse_other_text(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        lines = [file.readline(1 << 20) for _ in range(count)]
    return [line.rstrip("\r\n") for line in lines if line]


def packed_beside(folder: Path) -> str:
    """A word about packed files in a folder in which nothing was found; empty if there are none."""
    endings = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".zst", ".xlsx", ".xls")
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in endings)
    return f"; {found[0]} has to be unpacked or saved as CSV first" if found else ""
