"""Stored states in each dtype, and whether they are finite."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from prep.towers.rows import all_finite, state_rows
from toolkit.schema import STATES_TYPES

BATCH = pa.record_batch({"item_id": ["a"], "item": pa.array([1], pa.int32())})


def stored(values, dtype):
    """The stored values of one item."""
    rows = state_rows(BATCH, np.array([values], np.float32), [("ok", None)], dtype)
    return rows.column("states").chunk(0).flatten().to_numpy().copy()


@pytest.mark.parametrize("dtype", STATES_TYPES)
def test_values_are_rounded_as_torch_rounds(dtype):
    values = np.random.default_rng(0).normal(size=64).astype(np.float32)
    found = torch.from_numpy(stored(values, dtype)).view(getattr(torch, dtype))
    assert torch.equal(found, torch.from_numpy(values).to(getattr(torch, dtype)))


def test_bfloat16_reaches_beyond_float16():
    assert all_finite(stored([1e30, -1e30, 0.0], "bfloat16"), "bfloat16")
    assert stored([1.0, -2.0], "bfloat16").tolist() == [0x3F80, 0xC000]  # the upper half of float32


@pytest.mark.parametrize("dtype", STATES_TYPES)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_one_value_that_is_not_finite(dtype, value):
    largest = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028235e38}[dtype]
    assert all_finite(stored([largest, -largest, 0.0], dtype), dtype)
    assert not all_finite(stored([1.0, value, 0.0], dtype), dtype)
