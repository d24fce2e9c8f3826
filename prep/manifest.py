"""`dataset.json`: which steps have finished, and with what."""

import hashlib
import json
from pathlib import Path
from typing import Any

from prep.checksums import belongs_to, forget_notes, settle
from prep.config import CaptionConfig, EncodeConfig, FeaturesConfig, MediaConfig, PrepConfig
from toolkit import schema
from toolkit.checksums import SHARDS
from toolkit.dataset import read_manifest
from toolkit.errors import UserError
from toolkit.store import MANIFEST, SEAL, write_json


def config_hash(config: dict[str, Any]) -> str:
    """A short fingerprint of a configuration, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def read(dataset: Path) -> dict[str, Any] | None:
    """The manifest, or None where ingest has not finished yet.

    Raises:
        UserError: if it is broken or of another schema version.
    """
    if not (dataset / MANIFEST).exists():
        return None
    manifest = read_manifest(dataset)
    if manifest.get("schema_version") != schema.SCHEMA_VERSION:
        raise UserError(
            f"{dataset / MANIFEST}: schema version {manifest.get('schema_version')}, this Versa writes "
            f"{schema.SCHEMA_VERSION}; build into a new folder"
        )
    return manifest


def require(dataset: Path) -> dict[str, Any]:
    """The manifest of a dataset that has been ingested.

    Raises:
        UserError: if it has not.
    """
    manifest = read(dataset)
    if manifest is None:
        raise UserError(
            f"{dataset}: no {MANIFEST} here, so nothing has been ingested yet; "
            f"run: python -m prep ingest DUMP {dataset}"
        )
    return manifest


def record_step(dataset: Path, step: str, config: dict[str, Any], **facts: Any) -> None:
    """Adds a finished step to the manifest, with the checksums of its files, in one atomic write."""
    manifest = require(dataset)
    manifest["steps"][step] = {"config": config, "config_hash": config_hash(config), **facts}
    manifest |= {SHARDS: settle(dataset, step, manifest), SEAL: ""}
    write_json(dataset / MANIFEST, manifest)
    forget_notes(dataset, step)


def record_checksums(dataset: Path, step: str) -> None:
    """Adds the checksums of a finished step's files where an older Versa has left them out."""
    manifest = require(dataset)
    if not any(belongs_to(name, step) for name in manifest.get(SHARDS, {})):
        manifest |= {SHARDS: settle(dataset, step, manifest), SEAL: ""}
        write_json(dataset / MANIFEST, manifest)


def record_config(dataset: Path, **parts: Any) -> None:
    """Keeps the parts of the configuration that a step has used; `prep encode DATASET` goes on from it."""
    manifest = require(dataset)
    config = {**manifest.get("config", {}), **parts}
    if manifest.get("config") != config:
        write_json(dataset / MANIFEST, {**manifest, "config": config})


def recorded_config(dataset: Path) -> PrepConfig:
    """The configuration that a dataset was made with so far.

    Trust in code is not part of it: a dataset may come from somebody else, so who trusts its encoders says so anew.

    Raises:
        UserError: if nothing has been ingested yet.
    """
    config = require(dataset).get("config", {})
    distrust = {"trust_remote_code": False}
    towers = {
        name: EncodeConfig(**{**tower, **distrust})
        for name, tower in config.get("encode", {}).items()
    }
    files = {name: FeaturesConfig(**tower) for name, tower in config.get("features", {}).items()}
    captions = {
        name: CaptionConfig(**{**one, **distrust})
        for name, one in config.get("caption", {}).items()
    }
    media = MediaConfig(**config.get("media", {}))
    parts = {"media": media, "caption": captions, "encode": towers, "features": files}
    return PrepConfig(**{**config, **parts})


def configured_towers(manifest: dict[str, Any]) -> list[str]:
    """The towers that the recorded configuration asks for, to be encoded or imported."""
    config = manifest.get("config", {})
    return [*config.get("encode", {}), *config.get("features", {})]


def refuse_change(
    recorded: dict[str, Any], asked: dict[str, Any], *, where: str, afresh: str
) -> None:
    """Compares what was done with what is asked.

    Args:
        recorded: configuration that the existing rows were made with.
        asked: configuration of this run.
        where: what was made with it.
        afresh: how to start afresh.

    Raises:
        UserError: naming the first key that differs, its old and its new value.
    """
    for key in sorted({*recorded, *asked}):
        old, new = recorded.get(key), asked.get(key)
        if old != new:
            raise UserError(
                f"{where} was made with {key} = {json.dumps(old)}, and now {key} = {json.dumps(new)} "
                f"is asked for; set it back, or to start afresh {afresh}"
            )
