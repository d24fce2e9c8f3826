"""What a trained model would show next: `python -m models recommend RUN [--users FILE] [-k 10]`."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from models.run import TrainedRecommender, load
from toolkit.errors import UserError
from toolkit.store import write_table


def recommend(
    run: str | Path,
    *,
    users: Sequence[str] | None = None,
    k: int = 10,
    output: str | Path | None = None,
    device: str = "cpu",
) -> pa.Table:
    """The k best items for users of the dataset, from all their interactions.

    Args:
        run: run folder.
        users: user ids; all users of the dataset by default.
        k: items a user.
        output: Arrow file to write.
        device: where to compute.

    Returns:
        A table `user_id, row, rank, item_id, score, title`; `row` counts the users from 0.

    Raises:
        UserError: if a user is unknown.
    """
    trained = load(run, device=device)
    histories = _histories(trained, users)
    found = trained.recommend(list(histories.values()), k)
    names = pa.array(histories.keys(), pa.string()).take(found.column("row"))
    items = trained.dataset.item_ids.numbers(found.column("item_id").to_pylist()) - 1
    titles = trained.dataset.items.column("title").take(pa.array(items))
    table = found.add_column(0, "user_id", names).append_column("title", titles)
    if output is not None:
        write_table(Path(output), table, compression="zstd")
    return table


def read_users(path: str | Path) -> list[str]:
    """User ids from a text file, one a line.

    Raises:
        UserError: if the file does not exist or names nobody.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"--users {path}: cannot be read ({error.strerror})") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"--users {path}: empty; expected one user id a line")
    return ids


def format_recommendations(table: pa.Table, *, users: int = 3) -> str:
    """The first users' recommendations as readable lines."""
    lines = []
    for row in table.to_pylist():
        if row["row"] >= users:
            break
        if row["rank"] == 1:
            lines.append(f"user {row['user_id']}")
        lines.append(
            f"  {row['rank']:>3}. {row['item_id']:<12} {row['score']:8.3f}  {row['title'][:60]}"
        )
    return "\n".join(lines)


def _histories(trained: TrainedRecommender, users: Sequence[str] | None) -> dict[str, list[str]]:
    """Item ids of each user in time order; users as asked for, or all."""
    interactions = trained.dataset.interactions
    ids = trained.dataset.item_ids.ids
    wanted = None if users is None else set(users)
    histories: dict[str, list[str]] = {user: [] for user in users or ()}
    pairs = zip(
        interactions.column("user_id").to_pylist(),
        interactions.column("item").to_pylist(),
        strict=True,
    )
    for user, item in pairs:
        if wanted is None or user in wanted:
            histories.setdefault(user, []).append(ids[item - 1])
    unknown = next((user for user, history in histories.items() if not history), None)
    if unknown is not None:
        raise UserError(f"user {unknown!r} is not in dataset {trained.dataset.path}")
    return histories
