"""Reads and writes `dataset.json`: the finished steps, their settings and the configuration."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prep.config import CaptionConfig, EncodeConfig, FeaturesConfig, MediaConfig, PrepConfig
from prep.steps.checksums import belongs_to, forget_notes, settle
from prep.steps.writing import clear_temporary, writing
from prep.trust import LeftOut, of_keys, refuse_left_out, settings_of_data
from toolkit.checksums import SHARDS
from toolkit.dataset import INTERACTIONS, refuse_other_kind
from toolkit.errors import UserError
from toolkit.ids import is_safe
from toolkit.json_files import MANIFEST, SEAL, write_json
from toolkit.manifest import read_manifest
from toolkit.store import Table

_FILES = ("file", "ids")  # keys of imported towers and captions that name files
_WAIT_SECONDS = 60.0  # timeout for another step's write, which takes milliseconds
_BY_NAME = (
    "caption",
    "encode",
    "features",
)  # parts of the configuration that several processes may extend


def config_hash(config: dict[str, Any]) -> str:
    """A short fingerprint of a configuration, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def read(dataset: Path) -> dict[str, Any] | None:
    """The manifest, or None if ingest has not finished yet.

    Raises:
        UserError: if the manifest is broken or has another schema version.
    """
    if not (dataset / MANIFEST).exists():
        return None
    return read_manifest(dataset / MANIFEST)


def require(dataset: Path) -> dict[str, Any]:
    """The manifest of an ingested dataset.

    Raises:
        UserError: if the dataset has not been ingested, or is not one of interactions.
    """
    manifest = read(dataset)
    if manifest is not None:
        refuse_other_kind(dataset, manifest.get("kind", INTERACTIONS))
    else:
        raise UserError(
            f"{dataset}: has no {MANIFEST}, so nothing has been ingested yet; "
            f"run: python -m prep ingest DUMP {dataset}"
        )
    return manifest


def part(manifest: dict[str, Any], *keys: str, dataset: Path) -> Any:
    """The value under nested keys of a manifest.

    Raises:
        UserError: if a key is missing, which means that the file is damaged.
    """
    value: Any = manifest
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise UserError(
                f"{dataset / MANIFEST} has no {'.'.join(keys)!r}, which prep ingest writes; the file is damaged: "
                "restore it from a copy, or build into a new folder"
            )
        value = value[key]
    return value


