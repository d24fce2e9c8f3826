"""Checks rows that are not ok against the rows of `errors/`, without a Python object per row."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NAMED = 20  # maximum number of items in the report of a table


def tally(values: pa.ChunkedArray) -> Counter[str]:
    """The number of occurrences of each value."""
    counted = pc.value_counts(values)
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return Counter(dict(zip(names, counts, strict=True)))


def against_errors(
    name: str, ids: pa.ChunkedArray, status: pa.ChunkedArray, errors: pa.Table
) -> Iterator[str]:
    """Checks that every row that is not ok has exactly one row with its status in `errors/`, and ok rows have none.

    Args:
        name: name of the table, for messages.
        ids: (R,) item ids of the rows.
        status: (R,) status of each row.
        errors: the rows of `errors/` for the table's step (`toolkit.schema.ERRORS`).
    """
    known = pc.unique(pa.chunked_array([*ids.chunks, *errors["item_id"].chunks], pa.string()))
    classes = pc.unique(
        pa.chunked_array([*status.chunks, *errors["error_class"].chunks], pa.string())
    )
    own = np.full(len(known), -2)  # index of the status of each item's row; -2 without a row
    own[_indices(ids, known)] = _indices(status, classes)
    item_of_error = _indices(errors["item_id"], known)
    times = np.bincount(item_of_error, minlength=len(known))
    first = np.full(len(known), -1)
    first[item_of_error] = _indices(errors["error_class"], classes)
    ok = own == pc.index(classes, "ok").as_py()  # the index is -1 if no row is ok
    wrong = np.flatnonzero(np.where(ok, times != 0, (times != 1) | (first != own)))
    wrong = wrong[pc.sort_indices(known.take(pa.array(wrong))).to_numpy()]
    for item in wrong[:NAMED]:
        row_status = classes[int(own[item])].as_py() if own[item] >= 0 else "no row"
        listed = errors["error_class"].filter(pa.array(item_of_error == item)).to_pylist()
        yield f"{name}: item {known[int(item)].as_py()!r} has status {row_status}, but errors/ has {listed}"
    if len(wrong) > NAMED:
        yield f"{name}: {len(wrong) - NAMED:,} more items disagree with errors/"


def _indices(values: pa.ChunkedArray, among: pa.Array) -> NDArray[np.int64]:
    indices: NDArray[np.int64] = pc.index_in(values, among).to_numpy().astype(np.int64)
    return indices
