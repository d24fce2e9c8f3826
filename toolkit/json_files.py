"""JSON files, written whole and read with care."""

import hashlib
import json
from pathlib import Path
from typing import Any

from toolkit.atomic import write_atomically
from toolkit.errors import UserError

MANIFEST = "dataset.json"


_JSON_BYTES = 256 << 20  # a manifest that lists 100,000 shards and their digests has some 20 MB


SEAL = "content_sha256"  # key of a JSON object that holds a digest of its other keys


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; the digest in an object that has one (`SEAL`) is renewed."""
    if isinstance(value, dict) and SEAL in value:
        value = {**value, SEAL: content_digest(value)}
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def content_digest(value: dict[str, Any]) -> str:
    """SHA-256 of a JSON object's content, that under `SEAL` left out; order and white space do not count."""
    content = {key: part for key, part in value.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: if it is absent, larger than any that this project writes, or not JSON.
    """
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise UserError(
                f"{path}: more than {_JSON_BYTES >> 20} MiB; this is no file that Versa wrote"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; is this the right folder?") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # also bytes that are no UTF-8, and numbers of 5,000 digits
        raise UserError(f"{path}: not valid JSON ({error})") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        UserError: as `read_json`, and if it holds anything else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
