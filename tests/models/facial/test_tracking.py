"""Tracking: numbers stay with faces, and depend on the boxes alone."""

import numpy as np
import pytest

from models.facial.face import Face
from models.facial.tracking import Tracker, intersections_over_union


def face(x: float, y: float = 0.0, side: float = 10.0) -> Face:
    return Face(x, y, side, side, 0.9)


def numbers(*frames, **settings) -> list[list[int]]:
    tracker = Tracker(**settings)
    return [tracker.update(faces) for faces in frames]


def test_overlap_counted_by_pixels():
    """Boxes of whole pixels: a mask per box."""
    rng = np.random.default_rng(0)
    boxes = [Face(*map(float, [*rng.integers(0, 20, 2), *rng.integers(1, 20, 2)]), 1.0) for _ in range(12)]  # fmt: skip
    masks = np.zeros((len(boxes), 40, 40), bool)
    for mask, box in zip(masks, boxes, strict=True):
        mask[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)] = True
    expected = [[(a & b).sum() / (a | b).sum() for b in masks] for a in masks]
    np.testing.assert_allclose(intersections_over_union(boxes, boxes), expected)
    assert intersections_over_union([], boxes).shape == (0, 12)
    assert intersections_over_union([Face(1, 1, 0, 0, 1)], boxes[:1]).tolist() == [[0.0]]


def test_two_faces_keep_their_numbers_in_any_order():
    moving = [[face(t), face(60 - t)] for t in range(10)]
    shuffled = [faces[::-1] if t % 2 else faces for t, faces in enumerate(moving)]
    assert numbers(*shuffled) == [[1, 0] if t % 2 else [0, 1] for t in range(10)]


def test_the_largest_total_overlap_decides():
    """The best pair first would give the second face a new number: 8/12 and nothing, instead of 6/14 and 6/14."""
    assert numbers([face(0), face(6)], [face(4), face(2 + 8)]) == [[0, 1], [0, 1]]


def test_a_face_that_returns_soon_keeps_its_number():
    frames = [[face(0)], [], [], [face(1)], [face(50)], [face(1)]]
    assert numbers(*frames) == [[0], [], [], [0], [1], [0]]


@pytest.mark.parametrize(("absent", "number"), [(2, 0), (3, 1)])
def test_patience_counts_absent_frames(absent, number):
    frames = [[face(0)], *[[]] * absent, [face(0)]]
    assert numbers(*frames, patience_frames=2)[-1] == [number]


def test_a_small_overlap_begins_a_track():
    assert numbers([face(0)], [face(8)]) == [[0], [1]]  # 2/18
    assert numbers([face(0)], [face(8)], overlap=0.1) == [[0], [0]]


def test_numbers_of_a_frame_differ_and_are_reproducible():
    rng = np.random.default_rng(0)
    frames = [[face(*rng.uniform(0, 30, 2)) for _ in range(rng.integers(0, 6))] for _ in range(50)]
    first = numbers(*frames)
    assert first == numbers(*frames)
    assert all(len(set(ids)) == len(ids) == len(faces) for ids, faces in zip(first, frames, strict=True))  # fmt: skip
