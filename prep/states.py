"""Rows of `states/TOWER`, however the states were made. B items, K kept layers, D width."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit import schema
from toolkit.schema import Status

SHARD = 2048
FLOAT16_LARGEST = 65504.0


def state_rows(
    batch: pa.RecordBatch,
    states: NDArray[np.float16],
    outcomes: list[tuple[Status, str | None]],
) -> pa.Table:
    """A row an item (`toolkit.schema.states`, `status` and `message`).

    Args:
        batch: with the columns item_id and item.
        states: (B, K * D), zeros for items that have none.
        outcomes: of each item, its status and, unless it is ok, why.
    """
    flat_type = schema.states(1, states.shape[1]).field("states").type
    return pa.table(
        {
            "item_id": batch.column("item_id"),
            "item": batch.column("item"),
            "states": pa.FixedSizeListArray.from_arrays(
                pa.array(states.reshape(-1)), type=flat_type
            ),
            "status": [status for status, _ in outcomes],
            "message": pa.array([message for _, message in outcomes], pa.string()),
        }
    )
