"""What users wrote about items, where the dump has it: a table of its own, read once in blocks.

MicroLens has `*comment*.txt`, lines of user, item and text between tabs, without a header (one that names these
is left out). The text may be empty and may hold tabs.
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
SHARD = 200_000  # lines in memory at a time, and at most so many rows in a shard
_LINES_NAMED = 5
_LINE = pa.field("line", pa.int64(), nullable=False)
_WHY = {
    "unreadable_line": "are not user, item and text in UTF-8 with tabs between",
    "unknown_item": "are of items that the dataset does not have",
}


def comments(dump: str | Path, dataset: str | Path) -> None:
    """Writes `comments/` (`toolkit.schema.COMMENTS`), in the file's order, and what was left out.

    A rerun with the same file does nothing. A dump without comments skips the table and says so.

    Args:
        dump: folder of what was downloaded.
        dataset: what `ingest` wrote.

    Raises:
        UserError: if nothing is ingested, the comments were read from another file, or another process is
            reading them.
    """
    dump, dataset = Path(dump), Path(dataset)
    manifest.require(dataset)
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
        rows, told = _write(path, dataset)
        manifest.record_step(dataset, STEP, {}, inputs=inputs, rows=rows, errors=told)
        print(f"{STEP}: {rows:,} rows{problems.summary(told)}")


def _write(path: Path, dataset: Path) -> tuple[int, dict[str, int]]:
    """Writes the table, whole or not at all; returns how many rows it and `errors/` have by class."""
    table = Table(dataset / f"{STEP}.tmp")
    clear_table(table.folder)  # what an unfinished run left
    clear_temporary(dataset / "errors", rf"{STEP}-\d{{5,}}\.arrow")
    items = open_dataset(dataset).items.column("item_id")
    header = _has_header(path)
    left_out = {word: _Lines() for word in _WHY}
    rows, strange = 0, None
    for block, broken in _blocks(path, header=header):
        known = pc.is_in(block.column("item_id"), items)
        left_out["unreadable_line"].add(broken)
        left_out["unknown_item"].add(block.filter(pc.invert(known)).column("line").to_pylist())
        kept = block.filter(known).drop_columns("line")
        table.append(kept)
        rows += kept.num_rows
        strange = strange or next(
            iter(block.filter(pc.invert(known)).column("item_id").to_pylist()), None
        )
    if rows == 0 and strange is not None:
        raise _no_item_known(path, strange, items.to_pylist())
    told = problems.table(
        STEP,
        [
            Problem(None, word, f"{path.name}: {lines} {_WHY[word]}; left out")
            for word, lines in left_out.items()
            if lines.count
        ],
    )
    write_table(dataset / "errors" / f"{STEP}-00000.arrow", told, compression="zstd")
    clear_table(dataset / STEP)
    table.folder.rename(dataset / STEP)
    return rows, problems.tally(told)


def _has_header(path: Path) -> bool:
    """Whether the first line names the columns; it is refused if these are others or in another order."""
    form = "user<TAB>item<TAB>text"
    begin = first_lines(path, LINES_LOOKED_AT)
    header = header_or_none(path, begin, ["user", "item", "text"], form=form, separator="\t")
    if header is not None and (header.separator, [*header.places.values()]) != ("\t", [0, 1, 2]):
        raise UserError(
            f"{path}:1: the header is {begin[0][:80]!r}, expected {form!r} (or no header at all); reorder its columns"
        )
    return header is not None


def _no_item_known(path: Path, strange: str, known: list[str]) -> UserError:
    one, other, why = look_alike([strange], known, loosely=True) or (strange, known[0], "")
    told = f"{one!r} there, {other!r} in the dataset" + (f", {why}" if why else "")
    return UserError(
        f"{path}: no comment is of an item of the dataset; ids are such as {told}; write the ids alike, or move the "
        "file away to go on without comments"
    )


@dataclass
class _Lines:
    """How many lines, and which came first."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, numbers: list[int]) -> None:
        self.count += len(numbers)
        self.first += numbers[: _LINES_NAMED - len(self.first)]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count:,} lines ({', '.join(map(str, self.first))}{more})"


def _blocks(path: Path, *, header: bool) -> Iterator[tuple[pa.Table, list[int]]]:
    """Some lines at a time: what they say with their numbers from 1, and which say nothing.

    There is one block at least, so that a table of comments exists even when it is empty.
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
        except ValueError:  # fewer fields than three, or not UTF-8
            if line.strip():
                broken.append(number)
    return pa.Table.from_pylist(rows, schema=schema.COMMENTS.append(_LINE)), broken
