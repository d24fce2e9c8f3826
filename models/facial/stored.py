"""The stored predictions of a test, a row per face, as `models.facial.evaluate` wrote them.

N faces, A action units (AUs).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.facial.evaluate import PREDICTIONS, TEST
from toolkit.errors import UserError
from toolkit.store import read_file


@dataclass(frozen=True)
class StoredTest:
    """The predictions for the faces of a test.

    Args:
        aus: (A,) numbers of the AUs in FACS.
        item_ids: (N,) names of the pictures.
        subjects: (N,) subject of each face.
        labels: (N, A) of 0, 1 and 9 (missing).
        logits: (N, A).
        probabilities: (N, A) calibrated.
        au_texts: N lists of A texts; None without this branch.
        face_texts: N texts; None without this branch.
    """

    aus: tuple[int, ...]
    item_ids: list[str]
    subjects: list[str]
    labels: NDArray[np.int8]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    au_texts: list[list[str]] | None
    face_texts: list[str] | None


def read_test(run: Path, name: str = TEST) -> StoredTest:
    """Reads RUN/faces/NAME.arrow.

    Args:
        run: run folder.
        name: `test`, or `cross-NAME` of a test on another dataset.

    Raises:
        UserError: if the run has no such test.
    """
    path = run / PREDICTIONS / f"{name}.arrow"
    if not path.is_file():
        raise UserError(
            f"{run}: has no test {name!r}; run python -m models.facial evaluate {run} first"
        )
    table = read_file(path)
    aus = tuple(int(number) for number in (table.schema.metadata or {})[b"aus"].decode().split(","))

    def texts(column: str) -> Any:
        return table.column(column).to_pylist() if column in table.column_names else None

    return StoredTest(
        aus,
        texts("item_id"),
        texts("subject"),
        _matrix(table, "labels", len(aus)),
        _matrix(table, "logits", len(aus)),
        _matrix(table, "probabilities", len(aus)),
        texts("au_texts"),
        texts("face_text"),
    )


def _matrix(table: pa.Table, name: str, width: int) -> NDArray[Any]:
    flat_values = table.column(name).combine_chunks().flatten()
    return np.asarray(flat_values.to_numpy(zero_copy_only=False)).reshape(-1, width)
