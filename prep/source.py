"""What a row was made from, so that equal files are found and a row can be traced to its file."""

import hashlib
from pathlib import Path
from typing import Any

from prep.problems import ItemProblem


def fingerprint(path: Path) -> dict[str, Any]:
    """The columns `source_bytes` and `source_sha256` of a file.

    Raises:
        ItemProblem: corrupt, if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"source_bytes": file.tell(), "source_sha256": digest}
    except OSError as error:
        raise ItemProblem("corrupt", f"{path.name} cannot be read ({error.strerror})") from None
