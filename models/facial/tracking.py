"""Tracking: the same face has the same number in successive frames. F faces of a frame, T tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from models.facial.face import Face


@dataclass
class _Track:
    face_id: int
    face: Face
    frames_absent: int = 0


class Tracker:
    """Assigns faces to tracks by overlap: the assignment with the largest sum of intersections over union.

    Numbers count from 0 in the order of appearance and are never used twice. The result depends only on the boxes.

    Args:
        overlap: smallest intersection over union of a face with the last box of its track.
        patience_frames: number of frames that a face may be absent; after them, its track ends.
    """

    def __init__(self, *, overlap: float = 0.3, patience_frames: int = 10) -> None:
        self.overlap = overlap
        self.patience_frames = patience_frames
        self._tracks: list[_Track] = []
        self._next_id = 0

    def update(self, faces: Sequence[Face]) -> list[int]:
        """The number of each face of the next frame, (F,); all differ.

        Args:
            faces: faces of the next frame; an empty list for a frame without faces.
        """
        overlaps = intersections_over_union([track.face for track in self._tracks], faces)
        rows, columns = linear_sum_assignment(
            np.where(overlaps >= self.overlap, overlaps, 0.0), maximize=True
        )
        found = {
            int(column): self._tracks[row]
            for row, column in zip(rows, columns, strict=True)
            if overlaps[row, column] >= self.overlap
        }
        for track in self._tracks:
            track.frames_absent += 1
        for column, face in enumerate(faces):
            track = found.get(column) or self._begin(face)
            track.face, track.frames_absent = face, 0
            found[column] = track
        self._tracks = [t for t in self._tracks if t.frames_absent <= self.patience_frames]
        return [found[column].face_id for column in range(len(faces))]

    def end_tracks(self) -> None:
        """Ends all tracks: the faces of the next frame have new numbers."""
        self._tracks = []

    def _begin(self, face: Face) -> _Track:
        track = _Track(self._next_id, face)
        self._next_id += 1
        self._tracks.append(track)
        return track


def intersections_over_union(first: Sequence[Face], second: Sequence[Face]) -> NDArray[np.float64]:
    """The area of the intersection over the area of the union of every pair of boxes, (T, F).

    >>> intersections_over_union([Face(0, 0, 2, 2, 1)], [Face(1, 0, 2, 2, 1), Face(2, 0, 2, 2, 1)]).tolist()
    [[0.3333333333333333, 0.0]]
    """
    a, b = (
        np.array([face[:4] for face in faces], np.float64).reshape(-1, 4)
        for faces in (first, second)
    )
    a, b = a[:, None], b[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
