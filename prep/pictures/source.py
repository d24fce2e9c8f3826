"""Provenance of a row of pictures: size and digest of its source files, to find duplicates and trace a row."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prep.readers import files
from prep.readers.sniff import unreadable
from prep.steps.problems import ItemProblem


def fingerprint(path: Path) -> dict[str, Any]:
    """The columns `source_bytes` and `source_sha256` of a file.

    Raises:
        ItemProblem: corrupt, if the file cannot be read.
    """
    try:
        return {f"source_{name}": value for name, value in files.fingerprint(path).items()}
    except OSError as error:
        raise ItemProblem("corrupt", unreadable(path, error)) from None


def combined(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same columns for a row with several files: their total size, and a digest of their digests.

    Args:
        files: the columns of each file, in order; if empty, the result is empty.
    """
    if not files:
        return {}
    digests = "".join(columns["source_sha256"] for columns in files)
    return {
        "source_bytes": sum(columns["source_bytes"] for columns in files),
        "source_sha256": hashlib.sha256(digests.encode()).hexdigest(),
    }
