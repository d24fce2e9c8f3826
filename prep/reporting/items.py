"""Facts about items: titles, tags, likes and views."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.reporting.limits import LISTED, SHOWN
from prep.reporting.measures import spread
from prep.reporting.tables import records
from prep.steps.database import Connection


def describe_items(items: pa.Table, connection: Connection) -> dict[str, Any]:
    """Titles, tags, likes and views; None for data that the dump does not have.

    Args:
        items: `toolkit.schema.ITEMS` and extras.
        connection: database for the queries, with the table registered as `items`.
    """
    names = set(items.schema.names)
    return {
        "titles": _titles(items),
        "tags": _tags(connection) if "tags" in names else None,
        "likes_and_views": _likes_and_views(connection) if {"likes", "views"} <= names else None,
    }


def is_blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each text is empty or only white space."""
    return pc.equal(pc.utf8_trim_whitespace(texts), "")


def _titles(items: pa.Table) -> dict[str, Any]:
    titles = items.column("title")
    empty = is_blank(titles)
    filled = titles.filter(pc.invert(empty))
    return {
        "empty": pc.sum(empty).as_py() or 0,
        "characters": spread(pc.utf8_length(filled).to_numpy()),
    }


def _tags(connection: Connection) -> dict[str, Any]:
    (counts,) = records(
        connection,
        "SELECT count(*) FILTER (len(tags) > 0) AS items, "
        "coalesce(sum(len(tags)), 0)::BIGINT AS tags FROM items",
    )
    common = records(
        connection,
        "SELECT tag, count(*) AS items FROM (SELECT unnest(tags) AS tag FROM items) "
        "GROUP BY tag ORDER BY items DESC, tag",
    )
    return {**counts, "distinct": len(common), "most_common": common[:SHOWN]}


def _likes_and_views(connection: Connection) -> dict[str, Any]:
    (known,) = records(
        connection,
        "SELECT count(*) AS items FROM items WHERE likes IS NOT NULL AND views IS NOT NULL",
    )
    return {
        **known,
        "likes_above_views": _where(connection, "likes > views"),
        "negative": _where(connection, "likes < 0 OR views < 0"),
    }


def _where(connection: Connection, condition: str) -> dict[str, Any]:
    """The number of items for which a condition is true, and the first of them."""
    sql = f"SELECT item_id, likes, views FROM items WHERE {condition} ORDER BY item"
    (counted,) = records(connection, f"SELECT count(*) AS count FROM items WHERE {condition}")
    return {**counted, "listed": records(connection, f"{sql} LIMIT {LISTED}")}
