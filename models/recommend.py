"""Top-k recommendations of a trained model: `python -m models recommend RUN [--users FILE] [-k 10]`."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from models.inputs.histories import Histories, dataset_histories
from models.inputs.history_files import read_histories
from models.ranking.top_k import TopK
from models.runs.run import load
from toolkit import schema
from toolkit.arguments import a_path, refuse_one_file, whole_number
from toolkit.atomic import write_atomically
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.graphemes import cut
from toolkit.ids import as_ids
from toolkit.spreadsheets import defused
from toolkit.store import write_table
from toolkit.text_files import read_text

_ROWS_AT_ONCE = 1 << 16


def recommend(
    run: str | Path,
    *,
    users: Sequence[str | int] | None = None,
    histories: str | Path | None = None,
    data: str | Path | None = None,
    items: Sequence[str | int] | None = None,
    k: int = 10,
    output: str | Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> pa.Table:
    """The top-k items per user, without the items of the user's history.

    Args:
        run: run folder.
        users: user ids (`toolkit.ids.as_ids`); all users of the dataset by default.
        histories: file with histories, instead of `users` (`models.inputs.history_files.read_histories`).
        data: another dataset with the run's towers (`models.runs.run.load`).
        items: ids of the items that may be recommended (`TrainedRecommender.recommend`).
        k: number of items per user.
        output: output file, .arrow, .csv, .jsonl or .json.
        device: device of the computation.
        progress: whether to draw a progress bar.

    Returns:
        A table `user_id, rank, item_id, score, title` (`toolkit.schema.USER_RECOMMENDATIONS`), with the protocol that the
        run was trained under in its metadata.

    Raises:
        UserError: if the output has another ending, or if a user, an item or a file is invalid.
    """
    write = None if output is None else _writer(a_path(output, name="output"))
    refuse_one_file({"--histories": histories, "--output": output})
    k = whole_number(k, name="k")
    users = None if users is None else as_ids(users, what="users", one="user id")
    items = None if items is None else as_ids(items, what="items", one="item id")
    if users is not None and histories is not None:
        raise UserError(
            "--users and --histories: users come either from the dataset or from the file; give one"
        )
    trained = load(run, data=data, device=device)
    if histories is not None:
        user_histories = read_histories(histories, trained.dataset)
    else:
        user_histories = dataset_histories(trained.dataset, users, times=trained.model.takes_times)
    blocks = trained.top_items(user_histories, k, items=items, progress=progress)
    table = _with_names(blocks, user_histories, trained.dataset).replace_schema_metadata(
        {schema.PROTOCOL: json.dumps(trained.config.protocol)}
    )
    if write is not None:
        write(table)
    return table


def read_ids(path: str | Path, *, kind: Literal["user", "item"]) -> list[str]:
    """Ids from the text file of --users or --items, one per line, in UTF-8 with or without a byte order mark.

    Raises:
        UserError: if the file cannot be read or contains no id.
    """
    lines = read_text(Path(path), name=f"--{kind}s {path}").split("\n")
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"--{kind}s {path}: empty; expected one {kind} id per line")
    return ids


def format_recommendations(table: pa.Table, *, users: int = 3) -> str:
    """The first users' recommendations as readable lines."""
    heads = np.flatnonzero(table.column("rank").to_numpy() == 1)
    lines = []
    for row in table.slice(0, heads[users] if len(heads) > users else None).to_pylist():
        if row["rank"] == 1:
            lines.append(f"user {row['user_id']}")
        lines.append(
            f"  {row['rank']:>3}. {row['item_id']:<12} {row['score']:8.3f}  {cut(row['title'], 60)}"
        )
    return "\n".join(lines)


def _with_names(blocks: Iterable[TopK], histories: Histories, dataset: Dataset) -> pa.Table:
    """Recommendations with user ids, item ids and titles; one record batch per block of users."""
    items = dataset.items.select(["item_id", "title"]).combine_chunks()
    tables = []
    for block in blocks:
        named = items.take(pa.array(block.items - 1))
        user_ids = histories.user_ids.take(pa.array(block.rows))
        columns = [user_ids, block.ranks, named["item_id"], block.scores, named["title"]]
        tables.append(pa.table(columns, schema=schema.USER_RECOMMENDATIONS))
    return pa.concat_tables([schema.USER_RECOMMENDATIONS.empty_table(), *tables])


def _writer(path: Path) -> Callable[[pa.Table], None]:
    """A function that writes a table to `path`, in the format of its ending."""
    suffix = path.suffix.lower()
    if suffix == ".arrow":
        return lambda table: write_table(path, table, compression="zstd")
    if suffix not in _WRITERS:
        endings = ", ".join([".arrow", *_WRITERS])
        raise UserError(f"--output {path}: its ending must be one of {endings}")
    write = _WRITERS[suffix]
    return lambda table: write_atomically(path, lambda file: write(file, table))


def _write_json(file: BinaryIO, table: pa.Table) -> None:
    file.write(table.to_pandas().to_json(orient="records", force_ascii=False).encode())


def _write_jsonl(file: BinaryIO, table: pa.Table) -> None:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        if batch.num_rows:  # pandas would write an empty line for an empty batch
            rows = batch.to_pandas()
            file.write(rows.to_json(orient="records", lines=True, force_ascii=False).encode())


_WRITERS: dict[str, Callable[[BinaryIO, pa.Table], None]] = {
    ".csv": lambda file, table: pa.csv.write_csv(defused(table), file),
    ".jsonl": _write_jsonl,
    ".json": _write_json,
}
