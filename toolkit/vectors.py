"""Writes one vector per item as a NumPy file with a file of ids, a format that RecBole, MMRec and others read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from toolkit.atomic import write_atomically
from toolkit.errors import UserError


def ids_beside(file: str | Path) -> Path:
    """The path of the file of ids for OUT.npy: OUT.ids.txt.

    Raises:
        UserError: if the file name does not end with .npy.
    """
    file = Path(file)
    if file.suffix != ".npy":
        raise UserError(f"{file}: the file name must end with .npy; rename it")
    return file.with_suffix(".ids.txt")


def write_vectors(
    file: str | Path, ids: Sequence[str], chunks: Iterable[NDArray[np.floating]], *, width: int
) -> Path:
    """Writes (N, D) float32 to OUT.npy and N ids to OUT.ids.txt; row r belongs to line r.

    Args:
        file: OUT.npy.
        ids: N ids.
        chunks: rows in order, in chunks, because all rows may not fit into memory. They are consumed after the
            name and the ids have been checked.
        width: D.

    Returns:
        The path of the file of ids.

    Raises:
        UserError: if the file has another name, or an id contains a line break or surrounding spaces.
    """
    file = Path(file)
    names = ids_beside(file)
    unfit = next((id_ for id_ in ids if id_ != id_.strip() or len(id_.splitlines()) > 1), None)
    if unfit is not None:
        raise UserError(
            f"id {unfit!r} has a line break or surrounding spaces, which a line of text cannot hold; rename it"
        )
    write_atomically(file, lambda out: _write_npy(out, chunks, (len(ids), width)))
    write_atomically(names, lambda out: out.write(("\n".join(ids) + "\n").encode()))
    return names


def _write_npy(
    out: BinaryIO, chunks: Iterable[NDArray[np.floating]], shape: tuple[int, int]
) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    for chunk in chunks:
        out.write(chunk.astype("<f4", copy=False).tobytes())
