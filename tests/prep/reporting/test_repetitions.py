"""Equal interactions in logs that are in the order of time or not, against a count of each."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from prep.reporting.interactions import describe_interactions
from toolkit import schema
from toolkit.store import Table

USERS, ITEMS, ROWS = 40, 6, 900


def log(*, sorted_by_time: bool, undated: float) -> pa.Table:
    """Interactions of users in order, with few items and few times."""
    random = np.random.default_rng(0)
    user = np.sort(random.integers(1, USERS + 1, ROWS)).astype(np.int32)
    time = random.integers(0, 9, ROWS)
    if sorted_by_time:
        time = time[np.lexsort((time, user))]
    missing = random.random(ROWS) < undated
    columns = {
        "user_id": [f"u{number}" for number in user],
        "user": user,
        "item": random.integers(1, ITEMS + 1, ROWS).astype(np.int32),
        "timestamp_ms": pa.array(time, mask=missing),
        "position": np.arange(ROWS, dtype=np.int32),  # nothing reads it
    }
    return pa.table({field.name: columns[field.name] for field in schema.INTERACTIONS}).cast(
        schema.INTERACTIONS
    )


@pytest.mark.parametrize("undated", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sorted_by_time", [True, False])
def test_equal_interactions_are_counted_in_every_order(tmp_path, sorted_by_time, undated):
    table = log(sorted_by_time=sorted_by_time, undated=undated)
    Table(tmp_path / "interactions").append(table)
    items = pa.table({"item_id": [f"i{number}" for number in range(ITEMS)]})
    data = SimpleNamespace(items=items, path=tmp_path)
    found = describe_interactions(data, chunk_rows=100)["repetitions"]
    rows = table.to_pylist()
    dated = [row for row in rows if row["timestamp_ms"] is not None]
    for name, among, keys in (
        ("repeated_items", rows, ("user", "item")),
        ("identical", dated, ("user", "item", "timestamp_ms")),
        ("simultaneous", dated, ("user", "timestamp_ms")),
    ):
        counts = Counter(tuple(row[key] for key in keys) for row in among)
        several = {key: count for key, count in counts.items() if count > 1}
        expected = (len(several), sum(several.values()), len({user for user, *_ in several}))
        keys_of_facts = ("groups", "interactions", "users")
        assert tuple(found[name][key] for key in keys_of_facts) == expected, name
