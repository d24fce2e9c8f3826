"""The table of predictions: a row per face and frame, written batch by batch, so that memory does not grow with its length.

The names of the columns follow OpenFace and py-feat.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.facs import column
from toolkit.spreadsheets import defused

_ROWS_AT_ONCE = 1000
Row = Mapping[str, Any]
Value = TypeVar("Value")


def table_schema(
    aus: Sequence[int], *, has_au_texts: bool = False, has_face_texts: bool = False
) -> pa.Schema:
    """The columns of a table of predictions.

    `input` is the path of the image or video, `frame` the index of the frame, `timestamp` its time in seconds,
    `face_id` the number of a face, the same in all of its frames (null without a face), and `success` 1 with a face
    and 0 without. `face_x`, `face_y`, `face_w` and `face_h` are its box in pixels, and `confidence` is the detector's.
    For each AU, `AU01_p` is the probability that it is active, `AU01_c` whether it counts as active (1 or 0) and
    `AU01_text` its text; `face_text` is the text about the face. `status` is `ok`, `empty` without a face or `corrupt`
    for a frame that cannot be read. Values that do not exist are null, and empty in a CSV file.

    Args:
        aus: numbers of the AUs in FACS.
        has_au_texts: whether the network describes each AU.
        has_face_texts: whether the network describes the face.
    """
    fields: dict[str, pa.DataType] = {
        "input": pa.string(),
        "frame": pa.int64(),
        "timestamp": pa.float64(),
        "face_id": pa.int64(),
        "success": pa.int64(),
        **{f"face_{side}": pa.float64() for side in "xywh"},
        "confidence": pa.float64(),
    }
    for au in map(column, aus):
        fields |= {f"{au}_p": pa.float64(), f"{au}_c": pa.int64()}
    if has_au_texts:
        fields |= {f"{column(au)}_text": pa.string() for au in aus}
    if has_face_texts:
        fields["face_text"] = pa.string()
    return pa.schema(fields | {"status": pa.string()})


def as_dataframe(rows: Iterable[Row], schema: pa.Schema) -> pd.DataFrame:
    """The rows as a DataFrame; integers are of type Int64, which has a value for null."""
    nullable = {pa.int64(): pd.Int64Dtype()}
    return _table(rows, schema).to_pandas(types_mapper=nullable.get)


def write_rows(rows: Iterable[Row], path: str | Path, schema: pa.Schema) -> int:
    """Writes rows as they come to a file that appears when it is complete.

    Args:
        rows: rows with the columns of `schema`; absent ones are null.
        path: a .csv, .parquet or .jsonl file. In a .csv file, texts that spreadsheets would run as formulas begin with
            an apostrophe.
        schema: see `table_schema`.

    Returns:
        The number of rows.

    Raises:
        UserError: if the path has another suffix, or the disk is full.
    """
    path = Path(path)
    write, count = writer_of(path), 0

    def tables() -> Iterator[pa.Table]:
        nonlocal count
        for some in _batched(rows, _ROWS_AT_ONCE):
            count += len(some)
            yield _table(some, schema)

    write_atomically(path, lambda file: write(file, tables(), schema))
    return count


def writer_of(path: Path) -> Callable[[BinaryIO, Iterable[pa.Table], pa.Schema], None]:
    """The function that writes tables in the format of a path's suffix; call it to check a path before a long run.

    Raises:
        UserError: if the suffix is none of .csv, .parquet and .jsonl.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise UserError(
            f"{path}: predictions are written to {', '.join(_WRITERS)}; change the suffix of the file"
        )
    return write


def read_rows(path: str | Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The rows of a file that `write_rows` wrote, in order, a batch in memory at a time.

    Args:
        path: the file.
        schema: the schema with which it was written.
    """
    path = Path(path)
    for batch in _READERS[path.suffix.lower()](path, schema):
        yield from batch.to_pylist()


def _batched(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    remaining = iter(values)
    return iter(lambda: list(islice(remaining, size)), [])


def _table(rows: Iterable[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def _write_csv(file: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with pa.csv.CSVWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(defused(table))


def _write_parquet(file: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _write_jsonl(file: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    for table in tables:
        for row in table.to_pylist():
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _read_csv(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    options = pa.csv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    yield from pa.csv.open_csv(path, parse_options=parsing, convert_options=options)


def _read_parquet(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    yield from pa.parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE)


def _read_jsonl(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with path.open(encoding="utf-8") as lines:
        for some in _batched(lines, _ROWS_AT_ONCE):
            yield pa.RecordBatch.from_pylist([json.loads(line) for line in some], schema=schema)


_WRITERS: dict[str, Callable[[BinaryIO, Iterable[pa.Table], pa.Schema], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
_READERS: dict[str, Callable[[Path, pa.Schema], Iterator[pa.RecordBatch]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
}
