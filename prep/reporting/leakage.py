"""Temporal leakage under leave-one-out: the share of interactions later than the tests."""

import pyarrow.dataset as ds

from prep.reporting.tables import records
from prep.steps.database import Connection
from toolkit import Dataset, schema
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.store import Table

# The share of all interactions later than a user's last one; the mean over users in the splits.
_QUERY = f"""
WITH counts AS (SELECT timestamp_ms AS t, count(*) AS n FROM interactions GROUP BY t),
    until AS (SELECT t, sum(n) OVER (ORDER BY t) AS n FROM counts),
    tests AS (
        SELECT max(timestamp_ms) AS t FROM interactions GROUP BY user HAVING count(*) >= {MIN_INTERACTIONS}
    )
SELECT avg(1 - until.n / (SELECT sum(n) FROM counts)) AS share FROM tests JOIN until USING (t)
"""


def share_later_than_test(data: Dataset, connection: Connection) -> float | None:
    """The share of all interactions that are later than a user's own test time, averaged over users.

    Args:
        data: the dataset.
        connection: database for the query, which may spill to disk.

    Returns:
        A share in [0, 1]; None if there are no users to test, or an interaction has no time.
    """
    files = [str(shard.path) for shard in Table(data.path / "interactions").shards()]
    log = ds.dataset(files, format="arrow", schema=schema.INTERACTIONS)
    connection.register("interactions", log)
    (untimed,) = records(
        connection, "SELECT count(*) AS n FROM interactions WHERE timestamp_ms IS NULL"
    )
    if untimed["n"]:
        return None
    (result,) = records(connection, _QUERY)
    return None if result["share"] is None else round(result["share"], 6)
