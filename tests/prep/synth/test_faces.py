"""The synthetic faces: every AU moves its own part of the face, labels are what is painted, sequences are smooth."""

import json
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from prep.synth.faces.anatomy import draw_subject
from prep.synth.faces.canvas import Pose
from prep.synth.faces.dump import write_faces
from prep.synth.faces.expression import landmarks
from prep.synth.faces.occlusion import REGIONS, occlude
from prep.synth.faces.painting import paint
from prep.synth.faces.scene import draw_face_frames
from prep.synth.faces.sequences import RATE, draw_intensities, draw_rates
from prep.synth.faces.settings import SynthFaces
from prep.synth.faces.styles import STYLES, render
from toolkit.errors import UserError
from toolkit.facs import known_units

SUBJECT = draw_subject(np.random.default_rng(0))
PX = 112


def changed(units, subject=SUBJECT, level=5, style="bp4d"):
    """By how much each pixel differs from the face at rest, (H, W)."""
    shown = render(subject, dict.fromkeys(units, level), size_px=PX, style=STYLES[style])
    rest = render(subject, {}, size_px=PX, style=STYLES[style])
    return np.abs(shown.astype(int) - rest).max(axis=2)


# Rows of the picture that may change, as shares of its height: brows to forehead, eyes, nose, mouth, chin.
UPPER, EYES, NOSE, LOWER = (0.08, 0.45), (0.30, 0.56), (0.35, 0.66), (0.50, 0.98)
PARTS = {
    1: UPPER, 2: UPPER, 4: (0.20, 0.48), 5: EYES, 6: (0.30, 0.64), 7: EYES, 9: (0.25, 0.72), 10: (0.42, 0.76),
    12: LOWER, 14: LOWER, 15: LOWER, 17: LOWER, 20: LOWER, 23: LOWER, 24: LOWER, 25: LOWER, 26: LOWER,
}  # fmt: skip


@pytest.mark.parametrize("unit", known_units())
def test_an_au_changes_its_part_of_the_face_and_no_other(unit):
    difference = changed([unit])
    first, last = (int(share * PX) for share in PARTS[unit])
    assert (difference[first:last] > 25).sum() > 30
    assert difference[:first].max(initial=0) < 8
    assert difference[last:].max(initial=0) < 8


def test_no_two_aus_change_the_face_alike():
    changes = {unit: changed([unit]).astype(float).ravel() for unit in known_units()}
    for one in changes:
        for other in changes:
            if one < other:
                a, b = changes[one], changes[other]
                assert a @ b / np.sqrt((a @ a) * (b @ b)) < 0.85, (one, other)


@pytest.mark.parametrize("style", ["bp4d", "disfa"])
def test_each_active_au_shows_on_every_subject(style):
    """At intensity 2, the lowest that counts as active, and on any skin."""
    for seed in range(3):
        subject = draw_subject(np.random.default_rng(seed))
        for unit in STYLES[style].units:
            assert (changed([unit], subject, 2, style) > 12).sum() > 20, (seed, unit)


def test_what_facs_says():
    """The direction in which each AU moves what it moves."""
    shape = SUBJECT.shape
    rest = landmarks(shape, {})

    def at(*units):
        return landmarks(shape, dict.fromkeys(units, 5.0))

    assert at(1).brow[0, 1] < rest.brow[0, 1] and at(2).brow[-1, 1] < rest.brow[-1, 1]
    assert at(4).brow[0, 1] > rest.brow[0, 1] and at(4).brow[0, 0] < rest.brow[0, 0]
    assert at(5).upper_lid[:, 1].min() < rest.upper_lid[:, 1].min()
    assert at(7).upper_lid[:, 1].min() > rest.upper_lid[:, 1].min()
    assert at(7).lower_lid[:, 1].max() < rest.lower_lid[:, 1].max()
    assert at(9).wing[:, 1].mean() < rest.wing[:, 1].mean()
    assert at(10).mouth.upper_top[:, 1].min() < rest.mouth.upper_top[:, 1].min()
    assert at(12).mouth.upper_bottom[0, 1] < rest.mouth.upper_bottom[0, 1]
    assert at(15).mouth.upper_bottom[0, 1] > rest.mouth.upper_bottom[0, 1]
    assert at(17).chin_y < rest.chin_y < at(26).chin_y
    width = np.ptp(rest.mouth.upper_bottom[:, 0])
    assert np.ptp(at(23).mouth.upper_bottom[:, 0]) < width < np.ptp(at(20).mouth.upper_bottom[:, 0])
    for unit in (23, 24):
        thickness = at(unit).mouth.lower_bottom - at(unit).mouth.lower_top
        assert (
            thickness[:, 1].max()
            < 0.6 * (rest.mouth.lower_bottom - rest.mouth.lower_top)[:, 1].max()
        )
    assert (at(25).mouth.lower_top - at(25).mouth.upper_bottom)[:, 1].max() > 0.05


def test_intensity_moves_further():
    moved = [landmarks(SUBJECT.shape, {1: level}).brow[0, 1] for level in range(6)]
    assert all(later < earlier for earlier, later in pairwise(moved))
    assert landmarks(SUBJECT.shape, {1: 9}).brow[0, 1] == moved[-1]


