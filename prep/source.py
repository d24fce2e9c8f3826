"""What a row was made from, so that equal files are found and a row can be traced to its file."""

from pathlib import Path
from typing import Any

from prep import files
from prep.problems import ItemProblem


def fingerprint(path: Path) -> dict[str, Any]:
    """The columns `source_bytes` and `source_sha256` of a file.

    Raises:
        ItemProblem: corrupt, if it cannot be read.
    """
    try:
        return {f"source_{name}": value for name, value in files.fingerprint(path).items()}
    except OSError as error:
        raise ItemProblem("corrupt", f"{path.name} cannot be read ({error.strerror})") from None
