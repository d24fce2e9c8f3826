"""How much of the data lies in the future of what is tested under leave-one-out."""

import pyarrow.dataset as ds

from prep.reporting.tables import records
from prep.steps.database import Connection
from toolkit import Dataset, schema
from toolkit.splits import MIN_INTERACTIONS
from toolkit.store import Table

# Of all interactions, the share later than a user's last one; the mean over users whom the splits know.
_QUERY = f"""
WITH counts AS (SELECT timestamp_ms AS t, count(*) AS n FROM interactions GROUP BY t),
    until AS (SELECT t, sum(n) OVER (ORDER BY t) AS n FROM counts),
    tests AS (
        SELECT max(timestamp_ms) AS t FROM interactions GROUP BY user HAVING count(*) >= {MIN_INTERACTIONS}
    )
SELECT avg(1 - until.n / (SELECT sum(n) FROM counts)) AS share FROM tests JOIN until USING (t)
"""


def share_later_than_test(data: Dataset, connection: Connection) -> float | None:
    """Which share of all interactions is later than a user's own test time, on average over users.

    Args:
        data: the dataset.
        connection: where the query runs; it may spill to disk.

    Returns:
        In [0, 1]; None where there are no users to test, or an interaction has no time.
    """
    files = [str(shard.path) for shard in Table(data.path / "interactions").shards()]
    log = ds.dataset(files, format="arrow", schema=schema.INTERACTIONS)
    connection.register("interactions", log)
    (untimed,) = records(
        connection, "SELECT count(*) AS n FROM interactions WHERE timestamp_ms IS NULL"
    )
    if untimed["n"]:
        return None
    (found,) = records(connection, _QUERY)
    return None if found["share"] is None else round(found["share"], 6)
