"""What users wrote about items, where the dump has it: a table of its own, read once in blocks.

MicroLens has `*comment*.txt`, lines of user, item and text between tabs, without a header. The text
may be empty and may hold tabs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep import manifest, problems
from prep.files import find_file, fingerprint
from prep.problems import Problem
from prep.writing import clear_table, clear_temporary, writing
from toolkit import open_dataset, schema
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
    left_out = {word: _Lines() for word in _WHY}
    rows = 0
    for block, broken in _blocks(path):
        known = pc.is_in(block.column("item_id"), items)
        left_out["unreadable_line"].add(broken)
        left_out["unknown_item"].add(block.filter(pc.invert(known)).column("line").to_pylist())
        kept = block.filter(known).drop_columns("line")
        table.append(kept)
        rows += kept.num_rows
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


def _blocks(path: Path) -> Iterator[tuple[pa.Table, list[int]]]:
    """Some lines at a time: what they say with their numbers from 1, and which say nothing.

    There is one block at least, so that a table of comments exists even when it is empty.
    """
    with path.open("rb") as file:
        start = 1
        lines = list(islice(file, SHARD))
        while lines or start == 1:
            yield _parse(lines, start)
            start += SHARD
            lines = list(islice(file, SHARD))


def _parse(lines: list[bytes], start: int) -> tuple[pa.Table, list[int]]:
    rows: list[dict[str, str | int]] = []
    broken = []
    for number, line in enumerate(lines, start):
        try:
            user, item, text = line.rstrip(b"\r\n").decode("utf-8-sig").split("\t", 2)
            rows.append({"item_id": item, "user_id": user, "text": text, "line": number})
        except ValueError:  # fewer fields than three, or not UTF-8
            if line.strip():
                broken.append(number)
    return pa.Table.from_pylist(rows, schema=schema.COMMENTS.append(_LINE)), broken