def test_a_face_is_painted_into_any_picture_and_may_leave_it():
    ground = np.full((90, 160, 3), 77, np.uint8)
    picture = ground.copy()
    paint(picture, SUBJECT, {12: 4}, Pose(158, 40, 30, 0.3))
    assert (picture != ground).any() and (picture[:, :60] == ground[:, :60]).all()
    outside = ground.copy()
    paint(outside, SUBJECT, {}, Pose(-200, 40, 30))
    assert (outside == ground).all()


def test_a_clip_has_one_face_whose_expression_follows_the_intensities():
    rest, smile, again = draw_face_frames(
        SUBJECT, [{}, {12: 5}, {}], np.random.default_rng(1), side_px=96
    )
    assert rest.shape == (96, 96, 3)
    (still,) = draw_face_frames(SUBJECT, [{}], np.random.default_rng(1), side_px=96)
    assert np.array_equal(still, rest)  # a picture is a clip of one frame
    changed_px = (np.abs(smile.astype(int) - rest).max(axis=2) > 10).mean()
    assert 0.005 < changed_px < 0.3 and not np.array_equal(rest, again)


def test_the_two_styles_look_different():
    pictures = [render(SUBJECT, {}, style=style) for style in STYLES.values()]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 30


def test_sequences_are_smooth_and_active_at_the_planted_rate():
    rates = np.array([0.05, 0.35, 0.9])
    values = np.concatenate(
        [draw_intensities(200, rates, np.random.default_rng(seed)) for seed in range(20)]
    )
    assert np.allclose((values >= 2).mean(axis=0), rates, atol=0.03)
    assert values.min() >= 0 and values.max() <= 5
    one = draw_intensities(200, rates, np.random.default_rng(0))[:, 1]
    shuffled = np.random.default_rng(0).permutation(one)
    assert np.abs(np.diff(one)).mean() < 0.5 * np.abs(np.diff(shuffled)).mean()


def test_a_shortcut_plants_a_rate_per_subject():
    rates = [draw_rates(12, np.random.default_rng(seed), shortcut=1) for seed in range(20)]
    assert set(np.concatenate(rates)) == {0.04, 0.85}
    assert set(draw_rates(12, np.random.default_rng(0))) == {RATE}


def test_an_object_hides_its_region_only():
    names = set()
    for seed in range(12):
        picture = np.zeros((100, 100, 3), np.uint8)
        name = occlude(picture, np.random.default_rng(seed))
        left, top, right, bottom = REGIONS[name]
        assert picture[int(50 * (top + bottom)), int(50 * (left + right))].any()
        rows, columns = np.nonzero(picture.any(axis=2))
        assert rows.min() > 100 * top - 20 and rows.max() < 100 * bottom + 20
        assert columns.min() > 100 * left - 20 and columns.max() < 100 * right + 20
        names.add(name)
    assert names == set(REGIONS)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_dump_is_a_pure_function_of_its_settings(tmp_path):
    settings = SynthFaces(subjects=3, frames=4, size_px=48, occlusions=0.5)
    for name in ("a", "b"):
        write_faces(tmp_path / name, settings, progress=False)
    write_faces(tmp_path / "more", replace(settings, subjects=4), progress=False)
    one, other, more = (files_of(tmp_path / name) for name in ("a", "b", "more"))
    assert one == other
    pictures = [path for path in one if path.suffix == ".jpg"]
    assert len(pictures) == 12
    assert all(more[path] == one[path] for path in pictures)  # subjects do not depend on others


def test_labels_and_intensities_are_what_is_painted(disfa_dump_small):
    root = disfa_dump_small / "data/DISFA-synth"
    truth = json.loads((disfa_dump_small / "truth.json").read_text())
    paths = (root / "list/DISFA-synth_test_img_path_fold2.txt").read_text().split()
    labels = np.loadtxt(root / "list/DISFA-synth_test_label_fold2.txt")
    drawn = np.array([truth["intensities"][path] for path in paths])
    assert np.array_equal(labels, drawn >= 2)
    assert paths[0] == "SN002/0.png" and cv2.imread(str(root / "img" / paths[0])).shape == (
        48,
        48,
        3,
    )
    own = np.loadtxt(root / "ActionUnit_Labels/SN002/SN002_au12.txt", delimiter=",")
    assert np.array_equal(own[:, 0], [1, 2, 3, 4])
    assert np.array_equal(own[:, 1], np.floor(drawn[:, truth["units"].index(12)]))
    weights = np.loadtxt(root / "list/DISFA-synth_weight_fold2.txt")
    assert weights.sum() == pytest.approx(8, abs=1e-4)


@pytest.fixture
def disfa_dump_small(tmp_path):
    settings = SynthFaces(like="disfa", subjects=3, frames=4, size_px=48)
    write_faces(tmp_path / "dump", settings, progress=False)
    return tmp_path / "dump"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subjects": 2}, "subjects must be at least 3, got 2"),
        ({"frames": 3}, "frames must be at least 4"),
        ({"size_px": 8}, "size_px must be at least 32"),
        ({"like": "bp5d"}, "like 'bp5d' is unknown"),
        ({"shortcut": 1.5}, "shortcut is 1.5; it must be between 0 and 1"),
        ({"missing": float("nan")}, "missing is nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        SynthFaces(**settings)
