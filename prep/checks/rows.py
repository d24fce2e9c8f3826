"""Rows that are not ok against the rows of `errors/`, without a Python object a row."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NAMED = 20  # items that a table's report names; of others it says how many


def tally(words: pa.ChunkedArray) -> Counter[str]:
    """How often each word occurs."""
    counts = pc.value_counts(words)
    names, found = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    return Counter(dict(zip(names, found, strict=True)))


def against_errors(
    name: str, ids: pa.ChunkedArray, status: pa.ChunkedArray, told: pa.Table
) -> Iterator[str]:
    """Whether every row that is not ok has exactly one row in `errors/`, with the same word, and no other has any.

    Args:
        name: of the table, for messages.
        ids: (R,) items of its rows.
        status: (R,) their status.
        told: the rows of `errors/` of its step (`toolkit.schema.ERRORS`).
    """
    known = pc.unique(pa.chunked_array([*ids.chunks, *told["item_id"].chunks], pa.string()))
    words = pc.unique(pa.chunked_array([*status.chunks, *told["error_class"].chunks], pa.string()))
    own = np.full(len(known), -2)  # the word of each item's row; -2 where it has none
    own[_places(ids, known)] = _places(status, words)
    told_of = _places(told["item_id"], known)
    times = np.bincount(told_of, minlength=len(known))
    first = np.full(len(known), -1)
    first[told_of] = _places(told["error_class"], words)
    ok = own == pc.index(words, "ok").as_py()  # -1 where no row is ok
    wrong = np.where(ok, times != 0, (times != 1) | (first != own))
    found = np.flatnonzero(wrong)
    found = found[pc.sort_indices(known.take(pa.array(found))).to_numpy()]
    for place in found[:NAMED]:
        word = words[int(own[place])].as_py() if own[place] >= 0 else "no row"
        said = told["error_class"].filter(pa.array(told_of == place)).to_pylist()
        yield f"{name}: item {known[int(place)].as_py()!r} is {word}, and errors/ says {said}"
    if len(found) > NAMED:
        yield f"{name}: so it is with {len(found) - NAMED:,} more items"


def _places(values: pa.ChunkedArray, among: pa.Array) -> NDArray[np.int64]:
    places: NDArray[np.int64] = pc.index_in(values, among).to_numpy().astype(np.int64)
    return places
