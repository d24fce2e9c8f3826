"""Files of features, a vector an item: NumPy arrays, JSON objects, columns of Parquet tables, UniSRec's raw float32.

R vectors in a file, D values in each.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from prep.config import FeaturesConfig
from prep.readers.augmented import BESIDE
from prep.readers.indexes import read_index
from prep.readers.raw import text_of
from toolkit.errors import UserError

_BLOCK_CHARACTERS = 1 << 22
RAW = re.compile(
    r"\.feat\d[A-Za-z]+"
)  # of UniSRec (1: texts, 2: texts without some words) and MISSRec (3: images)
_AGAIN = "download it again, or leave the tower out"


class Vectors(NamedTuple):
    """What a file of features holds.

    Args:
        ids: of R items, as the dump has them; None where the rows are simply 1, 2, ..., R.
        values: (R, D) floats; of a NumPy file, mapped and not read yet.
    """

    ids: list[str] | None
    values: NDArray[np.floating]


def read_vectors(config: FeaturesConfig) -> Vectors:
    """Reads the file of a tower's features.

    Raises:
        UserError: if there is no such file, or it does not hold a vector of floats an item.
    """
    path = Path(config.file)
    reader = _READERS.get("raw" if RAW.fullmatch(path.suffix) else path.suffix)
    if reader is None:
        raise UserError(
            f"{path}: features are read from .npy, .json, .parquet and UniSRec's .feat1CLS; convert the file to one of them"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file of features; mend the path")
    vectors = reader(path, config)
    shape, kind = vectors.values.shape, vectors.values.dtype
    if vectors.values.ndim != 2 or 0 in shape or kind.kind != "f":
        raise UserError(
            f"{path}: expected a row of floats an item, found {kind} of shape {shape}; convert it"
        )
    return vectors


def _npy(path: Path, config: FeaturesConfig) -> Vectors:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("it is an archive of arrays")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array of numbers ({error}); {_AGAIN}") from None
    if config.ids is None:
        return Vectors(None, values)
    ids = _listed(config.ids)
    if len(ids) != len(values):
        raise UserError(f"{config.ids}: {len(ids):,} ids for the {len(values):,} rows of {path}")
    return Vectors(ids, values)


def _listed(file: str) -> list[str]:
    return [line.strip() for line in text_of(Path(file)).rstrip().split("\n")]


def _raw(path: Path, config: FeaturesConfig) -> Vectors:
    """Float32 values without a header; the rows are the indexes of `NAME.item2index` beside the file, or `ids`."""
    beside = path.with_suffix(BESIDE["item index"])
    if config.ids is None and not beside.is_file():
        raise UserError(
            f"{path}: its rows are unknown without {beside.name} beside it; add that file, or give ids, a text file with the "
            "item id of each row"
        )
    index = {} if config.ids else read_index(beside)
    if list(index) != [str(row) for row in range(len(index))]:
        raise UserError(f"{beside}: expected the indexes 0, 1, 2, ..., one per row of {path.name}")
    ids = _listed(config.ids) if config.ids else list(index.values())
    size = path.stat().st_size
    if size == 0 or size % (4 * len(ids)):
        raise UserError(
            f"{path}: {size:,} bytes are no float32 vectors of {len(ids):,} items ({config.ids or beside.name}); {_AGAIN}"
        )
    return Vectors(ids, np.memmap(path, np.float32, mode="r").reshape(len(ids), -1))


def _json(path: Path, config: FeaturesConfig) -> Vectors:
    ids: list[str] = []
    rows: list[NDArray[np.float32]] = []
    try:
        for id_, numbers in _json_entries(path):
            ids.append(id_)
            rows.append(np.asarray(numbers, np.float32))
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f'{path}: expected {{"ID": [numbers], ...}} ({error} after {len(ids):,} items); {_AGAIN}'
        ) from None
    for id_, row in zip(ids, rows, strict=True):
        if row.shape != rows[0].shape:
            raise UserError(
                f"{path}: item {id_!r} has {row.size} values and item {ids[0]!r} {rows[0].size}; "
                f"{_AGAIN}"
            )
    return Vectors(ids, np.stack(rows) if rows else np.empty((0, 0), np.float32))


def _json_entries(path: Path) -> Iterator[tuple[str, list[float]]]:
    """Entry by entry, because numbers as Python objects take several times the file's size.

    Every value is a flat list, so each entry ends with the next `]`.
    """
    rest = ""
    with path.open(encoding="utf-8-sig") as file:
        while block := file.read(_BLOCK_CHARACTERS):
            *entries, rest = (rest + block).split("]")
            for entry in entries:
                yield from json.loads("{" + entry.lstrip().lstrip("{,") + "]}").items()
    if rest.strip() != "}":
        raise ValueError("it does not end as it should")


def vector_columns(path: Path) -> list[str]:
    """The columns of a Parquet file that hold lists of floats.

    Raises:
        UserError: if it is no Parquet file.
    """
    return [
        field.name
        for field in _open_parquet(path).schema_arrow
        if _is_list(field.type) and pa.types.is_floating(field.type.value_type)
    ]


def _parquet(path: Path, config: FeaturesConfig) -> Vectors:
    file = _open_parquet(path)
    wanted = ["item_id", config.column]
    if set(wanted) - set(file.schema_arrow.names):
        raise UserError(
            f"{path}: expected the columns item_id and {config.column!r} (column), found "
            f"{', '.join(file.schema_arrow.names)}; mend column"
        )
    table = file.read(columns=wanted)
    ids = table.column("item_id").cast(pa.string()).to_pylist()
    return Vectors(ids, _matrix(path, table.column(config.column).combine_chunks()))


def _open_parquet(path: Path) -> pa.parquet.ParquetFile:
    try:
        return pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); {_AGAIN}") from None


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_))


def _matrix(path: Path, lists: pa.Array) -> NDArray[np.floating]:
    """(R, D) of a column of lists."""
    if not _is_list(lists.type):
        raise UserError(f"{path}: expected a column of lists of floats, found {lists.type}")
    widths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(widths) != 1 or widths[0] is None:
        raise UserError(f"{path}: its lists are not all of one length ({widths[:5]}); {_AGAIN}")
    values: NDArray[np.floating] = lists.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), -1)


_READERS: dict[str, Callable[[Path, FeaturesConfig], Vectors]] = {
    ".npy": _npy,
    ".json": _json,
    ".parquet": _parquet,
    "raw": _raw,
}
