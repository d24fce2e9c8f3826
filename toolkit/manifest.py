"""Reads and validates `dataset.json`; a file that does not have the form that prep writes is refused in one line."""

from pathlib import Path
from typing import Any

from toolkit import schema
from toolkit.checksums import SHARDS
from toolkit.errors import UserError
from toolkit.json_files import read_json_object

_LARGEST = 2**53  # largest integer that every JSON reader represents exactly

# Types of the keys of a step; other keys are ignored by this version.
_STEP: dict[str, tuple[type, ...]] = {
    "config": (dict,),
    "config_hash": (str, type(None)),
    "encoder_parameters": (int, type(None)),
    "errors": (dict,),
    "inputs": (dict,),
    "items": (dict,),
    "prompt": (dict,),
    "revision": (str, type(None)),
    "rows": (int,),
    "skipped": (str,),
    "versions": (dict,),
}
_OF_NAMES = (
    "caption",
    "encode",
    "features",
)  # parts of the configuration with settings by name


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a dataset; missing keys `steps` and `config` are added as empty objects.

    Args:
        path: path of the file `dataset.json`.

    Raises:
        UserError: if the file does not exist, is not a JSON object, has another schema version, or has a value of
            another type.
    """
    manifest = read_json_object(path)
    version = manifest.get("schema_version")
    if version != schema.SCHEMA_VERSION or isinstance(version, bool):
        raise UserError(
            f"{path}: schema version {str(version)[:40]}, expected {schema.SCHEMA_VERSION}; "
            "write the dataset again with prep build, into a new folder"
        )
    manifest.setdefault("steps", {})
    manifest.setdefault("config", {})
    _refuse_other_types(path, manifest)
    return manifest


def _refuse_other_types(path: Path, manifest: dict[str, Any]) -> None:
    kinds = {"steps": dict, "config": dict, "counts": dict, "name": str, SHARDS: dict}
    for key, kind in kinds.items():
        _expect(path, key, manifest.get(key, kind()), (kind,))
    for name, count in manifest.get("counts", {}).items():
        _expect(path, f"counts.{name}", count, (int,))
    for step, entry in manifest["steps"].items():
        _refuse_other_step(path, f"steps.{step}", entry)
    for part in _OF_NAMES:
        named = manifest["config"].get(part, {})
        _expect(path, f"config.{part}", named, (dict,))
        for name, settings in named.items():
            _expect(path, f"config.{part}.{name}", settings, (dict,))


def _refuse_other_step(path: Path, where: str, entry: Any) -> None:
    _expect(path, where, entry, (dict,))
    entry.setdefault("config", {})
    if where.startswith("steps.caption:"):  # towers identify captions by it
        _expect(path, f"{where}.config_hash", entry.get("config_hash"), (str,))
    for key, kinds in _STEP.items():
        if key in entry:
            _expect(path, f"{where}.{key}", entry[key], kinds)
    for key in ("items", "errors"):
        for status, count in entry.get(key, {}).items():
            _expect(path, f"{where}.{key}.{status}", count, (int,))
    for name, file in entry.get("inputs", {}).items():
        _expect(path, f"{where}.inputs.{name}", file, (dict,))
        _expect(path, f"{where}.inputs.{name}.sha256", file.get("sha256"), (str,))
        _expect(path, f"{where}.inputs.{name}.bytes", file.get("bytes"), (int,))


def _expect(path: Path, key: str, value: Any, kinds: tuple[type, ...]) -> None:
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if fits and isinstance(value, int):
        fits = 0 <= value <= _LARGEST
    if not fits:
        names = " or ".join("a count" if kind is int else kind.__name__ for kind in kinds)
        raise UserError(
            f"{path}: expected {names} under {key[:80]!r}, found {type(value).__name__} {str(value)[:40]!r}; "
            "the file is damaged: restore it from a copy, or write the dataset again into a new folder"
        )
