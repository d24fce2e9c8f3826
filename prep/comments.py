"""Step comments: stores the comments of users on items, if the dump has them, in a table of their own.

MicroLens has `*comment*.txt` with one line per comment: user, item and text, separated by tabs. The file has no
header, but a header with these names is skipped. The text may be empty and may contain tabs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.files import find_file, fingerprint
from prep.readers.headers import header_or_none
from prep.readers.ids import look_alike
from prep.readers.stream import LINES_LOOKED_AT
from prep.readers.text import first_lines
from prep.steps import manifest, problems
from prep.steps.problems import Problem
from prep.steps.writing import clear_table, clear_temporary, writing
from toolkit import open_dataset, schema
from toolkit.errors import UserError
from toolkit.store import Table, write_table

STEP = "comments"
SHARD = 200_000  # lines in memory at a time; also the maximum number of rows per shard
_LINES_NAMED = 5
_LINE = pa.field("line", pa.int64(), nullable=False)
_WHY = {
    "unreadable_line": "are not user, item and text in UTF-8, separated by tabs",
    "unknown_item": "belong to items that the dataset does not have",
}


def comments(dump: str | Path, dataset: str | Path) -> None:
    """Writes `comments/` (`toolkit.schema.COMMENTS`), in the file's order, and skipped lines into `errors/`.

    A rerun with the same file does nothing. If the dump has no comments, the table is skipped with a message.

    Args:
        dump: folder of the downloaded dump.
        dataset: folder that `ingest` wrote.

    Raises:
        UserError: if nothing is ingested, the comments were read from another file, or another process is
            reading them.
    """
    dump, dataset = Path(dump), Path(dataset)
    manifest.require_interactions(dataset)
    with writing(dataset, STEP):
        _comments(dump, dataset)


def _comments(dump: Path, dataset: Path) -> None:
    done = manifest.require(dataset)
    steps = done["steps"]
    layout = manifest.part(done, "steps", "ingest", "config", "layout", dataset=dataset)
    has_any = layout == "microlens"
    path = find_file(dump, "*comment*.txt") if has_any else None
    inputs = {path.name: fingerprint(path)} if path else {}
    table = Table(dataset / STEP)
    if table.exists() and "inputs" in steps.get(STEP, {}):
        afresh = f"delete {table.folder}"
        manifest.refuse_change(
            steps[STEP]["inputs"], inputs, where=str(table.folder), afresh=afresh
        )
        manifest.record_checksums(dataset, STEP)
        rows = manifest.part(done, "steps", STEP, "rows", dataset=dataset)
        print(f"{STEP}: already done ({rows:,} rows)")
    elif path is None:
        print(f"{STEP}: skipped, the dump has none")
        manifest.record_step(dataset, STEP, {}, skipped="the dump has none")
    else:
        rows, errors = _write(path, dataset)
        manifest.record_step(dataset, STEP, {}, inputs=inputs, rows=rows, errors=errors)
        print(f"{STEP}: {rows:,} rows{problems.summary(errors)}")


def _write(path: Path, dataset: Path) -> tuple[int, dict[str, int]]:
    """Writes the complete table or none; returns its number of rows, and the rows of `errors/` by error class."""
    table = Table(dataset / f"{STEP}.tmp")
    clear_table(table.folder)  # the files of an unfinished run
    clear_temporary(dataset / "errors", rf"{STEP}-\d{{5,}}\.arrow")
    items = open_dataset(dataset).items.column("item_id")
    header = _has_header(path)
    left_out = {error_class: _Lines() for error_class in _WHY}
    rows, unknown_id = 0, None
    for block, broken in _blocks(path, header=header):
        known = pc.is_in(block.column("item_id"), items)
        left_out["unreadable_line"].add(broken)
        left_out["unknown_item"].add(block.filter(pc.invert(known)).column("line").to_pylist())
        kept = block.filter(known).drop_columns("line")
        table.append(kept)
        rows += kept.num_rows
        unknown_id = unknown_id or next(
            iter(block.filter(pc.invert(known)).column("item_id").to_pylist()), None
        )
    if rows == 0 and unknown_id is not None:
        raise _no_item_known(path, unknown_id, items.to_pylist())
    errors = problems.table(
        STEP,
        [
            Problem(None, error_class, f"{path.name}: {lines} {_WHY[error_class]}; left out")
            for error_class, lines in left_out.items()
            if lines.count
        ],
    )
    write_table(dataset / "errors" / f"{STEP}-00000.arrow", errors, compression="zstd")
    clear_table(dataset / STEP)
    table.folder.rename(dataset / STEP)
    return rows, problems.tally(errors)


def _has_header(path: Path) -> bool:
    """Whether the first line is a header; refuses headers with other columns or another order."""
    form = "user<TAB>item<TAB>text"
    begin = first_lines(path, LINES_LOOKED_AT)
    header = header_or_none(path, begin, ["user", "item", "text"], form=form, separator="\t")
    if header is not None and (header.separator, [*header.columns.values()]) != ("\t", [0, 1, 2]):
        raise UserError(
            f"{path}:1: the header is {begin[0][:80]!r}, expected {form!r} (or no header at all); reorder its columns"
        )
    return header is not None


def _no_item_known(path: Path, unknown: str, known: list[str]) -> UserError:
    here, other, why = look_alike([unknown], known, loosely=True) or (unknown, known[0], "")
    example = f"{here!r} in the comments, {other!r} in the dataset" + (f", {why}" if why else "")
    return UserError(
        f"{path}: no comment belongs to an item of the dataset (example ids: {example}); use the same ids in both, "
        "or move the file away to continue without comments"
    )


@dataclass
class _Lines:
    """The number of lines, and the numbers of the first few."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, numbers: list[int]) -> None:
        self.count += len(numbers)
        self.first += numbers[: _LINES_NAMED - len(self.first)]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count:,} lines ({', '.join(map(str, self.first))}{more})"


def _blocks(path: Path, *, header: bool) -> Iterator[tuple[pa.Table, list[int]]]:
    """Yields blocks of lines: parsed rows with line numbers from 1, and the numbers of unreadable lines.

    Yields at least one block, so that the table exists even if it is empty.
    """
    with path.open("rb") as file:
        if header:
            file.readline()
        first = start = 1 + header
        lines = list(islice(file, SHARD))
        while lines or start == first:
            yield _parse(lines, start)
            start += SHARD
            lines = list(islice(file, SHARD))


def _parse(lines: list[bytes], start: int) -> tuple[pa.Table, list[int]]:
    rows: list[dict[str, str | int]] = []
    broken = []
    for number, line in enumerate(lines, start):
        try:
            user, item, text = line.rstrip(b"\r\n").decode("utf-8-sig").split("\t", 2)
            rows.append(
                {"item_id": item.strip(), "user_id": user.strip(), "text": text, "line": number}
            )
        except ValueError:  # fewer than three fields, or not UTF-8
            if line.strip():
                broken.append(number)
    return pa.Table.from_pylist(rows, schema=schema.COMMENTS.append(_LINE)), broken
