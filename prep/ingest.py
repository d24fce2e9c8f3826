"""Step ingest: reads the ids, titles and interactions of a dump and writes them as numbered tables."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from prep.config import PrepConfig
from prep.numbering.interactions import Log
from prep.numbering.items import number_items, numbered
from prep.readers import Raw, Reader, choose, make_readers, parts, refuse_unused
from prep.readers.files import fingerprint
from prep.steps import checksums, manifest, problems
from prep.steps.database import engine
from prep.steps.writing import (
    clear_scratch,
    clear_table,
    clear_temporary,
    refuse_foreign,
    refuse_one_folder,
    writing,
)
from toolkit import schema
from toolkit.checksums import NOTES, SHARDS
from toolkit.console.progress import Progress
from toolkit.errors import UserError
from toolkit.json_files import MANIFEST, SEAL
from toolkit.lock import LOCKS
from toolkit.store import Table, read_file, write_table
from toolkit.versions import versions

STEP = "ingest"
SCRATCH = ".ingest.tmp"
ERRORS_SHARD = 100_000
_ERRORS = r"[\w.+-]+-\d{5,}\.arrow"  # file names of every step


def ingest(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    readers: Mapping[str, Reader] | None = None,
) -> None:
    """Writes `items/`, `interactions/`, `errors/` and, once these are complete, `dataset.json`.

    A rerun with the same configuration and input files does nothing.

    Args:
        dump: folder of the downloaded dump.
        dataset: folder to write.
        config: this step uses `layout`, the settings of the layout's reader, `name`, `k_core`, `ties`,
            `duplicates` and `memory_gib`; `dataset.json` records the whole configuration.
        readers: readers of custom layouts by name. They override the built-in readers, and layout `auto` tries
            them first.

    Raises:
        UserError: if no reader can read the dump, the dataset was ingested from other input, or another process
            is ingesting into it.
    """
    dump, dataset, config = Path(dump), Path(dataset), config or PrepConfig()
    source = read_from(dump, dataset, config, readers)
    finished = manifest.read(dataset) is not None  # comparing needs no lock
    with nullcontext() if finished else writing(dataset, STEP):
        _ingest(dump, dataset, config, source)


class Source(NamedTuple):
    """The layout of a dump and the files to read.

    Args:
        layout: name of the layout.
        files: files of the dump by role, as the layout's reader found them.
        reader: reader of the layout.
    """

    layout: str
    files: dict[str, Path]
    reader: Reader


def read_from(
    dump: Path, dataset: Path, config: PrepConfig, readers: Mapping[str, Reader] | None = None
) -> Source:
    """Chooses the reader of a dump and checks that the dataset folder may be written. Writes nothing.

    Args:
        dump: folder of the downloaded dump.
        dataset: folder to write.
        config: as for `ingest`.
        readers: as for `ingest`.

    Raises:
        UserError: if no reader can read the dump, or the dataset folder holds something else.
    """
    own = dict(readers or {})
    # Custom readers come first in the order, and override built-in readers of the same name.
    known_readers = {**own, **make_readers(config), **own}
    layout, files = choose(config.layout, dump, known_readers)
    reader = known_readers[layout]
    refuse_unused(config, layout, reader)
    _refuse_other_folder(dataset)
    refuse_one_folder(dump, dataset)
    return Source(layout, files, reader)


def _ingest(dump: Path, dataset: Path, config: PrepConfig, source: Source) -> None:
    layout, files, reader = source
    done = manifest.read(dataset)
    # The recorded name takes precedence, so that a dump can be moved.
    known = manifest.part(done, "name", dataset=dataset) if done else dump.resolve().name
    settings = {"layout": layout, "name": config.name or known, **reader.settings}
    # Defaults are not recorded, because datasets of earlier versions lack these keys.
    plain = PrepConfig()
    chosen = {key: getattr(config, key) for key in ("k_core", "ties", "duplicates")}
    settings |= {key: value for key, value in chosen.items() if value != getattr(plain, key)}
    inputs = {
        str(part.relative_to(path.parent)): fingerprint(part)
        for path in files.values()
        for part in parts(path)
    }
    if done is None:
        _clear_unfinished(dataset)
        _write(dataset, reader.read(files), settings, inputs, config)
    else:
        _refuse_other(dataset, done, settings, inputs)
        manifest.record_checksums(dataset, STEP)
        counts = manifest.part(done, "counts", dataset=dataset)
        print(f"ingest: already done ({_summary(counts)})")


def _write(
    dataset: Path, raw: Raw, settings: dict[str, Any], inputs: dict[str, Any], config: PrepConfig
) -> None:
    if config.ties == "hash" and raw.items_as_they_come:
        raw = replace(raw, items=raw.items.sort_by("item_id"))
    items, item_problems = number_items(raw)
    if items.num_rows == 0:
        raise UserError(f"{raw.items_file}: contains no items; check the file or download it again")
    with engine(dataset / SCRATCH, memory_gib=config.memory_gib) as database:
        log = Log(
            database,
            raw,
            items,
            k_core=config.k_core,
            ties=config.ties,
            duplicates=config.duplicates,
        )
        errors = _write_errors(dataset, chain(item_problems, raw.problems, log.problems()))
        kept = numbered(items.take(log.kept_items() - 1))
        if kept.num_rows == 0:
            raise UserError(
                f"{raw.interactions_file}: no users and items remain after the k-core filter "
                f"(k_core = {settings['k_core']}); lower k_core"
            )
        Table(dataset / "items").append(kept)
        counts = {"users": 0, "items": kept.num_rows, "interactions": 0}
        with Progress("sorting", total=None, unit="interactions") as progress:
            for shard in log.shards():
                Table(dataset / "interactions").append(shard)
                counts["users"] = max(counts["users"], pc.max(shard.column("user")).as_py() or 0)
                counts["interactions"] += shard.num_rows
                progress.advance(shard.num_rows)
    entry = {
        "config": settings,
        "config_hash": manifest.config_hash(settings),
        "versions": versions("duckdb", "pandas"),
        "inputs": inputs,
        "errors": errors,
    }
    finished = {
        "schema_version": schema.SCHEMA_VERSION,
        "name": settings["name"],
        "counts": counts,
        "id_space": {
            "items": f"1..{counts['items']}",
            "users": f"1..{counts['users']}",
            "padding": 0,
        },
        "steps": {STEP: entry},
        "config": asdict(config),
        SHARDS: checksums.settle(dataset, STEP, {}),
        SEAL: "",
    }
    manifest.create(dataset, finished)
    checksums.forget_notes(dataset, STEP)
    print(f"ingest: {settings['layout']}, {_summary(counts)}{problems.summary(errors)}")


def _write_errors(dataset: Path, errors: Iterable[problems.Problem]) -> dict[str, int]:
    """Writes one or more `errors/ingest-*.arrow` files; returns the number of rows per error class."""
    counts: Counter[str] = Counter()
    errors = iter(errors)
    blocks = iter(lambda: list(islice(errors, ERRORS_SHARD)), [])
    for index, block in enumerate(chain([next(blocks, [])], blocks)):
        path = dataset / "errors" / f"{STEP}-{index:05d}.arrow"
        write_table(path, problems.table(STEP, block), compression="zstd")
        counts.update(problem.error_class for problem in block)
    return dict(counts)


def _summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _refuse_other_folder(dataset: Path) -> None:
    """Refuses a folder that holds anything except a dataset or the files of an unfinished ingest.

    Raises:
        UserError: with the names of some of these files.
    """
    if dataset.exists() and not dataset.is_dir():
        raise UserError(f"{dataset} is a file; choose a folder for the dataset")
    if (dataset / MANIFEST).exists():
        return
    ours = re.compile(
        rf"items|interactions|errors|{re.escape(SCRATCH)}|{re.escape(LOCKS)}|\.{re.escape(MANIFEST)}\.\d+\.tmp|"
        rf"\.errors-{STEP}{re.escape(NOTES)}"
    )
    names = [path.name for path in dataset.iterdir()] if dataset.exists() else []
    others = sorted(name for name in names if not ours.fullmatch(name))
    others += [
        name for name in _COLUMNS if (dataset / name).is_dir() and _is_foreign(dataset / name)
    ]
    if others:
        raise UserError(
            f"{dataset} holds {', '.join(others[:3])} but no {MANIFEST}: not a dataset; "
            "choose an empty or a new folder"
        )


# Columns that distinguish Versa's tables from other files with the same names.
_COLUMNS = {
    "items": schema.ITEMS.names,
    "interactions": schema.INTERACTIONS.names,
    "errors": schema.ERRORS.names,
}


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds anything except the tables of an unfinished ingest."""
    try:
        refuse_foreign(folder, **_names_in(folder))
        return any(
            not set(_COLUMNS[folder.name]) <= set(read_file(path).schema.names)
            for path in folder.glob("*.arrow")
        )
    except UserError:
        return True


def _names_in(folder: Path) -> dict[str, str]:
    return {"names": _ERRORS} if folder.name == "errors" else {}


def _clear_unfinished(dataset: Path) -> None:
    """Removes the files of a killed ingest. `_refuse_other_folder` must have accepted the folder."""
    for name in _COLUMNS:
        clear_table(dataset / name, **_names_in(dataset / name))
    checksums.forget_notes(dataset, STEP)
    clear_scratch(dataset / SCRATCH)
    clear_temporary(dataset, re.escape(MANIFEST))


def _refuse_other(
    dataset: Path, done: dict[str, Any], settings: dict[str, Any], inputs: dict[str, Any]
) -> None:
    recorded = manifest.part(done, "steps", STEP, "config", dataset=dataset)
    known = manifest.part(done, "steps", STEP, "inputs", dataset=dataset)
    afresh = f"build into another folder or delete {dataset}"
    manifest.refuse_change(recorded, settings, where=str(dataset), afresh=afresh)
    manifest.refuse_other_inputs(known, inputs, where=str(dataset), afresh=afresh)
