"""The first step: a dump's ids, titles and interactions become numbered tables."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from prep import checksums, manifest, problems
from prep.config import PrepConfig
from prep.engine import engine
from prep.files import fingerprint
from prep.interactions import Log
from prep.numbering import number_items, numbered
from prep.readers import Raw, Reader, choose, make_readers, parts, refuse_unused
from toolkit import schema
from toolkit.checksums import NOTES, SHARDS
from toolkit.errors import UserError
from toolkit.progress import Progress
from toolkit.store import MANIFEST, SEAL, Table, write_json, write_table
from toolkit.versions import versions

STEP = "ingest"
SCRATCH = ".ingest.tmp"
ERRORS_SHARD = 100_000


def ingest(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    readers: Mapping[str, Reader] | None = None,
) -> None:
    """Writes `items/`, `interactions/`, `errors/` and, when they are whole, `dataset.json`.

    A rerun with the same configuration and input files does nothing.

    Args:
        dump: folder of what was downloaded.
        dataset: folder to write.
        config: `layout`, what the layout's reader is told, `name`, `k_core` and `memory_gib` are read
            here; the whole is kept in `dataset.json`.
        readers: of layouts of your own by name, which go before ours; layout `auto` looks for them first.

    Raises:
        UserError: if the dump cannot be understood, or the dataset was ingested from something else.
    """
    dump, dataset, config = Path(dump), Path(dataset), config or PrepConfig()
    own = dict(readers or {})
    known_readers = {
        **own,
        **make_readers(config),
        **own,
    }  # first in the order, and under a name that is taken
    layout, files = choose(config.layout, dump, known_readers)
    reader = known_readers[layout]
    refuse_unused(config, layout, reader)
    done = manifest.read(dataset)
    known = done["name"] if done else dump.resolve().name  # a dump may move without a change
    settings = {"layout": layout, "name": config.name or known, **reader.settings}
    # Defaults are not recorded: datasets of before have no such keys.
    plain = PrepConfig()
    chosen = {key: getattr(config, key) for key in ("k_core", "ties", "duplicates")}
    settings |= {key: value for key, value in chosen.items() if value != getattr(plain, key)}
    inputs = {
        str(part.relative_to(path.parent)): fingerprint(part)
        for path in files.values()
        for part in parts(path)
    }
    if done is None:
        _start_afresh(dataset)
        _write(dataset, reader.read(files), settings, inputs, config)
    else:
        _refuse_other(dataset, done, settings, inputs)
        manifest.record_checksums(dataset, STEP)
        print(f"ingest: already done ({_summary(done['counts'])})")


def _write(
    dataset: Path, raw: Raw, settings: dict[str, Any], inputs: dict[str, Any], config: PrepConfig
) -> None:
    if config.ties == "hash" and raw.items_as_they_come:
        raw = replace(raw, items=raw.items.sort_by("item_id"))
    items, item_problems = number_items(raw)
    if items.num_rows == 0:
        raise UserError(f"{raw.items_file}: no item in it; nothing to ingest")
    with engine(dataset / SCRATCH, memory_gib=config.memory_gib) as database:
        log = Log(
            database,
            raw,
            items,
            k_core=config.k_core,
            ties=config.ties,
            duplicates=config.duplicates,
        )
        told = _write_errors(dataset, chain(item_problems, raw.problems, log.problems()))
        kept = numbered(items.take(log.kept_items() - 1))
        if kept.num_rows == 0:
            raise UserError(
                f"{raw.interactions_file}: no user and item has {settings['k_core']} interactions among "
                "those that have; nothing is left to ingest: lower k_core"
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
        "errors": told,
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
    write_json(dataset / MANIFEST, finished)
    checksums.forget_notes(dataset, STEP)
    print(f"ingest: {settings['layout']}, {_summary(counts)}{problems.summary(told)}")


def _write_errors(dataset: Path, found: Iterable[problems.Problem]) -> dict[str, int]:
    """Writes `errors/ingest-*.arrow`, at least one; returns how many rows have which class."""
    told: Counter[str] = Counter()
    found = iter(found)
    blocks = iter(lambda: list(islice(found, ERRORS_SHARD)), [])
    for index, block in enumerate(chain([next(blocks, [])], blocks)):
        path = dataset / "errors" / f"{STEP}-{index:05d}.arrow"
        write_table(path, problems.table(STEP, block), compression="zstd")
        told.update(problem.error_class for problem in block)
    return dict(told)


def _summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _start_afresh(dataset: Path) -> None:
    """Clears what an unfinished ingest left, and nothing else."""
    ours = {"items", "interactions", "errors"}
    if dataset.exists() and not dataset.is_dir():
        raise UserError(f"{dataset} is a file; give a folder for the dataset")
    others = [
        p.name
        for p in dataset.glob("*")
        if p.name not in ours and not p.name.endswith((".tmp", NOTES))
    ]
    if others:
        raise UserError(
            f"{dataset} holds {', '.join(sorted(others)[:3])} but no {MANIFEST}: not a dataset; "
            "give an empty or a new folder"
        )
    for name in ours:
        shutil.rmtree(dataset / name, ignore_errors=True)


def _refuse_other(
    dataset: Path, done: dict[str, Any], settings: dict[str, Any], inputs: dict[str, Any]
) -> None:
    entry = done["steps"][STEP]
    afresh = f"build into another folder or delete {dataset}"
    manifest.refuse_change(entry["config"], settings, where=str(dataset), afresh=afresh)
    for name in sorted({*entry["inputs"], *inputs}):
        if entry["inputs"].get(name) != inputs.get(name):
            change = "is gone" if name not in inputs else "has changed"
            change = "is new" if name not in entry["inputs"] else change
            raise UserError(
                f"{name} {change} since {dataset} was ingested; to start afresh {afresh}"
            )
