"""Validates a dataset of faces beyond its files: every row against `errors/`, labels, intensities and folds."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.faces.raw import STEP
from prep.steps.pipeline import errors_of
from toolkit import Dataset, schema
from toolkit.faces import FOLDER, Faces
from toolkit.facs import ACTIVE, HIGHEST_INTENSITY, INACTIVE, MISSING


def check_faces(data: Dataset) -> Iterator[str]:
    """The reasons why a dataset of faces is broken or unfinished.

    Args:
        data: a dataset of kind `faces`.

    Raises:
        UserError: if the table is missing or cannot be read.
    """
    faces, steps = Faces(data), data.manifest.get("steps", {})
    if FOLDER not in steps:
        yield "step faces has not finished; run prep faces again to resume it"
    table, units = faces.table, len(faces.units)
    rows = data.manifest.get("counts", {}).get("faces")
    if rows != table.num_rows:
        yield f"faces: {table.num_rows:,} rows, but dataset.json records {rows}; run prep faces again to resume"
    twice = table.num_rows - pc.count_distinct(table["item_id"]).as_py()
    if twice:
        yield f"faces: {twice:,} rows repeat a picture that has another row"
    unknown = {*pc.unique(table["status"]).to_pylist()} - {*get_args(schema.Status)}
    yield from (f"faces: unknown status {value!r}" for value in sorted(unknown))
    yield from _statuses(table, errors_of(data.path, FOLDER))
    yield from _values("labels", table["labels"], units, {INACTIVE, ACTIVE, MISSING})
    known = {*range(HIGHEST_INTENSITY + 1), MISSING}
    yield from _values("intensities", table["intensities"], units, known)
    yield from _subjects_of_folds(table)


def count_faces(data: Dataset) -> dict[str, tuple[int, Counter[str]]]:
    """Rows by table with their statuses, and the problems of the lists, if there are any."""
    errors = Counter(errors_of(data.path, FOLDER)["error_class"].to_pylist())
    left_out = Counter(errors_of(data.path, STEP)["error_class"].to_pylist())
    rows = Faces(data).table.num_rows
    tables = {FOLDER: (rows, Counter(ok=rows - errors.total()) + errors)}
    return tables | ({STEP: (0, left_out)} if left_out else {})


def _statuses(table: pa.Table, errors: pa.Table) -> Iterator[str]:
    failed = table.filter(pc.not_equal(table["status"], "ok"))
    rows, listed = (
        {*zip(t["item_id"].to_pylist(), t[name].to_pylist(), strict=True)}
        for t, name in ((failed, "status"), (errors, "error_class"))
    )
    other = sorted(rows ^ listed)
    if other or errors.num_rows != len(listed):
        example = f", such as {other[0][0]}" if other else ""
        yield f"faces: {len(other):,} statuses disagree with errors/{example}"
    wrong = pc.sum(pc.equal(table["image"].is_valid(), pc.not_equal(table["status"], "ok"))).as_py()
    if wrong:
        yield f"faces: {wrong:,} rows are ok without a picture, or have one and are not ok"


def _values(name: str, column: pa.ChunkedArray, units: int, known: set[int]) -> Iterator[str]:
    values = column.drop_null().combine_chunks().flatten().to_numpy()
    wrong = int((~np.isin(values.reshape(-1, units), list(known))).any(axis=1).sum())
    if wrong:
        yield f"faces: {wrong:,} rows have {name} outside of {sorted(known)}"


def _subjects_of_folds(table: pa.Table) -> Iterator[str]:
    pairs = table.select(["subject", "fold"]).filter(table["fold"].is_valid())
    folds = pairs.group_by("subject").aggregate([("fold", "count_distinct")])
    several = folds.filter(pc.greater(folds["fold_count_distinct"], 1))["subject"].to_pylist()
    if several:
        yield f"faces: {len(several)} subjects are in several folds, such as {min(several)}"
