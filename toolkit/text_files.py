"""Text files that people make with any program of any system."""

from pathlib import Path

from toolkit.errors import UserError

ENCODING = (
    "utf-8-sig"  # UTF-8, with or without the byte order mark that Windows' programs put before it
)
_LOOKED_AT = 4096
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def refuse_wide_text(path: Path, *, name: str) -> None:
    """Makes sure that a text file is no UTF-16 or UTF-32, as PowerShell's `>` and Excel's "Unicode text" are.

    Args:
        path: the file.
        name: of it, for messages.

    Raises:
        UserError: saying how to convert it.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if start.startswith(_WIDE_MARKS) or b"\0" in start:
        raise UserError(
            f"{name}: UTF-16 or another encoding that is not UTF-8; save it as UTF-8 (PowerShell: Get-Content OLD | "
            "Set-Content -Encoding utf8 NEW; elsewhere: iconv -f UTF-16 -t UTF-8 OLD > NEW)"
        )


def read_text(path: Path, *, name: str) -> str:
    """A whole text file, without a byte order mark, its lines ending in a line feed.

    Raises:
        UserError: if it cannot be read, or is no UTF-8.
    """
    try:
        refuse_wide_text(path, name=name)
        return path.read_text(encoding=ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); expected text in UTF-8") from None
