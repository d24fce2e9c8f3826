"""Opens a dataset of faces with labels of action units (AUs): the read side of what `prep faces` writes.

A AUs, N faces.
"""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit import schema
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.facs import checked_units
from toolkit.store import Table

KIND = "faces"  # `Dataset.kind`
FOLDER = "faces"
AUS = b"aus"  # metadata key of the table


def open_faces(path: str | Path) -> "Faces":
    """Opens a dataset of faces.

    Raises:
        UserError: if the folder is not a finished dataset, or not one of faces.
    """
    data = open_dataset(path)
    if data.kind != KIND:
        raise UserError(
            f"{data.path}: a dataset of {data.kind}, expected faces; write one with python -m prep faces DUMP DATASET"
        )
    return Faces(data)


class Faces:
    """The faces of a dataset. The table is memory-mapped at the first access.

    Args:
        data: a dataset of kind `faces`.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.path = data.path

    def __repr__(self) -> str:
        return f"Faces({str(self.path)!r}, faces={self.table.num_rows}, units={self.units})"

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.data.name

    @cached_property
    def table(self) -> pa.Table:
        """All faces, those without a picture included (`toolkit.schema.faces`)."""
        table = Table(self.path / FOLDER).read()
        return schema.validate(table, schema.faces(len(self.units)), where=str(self.path / FOLDER))

    @cached_property
    def units(self) -> tuple[int, ...]:
        """The AUs of the columns of labels and intensities.

        Raises:
            UserError: if the table is missing, or its metadata do not list AUs.
        """
        where = self.path / FOLDER
        metadata = Table(where).schema().metadata or {}
        try:
            numbers = [int(number) for number in metadata.get(AUS, b"").decode().split(",")]
        except ValueError:
            raise UserError(f"{where}: its metadata list no AUs; write the table again") from None
        return checked_units(numbers, where=str(where))

    @cached_property
    def labels(self) -> NDArray[np.int8]:
        """Labels (N, A): 0, 1, or 9 for missing."""
        flat = self.table.column("labels").combine_chunks().flatten()
        return flat.to_numpy().reshape(-1, len(self.units))

    @cached_property
    def folds(self) -> NDArray[np.int8]:
        """The fold (N,) that tests each face, from 1; 0 for faces in no split."""
        return self.table.column("fold").fill_null(0).to_numpy()

    def rows(self, fold: int, split: Literal["train", "test"]) -> NDArray[np.int64]:
        """The rows of a split that have a picture: tested are the faces of the fold, trained on those of all others.

        Args:
            fold: from 1.
            split: `train` or `test`.

        Raises:
            UserError: if the dataset has no such fold.
        """
        known = sorted({int(number) for number in np.unique(self.folds)} - {0})
        if fold not in known:
            raise UserError(f"{self.path}: has no fold {fold}; its folds are {known}")
        chosen = self.folds == fold if split == "test" else ~np.isin(self.folds, (0, fold))
        ok = self.table.column("image").is_valid().to_numpy()
        return np.flatnonzero(chosen & ok)
