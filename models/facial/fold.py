"""Which faces of a dataset train, select and test: subjects are never shared.

N faces, A action units (AUs).
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.faces import Faces

Rows = NDArray[np.int64]


class FoldRows(NamedTuple):
    """Rows of the table of faces.

    Args:
        train: of the subjects that are trained on.
        valid: of the training subjects that are held out; empty without any.
        test: of the subjects of the fold.
    """

    train: Rows
    valid: Rows
    test: Rows


def rows_of_fold(
    faces: Faces, fold: int, *, valid_subjects: float = 0.0, seed: int = 0
) -> FoldRows:
    """The rows of a fold.

    Args:
        faces: the dataset.
        fold: from 1.
        valid_subjects: share of the training subjects that are held out, at least one if it is above 0.
        seed: of their draw.

    Raises:
        UserError: if the dataset has no such fold, or no subject is left to train on.
    """
    test, others = faces.rows(fold, "test"), faces.rows(fold, "train")
    subjects = subjects_of(faces, others)
    names = sorted(set(subjects.tolist()))
    count = max(round(valid_subjects * len(names)), 1) if valid_subjects else 0
    if len(names) <= count or not len(test):
        raise UserError(
            f"{faces.path}: fold {fold} has {len(names)} training subjects, of which {count} are held out, and "
            f"{len(test)} faces to test; expected at least one of each: use a dataset with more subjects, or a smaller "
            "train.valid_subjects"
        )
    drawn = np.random.default_rng((seed, fold)).permutation(names)[:count]
    held_out = np.isin(subjects, drawn)
    return FoldRows(others[~held_out], others[held_out], test)


def subjects_of(faces: Faces, rows: Rows) -> NDArray[np.str_]:
    """(N,) the subject of each row."""
    return np.asarray(faces.table.column("subject").take(rows).to_pylist(), dtype=np.str_)


def refuse_seen(seen: Collection[str], tested: Collection[str], *, where: str, advice: str) -> None:
    """Refuses to test a network on subjects that it was trained on.

    Args:
        seen: subjects of training.
        tested: subjects of the test.
        where: the checkpoint, for the message.
        advice: what the user can do.

    Raises:
        UserError: if a subject is in both.
    """
    both = sorted(set(seen) & set(tested))
    if both:
        raise UserError(
            f"{where}: was trained on {len(both)} of the {len(set(tested))} subjects of this test, such as {both[0]}; "
            f"{advice}"
        )


def describe_faces(faces: Faces) -> dict[str, str]:
    """What identifies a dataset of faces, as environment.json records it.

    Returns:
        name: of the dataset. faces_sha256: digest of source pictures, labels, folds and AUs. crops_sha256: digest of the
        part of each source picture that is stored, and of its size.
    """
    columns = faces.table.select(["item_id", "source_sha256"]).to_pylist()
    digest = hashlib.sha256(repr([tuple(row.values()) for row in columns]).encode())
    for values in (faces.labels, faces.folds):
        digest.update(np.ascontiguousarray(values, np.int8).data)
    digest.update(repr(faces.units).encode())
    stored = faces.table.select(["crop", "width_px", "height_px"]).to_pylist()
    crops = hashlib.sha256(repr([tuple(row.values()) for row in stored]).encode())
    return {
        "name": faces.name,
        "faces_sha256": digest.hexdigest(),
        "crops_sha256": crops.hexdigest(),
    }


def are_faces_of(recorded: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether two results of `describe_faces`, the first of them recorded, identify the same faces; the names may differ.

    A record of version 0.2.0 has no digest of the crops, which are then not compared.
    """
    return all(now.get(key) == value for key, value in recorded.items() if key != "name")
