"""Summarises `errors/` by step and error class, and the status of each table."""

from typing import Any

import pyarrow.dataset as ds

from prep.reporting.limits import LISTED
from prep.reporting.tables import database, records
from prep.steps import manifest
from prep.steps.checksums import step_of
from toolkit import Dataset, schema
from toolkit.store import Table

# Natural order: 9 before 10. Rows without an item are ordered by message.
_ORDER = "length(item_id) NULLS LAST, item_id, length(message), message"


def describe_failures(data: Dataset) -> list[dict[str, Any]]:
    """Every error class of every step: the number of rows and items, and the first rows.

    Args:
        data: the dataset; `errors/` may have millions of rows.
    """
    files = sorted((data.path / "errors").glob("*.arrow"))
    if not files:
        return []
    with database(data.path) as connection:
        errors = ds.dataset([str(file) for file in files], format="arrow", schema=schema.ERRORS)
        connection.register("errors", errors)
        classes = records(
            connection,
            "SELECT step, error_class, count(*) AS count, count(DISTINCT item_id) AS items "
            "FROM errors GROUP BY ALL",
        )
        steps = ["ingest", *map(step_of, item_tables(data))]
        classes.sort(key=lambda e: (_step_order(steps, e["step"]), -e["count"], e["error_class"]))
        for entry in classes:
            key = {"step": entry["step"], "error_class": entry["error_class"], "limit": LISTED}
            entry["listed"] = records(
                connection,
                "SELECT item_id, message FROM errors "
                f"WHERE step = $step AND error_class = $error_class ORDER BY {_ORDER} LIMIT $limit",
                key,
            )
    return classes


def _step_order(steps: list[str], step: str) -> tuple[int, str]:
    """Sort key of a step in the report; unknown steps last, by name."""
    return (steps.index(step) if step in steps else len(steps), step)


def describe_tables(data: Dataset, failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every table with one row per item: the number of rows, the number of ok rows, and whether it is finished.

    Args:
        data: the dataset.
        failures: result of `describe_failures`.
    """
    steps = data.manifest.get("steps", {})
    tables = []
    for name in item_tables(data):
        step = steps.get(step_of(name), {})
        table = Table(data.path / name)
        count = table.read().num_rows if table.exists() else 0
        failed = {f["error_class"]: f["count"] for f in failures if f["step"] == step_of(name)}
        tables.append(
            {
                "table": name,
                "step": step_of(name),
                "skipped": step.get("skipped"),
                "finished": bool(step),
                "items": data.items.num_rows,
                "rows": count,
                "ok": count - sum(failed.values()),
                "failed": failed,
            }
        )
    return tables


def item_tables(data: Dataset) -> list[str]:
    """Covers, frames, and the captions and states that are stored or configured."""
    stored = [
        f"{folder}/{path.name}"
        for folder in ("captions", "states")
        for path in (data.path / folder).glob("*")
        if path.is_dir()
    ]
    captions = data.manifest.get("config", {}).get("caption", {})
    asked = [f"captions/{name}" for name in captions]
    asked += [f"states/{tower}" for tower in manifest.configured_towers(data.manifest)]
    return ["covers", "frames", *sorted({*stored, *asked})]
