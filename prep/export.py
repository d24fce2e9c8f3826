"""A tower as a NumPy file and a list of ids, which RecBole, MMRec and others read."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from toolkit import open_dataset
from toolkit.errors import UserError
from toolkit.store import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

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
    file, data = Path(file), open_dataset(dataset)
    if file.suffix != ".npy":
        raise UserError(f"{file}: the file must be called something.npy")
    ids = data.item_ids.ids
    unfit = next((id_ for id_ in ids if id_ != id_.strip() or len(id_.splitlines()) > 1), None)
    if unfit is not None:
        raise UserError(f"item id {unfit!r} does not stand on a line of text as it is; rename it")
    table = data.state_table(tower)
    chosen = _chosen(layer, table.shape[1], tower)
    names = file.with_suffix(".ids.txt")
    write_atomically(names, lambda out: out.write(("\n".join(ids) + "\n").encode()))
    write_atomically(file, lambda out: _write_npy(out, table, chosen))
    return names


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


def _write_npy(out: BinaryIO, table: "StateTable", chosen: slice) -> None:
    """NumPy's format, chunk by chunk: the whole may not fit into memory."""
    items, _, width = table.shape
    header = {"descr": "<f4", "fortran_order": False, "shape": (items - 1, width)}
    np.lib.format.write_array_header_1_0(out, header)
    for place, chunk in enumerate(table.chunks()):
        out.write(_vectors(chunk, chosen)[place == 0 :].tobytes())  # the first row is padding's


def _vectors(states: "Tensor", chosen: slice) -> np.ndarray:
    """(B, K, D) -> (B, D)."""
    return states[:, chosen].float().mean(dim=1).numpy().astype("<f4", copy=False)
