"""Checks every file of a dataset against its checksum, to find damage that leaves tables readable."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prep.steps.checksums import belongs_to, files_of
from toolkit.checksums import Known, damage, known_checksums, recorded_checksums
from toolkit.json_files import MANIFEST, SEAL, content_digest, read_json_object
from toolkit.manifest import read_manifest

_THREADS = 8  # more threads do not speed up reading from a disk


def check_files(dataset: Path) -> list[str]:
    """Problems of a dataset's files, including `errors/`, `dataset.json` and files of unfinished steps.

    Args:
        dataset: dataset folder.

    Raises:
        UserError: if the manifest cannot be read.
    """
    manifest = read_manifest(dataset / MANIFEST)
    reasons = list(_check_content(read_json_object(dataset / MANIFEST)))  # the content on disk
    known = known_checksums(dataset, manifest)
    for step in _steps(manifest):
        reasons += _absent_or_foreign(dataset, step, known)
    paths = [dataset / name for name in sorted(known) if (dataset / name).exists()]
    return reasons + _damaged(dataset, paths, known)


def without_checksums(dataset: str | Path) -> list[str]:
    """Steps whose files were written by a version without checksums, so that damage cannot be detected.

    Args:
        dataset: dataset folder.

    Raises:
        UserError: if the manifest cannot be read.
    """
    manifest = read_manifest(Path(dataset) / MANIFEST)
    recorded = recorded_checksums(manifest)
    return [
        step
        for step in _steps(manifest)
        if files_of(Path(dataset), step) and not _of_step(recorded, step)
    ]


def _steps(manifest: dict[str, Any]) -> list[str]:
    return [step for step, entry in manifest.get("steps", {}).items() if "skipped" not in entry]


def _of_step(names: Iterable[str], step: str) -> list[str]:
    return [name for name in names if belongs_to(name, step)]


def _check_content(manifest: dict[str, Any]) -> Iterator[str]:
    """Checks the manifest against the digest of its own content."""
    if SEAL in manifest:
        if manifest[SEAL] != content_digest(manifest):
            yield f"{MANIFEST} is damaged: its content has changed since it was written; restore it from a copy"
    elif recorded_checksums(manifest):
        yield f"{MANIFEST} is damaged: it lacks the key {SEAL}; restore it from a copy"


def _absent_or_foreign(dataset: Path, step: str, known: Known) -> Iterator[str]:
    expected = _of_step(known, step)
    if not expected:
        return
    present = {path.relative_to(dataset).as_posix() for path in files_of(dataset, step)}
    for name in sorted(present - set(expected)):
        yield f"{name} is not among the files that {MANIFEST} records; remove it"
    for name in sorted(set(expected) - present):
        if None not in known[name]:
            yield f"{name} is missing, but {MANIFEST} records it; restore it from a copy"


def _damaged(dataset: Path, paths: list[Path], known: Known) -> list[str]:
    """Hashes several files in parallel, because hashing releases the interpreter's lock."""

    def reason(path: Path) -> str | None:
        return damage(path, known[path.relative_to(dataset).as_posix()])

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        reasons = zip(paths, threads.map(reason, paths), strict=True)
        return [
            f"{path.relative_to(dataset).as_posix()} {defect}; restore it from a copy"
            for path, defect in reasons
            if defect
        ]
