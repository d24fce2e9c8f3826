"""Facts about captions: model, number, length and most common texts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.reporting.measures import spread
from prep.reporting.tables import records
from prep.steps.database import Connection
from toolkit import Dataset
from toolkit.store import Table

COMMON_TEXTS = 5
MODEL_FAILS = ("empty", "corrupt", "unsupported")  # statuses that mean a failure of the model


def describe_captions(data: Dataset, connection: Connection) -> list[dict[str, Any]]:
    """One entry per name of captions whose step has finished.

    Args:
        data: the dataset.
        connection: database for the queries.
    """
    steps = data.manifest.get("steps", {})
    return [
        _describe(data, name, steps[f"caption:{name}"], connection)
        for name in data.caption_names()
        if f"caption:{name}" in steps
    ]


def _describe(
    data: Dataset, name: str, step: dict[str, Any], connection: Connection
) -> dict[str, Any]:
    table, config = data.captions(name), step["config"]
    connection.register("captions", table.select(["text", "status"]))
    (counts,) = records(
        connection,
        "SELECT count(*) AS ok, count(DISTINCT text) AS \"distinct\" FROM captions WHERE status = 'ok'",
    )
    return {
        "name": name,
        **{key: config.get(key) for key in ("source", "model", "revision", "prompt")},
        **counts,
        **_requests(data, config.get("source"), table),
        "cut": sum(step.get("cut", {}).values()),
        "characters": _lengths(connection),
        "most_common": records(
            connection,
            "SELECT text, count(*) AS items FROM captions WHERE status = 'ok' "
            f"GROUP BY text ORDER BY items DESC, text LIMIT {COMMON_TEXTS}",
        ),
    }


def _lengths(connection: Connection) -> dict[str, Any] | None:
    rows = records(
        connection,
        "SELECT length(text) AS characters, count(*) AS items FROM captions WHERE status = 'ok' "
        "GROUP BY ALL",
    )
    lengths = np.array([row["characters"] for row in rows], np.int64)
    return spread(lengths, np.array([row["items"] for row in rows], np.int64))


def _requests(data: Dataset, source: str | None, captions: pa.Table) -> dict[str, Any]:
    """The number of items that the model captioned, and the number of its failures.

    Items without pictures do not count, whatever their status. None for imported captions (which have no source),
    and if the pictures no longer exist.
    """
    folder, content = ("covers", "image") if source == "cover" else ("frames", "frames")
    if source is None or not Table(data.path / folder).exists():
        return {"asked": None, "failed": None}
    pictures = Table(data.path / folder).read()
    has_pictures = pc.is_valid(pictures.column(content))
    if source == "frames":
        has_pictures = pc.greater(pc.list_value_length(pictures.column(content)), 0)
    ids = pictures.column("item_id").filter(has_pictures)
    asked = captions.filter(pc.is_in(captions.column("item_id"), ids))
    failed = pc.is_in(asked.column("status"), pa.array(MODEL_FAILS))
    return {"asked": asked.num_rows, "failed": pc.sum(failed).as_py() or 0}