def create(dataset: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest of a dataset that has none yet."""
    with _alone(dataset):
        write_json(dataset / MANIFEST, manifest)


def record_step(dataset: Path, step: str, config: dict[str, Any], **facts: Any) -> None:
    """Adds a finished step and the checksums of its files to the manifest, in one atomic write.

    Concurrent additions by other processes are kept.
    """
    with _alone(dataset):
        manifest = require(dataset)
        manifest["steps"][step] = {"config": config, "config_hash": config_hash(config), **facts}
        manifest |= {SHARDS: settle(dataset, step, manifest), SEAL: ""}
        write_json(dataset / MANIFEST, manifest)
        forget_notes(dataset, step)


def record_checksums(dataset: Path, step: str) -> None:
    """Adds the checksums of a finished step's files if an older version did not record them."""
    if any(belongs_to(name, step) for name in require(dataset).get(SHARDS, {})):
        return
    with _alone(dataset):
        manifest = require(dataset)
        manifest |= {SHARDS: settle(dataset, step, manifest), SEAL: ""}
        write_json(dataset / MANIFEST, manifest)


def record_config(dataset: Path, before: dict[str, Any] | None = None, **parts: Any) -> None:
    """Records the parts of the configuration that a step used; `prep encode DATASET` reads them later.

    Args:
        dataset: dataset folder.
        before: recorded configuration at the start of the step. Towers and captions that another process has added
            since then are kept. None if no other process can have added any.
        parts: parts of the configuration by key.
    """
    with _alone(dataset):
        manifest = require(dataset)
        config = dict(manifest["config"])
        for key, value in parts.items():
            others = config.get(key, {}) if before is not None and key in _BY_NAME else {}
            known = (before or {}).get(key, {})
            config[key] = {name: o for name, o in others.items() if name not in known} | value
        if manifest["config"] != config:
            write_json(dataset / MANIFEST, {**manifest, "config": config})


@contextmanager
def _alone(dataset: Path) -> Iterator[None]:
    """Locks the manifest to read, change and write it without interference by other processes."""
    with writing(dataset, MANIFEST, wait_seconds=_WAIT_SECONDS):
        clear_temporary(dataset, re.escape(MANIFEST))
        yield


def recorded_settings(dataset: Path) -> tuple[dict[str, Any], list[LeftOut]]:
    """The recorded configuration of a dataset, and the settings that a dataset may not decide (`prep.trust`).

    Raises:
        UserError: if nothing has been ingested yet, or the record is not a valid configuration.
    """
    manifest = require(dataset)
    values, left_out = settings_of_data(manifest["config"], PrepConfig, where=dataset / MANIFEST)
    for part, name in _imported(dataset, manifest):
        settings = manifest["config"][part][name]
        files = {key: settings[key] for key in _FILES if key in settings}
        values[part][name] |= files
        left_out = [o for o in left_out if o.key not in {f"{part}.{name}.{key}" for key in files}]
    return values, left_out


def _imported(dataset: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Part and name of the towers and captions that are already imported as configured.

    Their files are compared but not imported again.
    """
    steps, config = manifest["steps"], manifest["config"]
    for name, settings in config.get("features", {}).items():
        done = steps.get(f"encode:{name}", {}).get("config")
        if done == settings and _is_stored(dataset, "states", name):
            yield "features", name
    for name, settings in config.get("caption", {}).items():
        done = steps.get(f"caption:{name}", {}).get("file")
        if done and done == settings.get("file") and _is_stored(dataset, "captions", name):
            yield "caption", name


def _is_stored(dataset: Path, folder: str, name: str) -> bool:
    return is_safe(name) and Table(dataset / folder / name).exists()


def recorded_config(dataset: Path, *used: str) -> PrepConfig:
    """The recorded configuration of a dataset.

    A dataset may come from somebody else, so settings that run code, call a server or read other folders are excluded.

    Args:
        dataset: dataset folder.
        used: keys of the configuration that the caller needs complete; excluded settings under them are an error.

    Raises:
        UserError: if nothing has been ingested yet, or a used key contains settings that only the user may set.
    """
    values, left_out = recorded_settings(dataset)
    refuse_left_out(of_keys(left_out, used), where=dataset / MANIFEST)
    kinds: dict[str, Any] = {
        "media": MediaConfig,
        "caption": CaptionConfig,
        "encode": EncodeConfig,
        "features": FeaturesConfig,
    }
    parts = {
        key: (
            kind(**values.get(key, {}))
            if key == "media"
            else {name: kind(**settings) for name, settings in values.get(key, {}).items()}
        )
        for key, kind in kinds.items()
    }
    return PrepConfig(**{**values, **parts})


def configured_towers(manifest: dict[str, Any]) -> list[str]:
    """The towers in the recorded configuration, encoded or imported."""
    config = manifest.get("config", {})
    return [*config.get("encode", {}), *config.get("features", {})]


def refuse_change(
    recorded: dict[str, Any], asked: dict[str, Any], *, where: str, afresh: str
) -> None:
    """Refuses a configuration that differs from the recorded one.

    Args:
        recorded: configuration of the existing rows.
        asked: configuration of this run.
        where: the dataset or table, for messages.
        afresh: how to start afresh, for messages.

    Raises:
        UserError: with the first key that differs, its old and its new value.
    """
    for key in sorted({*recorded, *asked}):
        old, new = recorded.get(key), asked.get(key)
        if old != new:
            raise UserError(
                f"{where} was made with {key} = {json.dumps(old)}, and now {key} = {json.dumps(new)} "
                f"is asked for; set it back, or to start afresh, {afresh}"
            )


def refuse_other_inputs(
    recorded: Mapping[str, Any], found: Mapping[str, Any], *, where: str, afresh: str
) -> None:
    """Refuses files of a dump that differ from those that a dataset was made from.

    Args:
        recorded: size and digest by file name, as `dataset.json` has them.
        found: the same for the dump.
        where: the dataset, for messages.
        afresh: how to start afresh, for messages.

    Raises:
        UserError: with the first file that is new, gone or changed.
    """
    for name in sorted({*recorded, *found}):
        if recorded.get(name) != found.get(name):
            change = "is gone" if name not in found else "has changed"
            change = "is new" if name not in recorded else change
            raise UserError(
                f"{name} {change} since {where} was ingested; to start afresh, {afresh}"
            )
