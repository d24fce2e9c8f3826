"""Imports a file of features as a tower of one state per item; no encoder runs."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shlex import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.config import FeaturesConfig, FeatureSource
from prep.readers.files import find_file, find_files, fingerprint
from prep.steps import manifest
from prep.steps.pipeline import Step, run_step
from prep.steps.writing import writing
from prep.towers.rows import FLOAT16_LARGEST, SHARD, state_rows
from prep.towers.vectors import RAW, Vectors, read_vectors, vector_columns
from toolkit import Dataset, open_dataset, schema
from toolkit.errors import UserError
from toolkit.schema import Status
from toolkit.towers import IMPORTED
from toolkit.versions import versions

_CHECKED_AT_ONCE = 4096
# What the words in the names of released features say about their source.
_SOURCES: dict[str, FeatureSource] = {
    "image": "cover",
    "text": "title",
    "video": "frames",
    "img": "cover",
    "txt": "title",
}


def import_tower(
    dataset: Path, tower: str, config: FeaturesConfig, *, retry_failed: bool = False
) -> None:
    """Writes `states/TOWER/` from a file of features, one row per item; zeros for items not in it.

    Args:
        dataset: what `ingest` wrote.
        tower: its name.
        config: the file and the source of its features.
        retry_failed: whether items that are not ok are done again.

    Raises:
        UserError: if the file cannot be read, does not fit the items, or holds values that float16
            does not; or if existing states came from another.
    """
    data = open_dataset(dataset)
    vectors = read_vectors(config)
    rows = _rows_by_id(data, config, vectors)
    _refuse_unfit(config, vectors.values, rows)
    step = _step(tower, config, vectors.values, rows)
    items = data.items.select(["item_id", "item"])
    with writing(dataset, step.name):
        counts = run_step(dataset, step, items, retry_failed=retry_failed)
        manifest.record_step(
            dataset,
            step.name,
            asdict(config),
            revision=step.config["revision"],
            versions=versions("numpy"),
            items=counts,
        )


def _rows_by_id(data: Dataset, config: FeaturesConfig, vectors: Vectors) -> dict[str, int]:
    """Which row of the file is of which item of the dataset."""
    count = len(vectors.values)
    known = set(data.item_ids.ids)
    counted = [str(number) for number in range(1, count + 1)]
    ids = counted if vectors.ids is None else vectors.ids
    matches = [(id_, row) for row, id_ in enumerate(ids) if id_ in known]
    rows = dict(matches)
    if vectors.ids is None and not len(rows) == len(known) == count:
        raise UserError(
            f"{config.file}: its {count:,} rows say no ids, so they would be items 1 to {count}; the "
            f"dataset has {len(known):,} items (e.g. {data.item_ids.ids[-1]!r}); give ids, a text file "
            "with the id of each row, or take the .json of the same features"
        )
    if len(rows) < len(matches):
        twice = next(id_ for id_, row in matches if rows[id_] != row)
        raise UserError(f"{config.file}: item {twice!r} has several vectors; keep one")
    if not rows:
        raise UserError(
            f"{config.file}: none of its {count:,} ids (e.g. {ids[0]!r}) is an item of the dataset "
            f"(e.g. {data.item_ids.ids[0]!r}); it belongs to another dump"
        )
    return rows


def _refuse_unfit(
    config: FeaturesConfig, values: NDArray[np.floating], rows: dict[str, int]
) -> None:
    ids, places = list(rows), np.fromiter(rows.values(), np.int64)
    for start in range(0, len(ids), _CHECKED_AT_ONCE):
        part = np.abs(values[places[start : start + _CHECKED_AT_ONCE]])
        fits = (part <= FLOAT16_LARGEST).all(axis=1)  # false for what is not a number
        if not fits.all():
            row = int(np.argmin(fits))
            worst = part[row][~(part[row] <= FLOAT16_LARGEST)][0]
            raise UserError(
                f"{config.file}: item {ids[start + row]!r} has a value of size {worst:g}; states are "
                f"finite and at most {FLOAT16_LARGEST:g} (float16); mend or scale the features"
            )


def _step(
    tower: str, config: FeaturesConfig, values: NDArray[np.floating], rows: dict[str, int]
) -> Step:
    name = Path(config.file).name + (f":{config.column}" if config.column else "")
    about = {
        "encoder": f"{IMPORTED}{name}",
        "revision": fingerprint(Path(config.file))["sha256"],
        "layers": "1",
        "width": str(values.shape[1]),
        "pooling": "none",
        "source": config.source,
        "modality": config.modality,
        "dtype": "float16",
    }
    ids = fingerprint(Path(config.ids))["sha256"] if config.ids else None
    depends = {key: about[key] for key in ("encoder", "revision", "source")} | {"ids": ids}
    columns = schema.states(1, values.shape[1]).with_metadata(about)
    work = partial(import_batch, values=values, rows=rows, file=name)
    return Step(f"encode:{tower}", f"states/{tower}", columns, depends, work, SHARD)


def import_batch(
    batch: pa.RecordBatch, *, values: NDArray[np.floating], rows: dict[str, int], file: str
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.states`, `status` and `message`).

    Args:
        batch: with the columns item_id and item.
        values: (R, D).
        rows: the row of `values` by item id.
        file: their name, for messages.
    """
    ids = batch.column("item_id").to_pylist()
    present = [index for index, id_ in enumerate(ids) if id_ in rows]
    states = np.zeros((len(ids), values.shape[1]), np.float16)
    states[present] = values[[rows[ids[index]] for index in present]]
    missing: tuple[Status, str | None] = ("missing", f"{file} has no vector of it")
    return state_rows(batch, states, [("ok", None) if id_ in rows else missing for id_ in ids])


def suggest(dump: Path, config: dict[str, FeaturesConfig]) -> None:
    """Says which towers the dump's released features could be, and with which options.

    Args:
        dump: folder of what was downloaded.
        config: the towers that are imported already.
    """
    taken = {(Path(tower.file).name, tower.column) for tower in config.values()}
    for tower, found in _released(dump):
        if (Path(found.file).name, found.column) not in taken:
            option = f"--features.{tower}"
            column = f" {option}.column {found.column}" if found.column else ""
            print(
                f"features: a tower that needs no encoder: {option}.file {quote(found.file)} "
                f"{option}.source {found.source}{column}"
            )


def _released(dump: Path) -> Iterator[tuple[str, FeaturesConfig]]:
    """Released features by the names that MicroLens, UniSRec and MISSRec give them, each with a name for its tower."""
    for path in find_files(dump, "*_features_*.npy"):
        match = re.search(r"_(image|text|video)_features_(\w+)$", path.stem)
        if match:
            yield match[2].lower(), FeaturesConfig(str(path), _SOURCES[match[1]])
    for path in find_files(dump, "*.feat*"):
        if RAW.fullmatch(path.suffix):
            source: FeatureSource = "cover" if "3" in path.suffix else "title"
            yield path.suffix[1:].lower(), FeaturesConfig(str(path), source)
    for name in ("item_feature", "item_emb", "item_info"):
        table = find_file(dump, f"{name}.parquet")
        for column in vector_columns(table) if table else ():
            source = _SOURCES.get(column.partition("_")[0], "mixed")
            yield column.lower(), FeaturesConfig(str(table), source, column=column)
