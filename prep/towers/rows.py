"""Rows of `states/TOWER`, of computed and of imported states. B items, K kept layers, D width."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit import schema
from toolkit.schema import StatesDtype, Status

SHARD = 2048
FLOAT16_LARGEST = 65504.0
_BFLOAT16_EXPONENT = np.uint16(0x7F80)


def state_rows(
    batch: pa.RecordBatch,
    states: NDArray[np.floating],
    outcomes: list[tuple[Status, str | None]],
    dtype: StatesDtype = "float16",
) -> pa.Table:
    """One row per item (`toolkit.schema.states`, `status` and `message`).

    Args:
        batch: with the columns item_id and item.
        states: (B, K * D), zeros for items that have none.
        outcomes: status of each item and, unless it is ok, the reason.
        dtype: to store them in. Values beyond its range become infinite.
    """
    flat_type = schema.states(1, states.shape[1], dtype).field("states").type
    flat = pa.array(as_stored(states.reshape(-1), dtype))
    return pa.table(
        {
            "item_id": batch.column("item_id"),
            "item": batch.column("item"),
            "states": pa.FixedSizeListArray.from_arrays(flat, type=flat_type),
            "status": [status for status, _ in outcomes],
            "message": pa.array([message for _, message in outcomes], pa.string()),
        }
    )


def all_finite(stored: NDArray[Any], dtype: StatesDtype) -> bool:
    """Whether stored values (`toolkit.schema.STATES_TYPES`) hold no infinity and no NaN."""
    if dtype == "bfloat16":  # eight exponent bits, all set in what is not finite
        return bool(((stored & _BFLOAT16_EXPONENT) != _BFLOAT16_EXPONENT).all())
    return bool(np.isfinite(stored).all())


def as_stored(values: NDArray[np.floating], dtype: StatesDtype) -> NDArray[Any]:
    """Values in the type in which tables store them (`toolkit.schema.STATES_TYPES`)."""
    if dtype != "bfloat16":
        return values.astype(dtype, copy=False)
    import torch  # here, because NumPy has no bfloat16 and prep's commands start without torch

    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
