"""A tower as a NumPy file and a list of ids, which RecBole, MMRec and others read."""

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
    """Writes one vector an item, (N, D) float32, and beside it the ids: row r is of line r.

    Items come in the order of the dataset's numbers, item 1 first; there is no row of padding. Items
    that have no states (`errors/`) have zeros.

    Args:
        dataset: its folder.
        tower: whose states.
        file: to write, OUT.npy; the ids go to OUT.ids.txt.
        layer: `last` of the kept states, the `mean` of them, or the index of one: 0 is the first,
            which is the embedding output unless the tower was imported.

    Returns:
        The file of ids.

    Raises:
        UserError: if the tower is not stored, the layer is none of its own, or an id does not fit on
            a line.
    """
    data = open_dataset(dataset)
    table = data.state_table(tower)
    chosen = _chosen(layer, table.shape[1], tower)
    return write_vectors(file, data.item_ids.ids, _vectors(table, chosen), width=table.shape[2])


def _chosen(layer: str, layers: int, tower: str) -> slice:
    """Which of K kept states are averaged."""
    named = {"last": slice(layers - 1, layers), "mean": slice(0, layers)}
    if layer in named:
        return named[layer]
    if not layer.isdecimal() or int(layer) >= layers:
        raise UserError(
            f"--layer {layer}: tower {tower!r} keeps {layers} states; take last, mean, or an index "
            f"from 0 to {layers - 1}"
        )
    return slice(int(layer), int(layer) + 1)


def _vectors(table: "StateTable", chosen: slice) -> Iterator[NDArray[np.float32]]:
    """(B, D) of B items at a time."""
    for place, chunk in enumerate(table.chunks()):  # the first row is padding's
        yield chunk[place == 0 :, chosen].float().mean(dim=1).numpy()
