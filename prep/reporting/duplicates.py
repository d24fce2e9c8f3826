"""Items with the same title, cover or clip."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.reporting.items import is_blank
from prep.reporting.limits import LISTED
from prep.reporting.media import digests
from prep.reporting.tables import records
from prep.steps.database import Connection
from toolkit import Dataset
from toolkit.store import Table

MEDIA = {"covers": "image", "frames": "frames"}


def describe_duplicates(data: Dataset, connection: Connection) -> dict[str, Any]:
    """Groups of items with the same title, cover or clip; None if the dataset has no such table.

    Args:
        data: the dataset.
        connection: database for the queries, with the table of items registered as `items`.
    """
    titles = data.items.filter(pc.invert(is_blank(data.items.column("title"))))
    same = titles.select(["item_id", "title"]).rename_columns(["item_id", "digest"])
    groups: dict[str, Any] = {"titles": _groups(connection, same)}
    for name, content in MEDIA.items():
        stored = Table(data.path / name).exists()
        groups[name] = _groups(connection, digests(data, name, content)) if stored else None
    return groups


def _groups(connection: Connection, same: pa.Table) -> dict[str, Any]:
    """Groups of items with equal `digest`, largest first, up to LISTED items."""
    connection.register("same", same)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE groups AS "
        "SELECT digest, count(*) AS items, min(item) AS first FROM same JOIN items USING (item_id) "
        "GROUP BY digest HAVING count(*) > 1"
    )
    (counts,) = records(
        connection,
        "SELECT count(*) AS groups, coalesce(sum(items), 0)::BIGINT AS items FROM groups",
    )
    members = records(
        connection,
        "SELECT first, items.item_id, groups.items, items.title FROM same "
        "JOIN groups USING (digest) JOIN items USING (item_id) "
        f"ORDER BY groups.items DESC, first, item LIMIT {LISTED}",
    )
    listed: dict[int, dict[str, Any]] = {}
    for row in members:
        group = listed.setdefault(
            row["first"], {"items": row["items"], "title": row["title"], "item_ids": []}
        )
        group["item_ids"].append(row["item_id"])
    return {**counts, "listed": list(listed.values())}
