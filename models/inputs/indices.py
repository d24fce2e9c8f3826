"""Converts item numbers to the inputs of a loss: indices into the table of a step's columns.

B sequences, L inputs, R predicted positions (rows), n negatives per row, M columns.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.losses.loss import Columns
from models.losses.objectives import Examples

SIZES = 64  # fixed sizes pad the number of columns to a multiple of it


def loss_arrays(
    own: Examples, columns: Columns, *, weight: float, fixed_sizes: bool
) -> dict[str, NDArray]:
    """The fields of `models.losses.loss.LossInputs` by name, without those that are None.

    Args:
        own: examples of this process.
        columns: columns of the step, with the negatives of these examples.
        weight: weight of each row in the loss.
        fixed_sizes: whether all positions are rows, with weight 0 if not predicted, and columns are padded.

    Raises:
        ValueError: if an item of the sequences or a negative is not among the columns.
    """
    inputs, rows = _indices(own.inputs, columns), own.rows
    arrays = {"hidden": _indices(own.sequences, columns)} if columns.hide_own else {}
    of_rows: dict[str, NDArray] = {
        "targets": _indices(own.targets, columns),
        "weights": np.full(len(rows), weight, dtype=np.float32),
    }
    if columns.negatives is not None:
        of_rows["negatives"] = _indices(columns.negatives, columns)
    if fixed_sizes:
        of_rows = {name: _spread(values, rows, inputs.size) for name, values in of_rows.items()}
        rows, columns = np.arange(inputs.size), pad_columns(columns)
    return {
        **arrays,
        **of_rows,
        "inputs": inputs,
        "rows": rows,
        "bias": _after_padding(columns.bias, 0.0),
        "log_counts": _log(_after_padding(columns.counts, 0)),
    }


def pad_columns(columns: Columns) -> Columns:
    """Pads the columns to a multiple of 64. Padding has count 0, so it does not contribute to the loss."""
    padding = (0, -len(columns.items) % SIZES)
    return replace(
        columns,
        items=np.pad(columns.items, padding),
        counts=np.pad(columns.counts, padding),
        bias=np.pad(columns.bias, padding),
    )


def _indices(numbers: NDArray, columns: Columns) -> NDArray[np.int64]:
    """Rows of the table: 1 + each item's column index; 0 for padding; MASK is unchanged."""
    items = columns.items
    indices = np.searchsorted(items, numbers)
    unknown = numbers[(numbers > 0) & (np.append(items, 0)[indices] != numbers)]
    if len(unknown):
        raise ValueError(
            f"item {unknown[0]} is not among the {len(items)} columns of the loss; `columns` must return all items of "
            "the sequences and all negatives, ascending"
        )
    return np.where(numbers > 0, indices + 1, numbers)


def _spread(values: NDArray, rows: NDArray[np.int64], size: int) -> NDArray:
    """(R, …) at rows -> (size, …), 0 elsewhere."""
    spread = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    spread[rows] = values
    return spread


def _after_padding(values: NDArray, padding: float) -> NDArray:
    return np.concatenate([np.array([padding], dtype=values.dtype), values])


def _log(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):  # log 0 = -inf excludes padding columns
        return np.log(counts).astype(np.float32)
