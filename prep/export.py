"""Exports a tower as a NumPy file and a list of ids, a format that RecBole, MMRec and others read."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit import open_dataset
from toolkit.errors import UserError
from toolkit.vectors import write_vectors

if TYPE_CHECKING:
    from toolkit.states import StateTable


def export_tower(dataset: str | Path, tower: str, file: str | Path, *, layer: str = "last") -> Path:
    """Writes one vector per item, (N, D) float32, and a text file of item ids; row r belongs to line r.

    Items are in the order of their numbers, item 1 first, without a padding row. Items without states (`errors/`)
    have zeros.

    Args:
        dataset: dataset folder.
        tower: name of the tower.
        file: output file OUT.npy; the ids are written to OUT.ids.txt.
        layer: `last` of the kept states, their `mean`, or the index of one of them. Index 0 is the embedding
            output, unless the tower was imported.

    Returns:
        The path of the file of ids.

    Raises:
        UserError: if the tower is not stored, it has no such layer, or an id contains a line break.
    """
    data = open_dataset(dataset)
    table = data.state_table(tower)
    kept = _averaged_layers(layer, table.shape[1], tower)
    return write_vectors(file, data.item_ids.ids, _vectors(table, kept), width=table.shape[2])


def _averaged_layers(layer: str, layers: int, tower: str) -> slice:
    """The kept states to average, out of `layers`."""
    named = {"last": slice(layers - 1, layers), "mean": slice(0, layers)}
    if layer in named:
        return named[layer]
    if not layer.isdecimal() or int(layer) >= layers:
        raise UserError(
            f"--layer {layer}: tower {tower!r} has {layers} kept states; use last, mean, or an index "
            f"from 0 to {layers - 1}"
        )
    return slice(int(layer), int(layer) + 1)


def _vectors(table: "StateTable", kept: slice) -> Iterator[NDArray[np.float32]]:
    """Yields (B, D) vectors of B items at a time."""
    for index, chunk in enumerate(table.chunks()):
        yield chunk[index == 0 :, kept].float().mean(dim=1).numpy()  # skips the padding row
