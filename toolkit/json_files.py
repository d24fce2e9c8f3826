"""Writes JSON files atomically and reads them with checks."""

import hashlib
import json
from pathlib import Path
from typing import Any

from toolkit.atomic import write_atomically
from toolkit.errors import UserError

MANIFEST = "dataset.json"


_JSON_BYTES = 256 << 20  # a manifest with 100,000 shards and their digests has about 20 MB


SEAL = "content_sha256"  # key for the digest of a JSON object's other keys


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; recomputes the digest of an object that has one (`SEAL`)."""
    if isinstance(value, dict) and SEAL in value:
        value = {**value, SEAL: content_digest(value)}
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def content_digest(value: dict[str, Any]) -> str:
    """SHA-256 of a JSON object's content except `SEAL`, independent of key order and white space."""
    content = {key: part for key, part in value.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: if the file does not exist, is larger than any that this project writes, or is not JSON.
    """
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise UserError(
                f"{path}: larger than {_JSON_BYTES >> 20} MiB, expected a file that Versa wrote; check the path"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the folder") from None
    # ValueError also for invalid UTF-8 and for numbers with 5,000 digits.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that contains an object.

    Raises:
        UserError: as for `read_json`, and if the file contains anything else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
