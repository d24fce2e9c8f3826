"""Reads text files from any program and operating system."""

from pathlib import Path

from toolkit.errors import UserError

ENCODING = "utf-8-sig"  # UTF-8, with or without the byte order mark of Windows programs
_LOOKED_AT = 4096
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def refuse_wide_text(path: Path, *, name: str) -> None:
    """Refuses UTF-16 and UTF-32, which PowerShell's `>` and Excel's "Unicode text" write.

    Args:
        path: the file.
        name: name of the file in messages.

    Raises:
        UserError: with advice on the conversion.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if start.startswith(_WIDE_MARKS) or b"\0" in start:
        raise UserError(
            f"{name}: UTF-16 or another encoding than UTF-8; save it as UTF-8 (PowerShell: Get-Content OLD | "
            "Set-Content -Encoding utf8 NEW; elsewhere: iconv -f UTF-16 -t UTF-8 OLD > NEW)"
        )


def read_text(path: Path, *, name: str) -> str:
    """The content of a text file, without a byte order mark and with line feeds as line ends.

    Raises:
        UserError: if the file cannot be read, or is not UTF-8.
    """
    try:
        refuse_wide_text(path, name=name)
        return path.read_text(encoding=ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); expected text in UTF-8") from None
