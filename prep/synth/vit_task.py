"""The training task of the bundled tiny ViT: classify shape, colour and place from CLS, and outline in patches.

A fifth of the (shape, colour) pairs is held out. The outline is an auxiliary task: it makes patches attend to edges
of any colour, without which shapes are learnt slowly. The place helps with frames: the places of the object in several
frames determine its motion.

B images, P patches, S pixels along the side of a patch.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from prep.synth.scenes import (
    COLOURS,
    SHAPES,
    Image,
    draw_ground,
    draw_paint,
    draw_silhouette,
    place,
    random_pose,
)

Pair = tuple[str, str]
Labels = dict[str, Tensor]

HELD_OUT: tuple[Pair, ...] = (
    ("circle", "red"),
    ("square", "green"),
    ("triangle", "blue"),
    ("star", "yellow"),
    ("circle", "purple"),
)
SEEN: tuple[Pair, ...] = tuple(
    (shape, colour) for shape in SHAPES for colour in COLOURS if (shape, colour) not in HELD_OUT
)

CELLS = 3  # the place is one of nine cells, thirds of the picture in each direction
CLASSES = {"shape": len(SHAPES), "colour": len(COLOURS), "place": CELLS**2}
PATCH_PX = 8
LOSS_WEIGHTS = {"shape": 1.0, "colour": 1.0, "place": 0.3, "outline": 3.0}

_SHOWN = torch.tensor([[(shape, colour) in SEEN for colour in COLOURS] for shape in SHAPES])


def draw_batch(
    pairs: Sequence[Pair], count: int, rng: Generator, *, side_px: int
) -> tuple[list[Image], Labels]:
    """Draws scenes like the covers of dumps, with uniformly drawn pairs.

    Returns:
        The images and the labels: shape, colour and place (B,), outline (B, P, S * S) in [0, 1].
    """
    images, names, outlines = [], [], []
    for _ in range(count):
        shape, colour = pairs[int(rng.integers(len(pairs)))]
        ground, pose = draw_ground(rng, side_px=side_px), random_pose(rng)
        images.append(place(ground, shape, draw_paint(colour, rng), pose))
        outlines.append(draw_silhouette(shape, pose, side_px=side_px))
        cell = int(pose.y * CELLS) * CELLS + int(pose.x * CELLS)
        names.append((list(SHAPES).index(shape), list(COLOURS).index(colour), cell))
    labels = dict(zip(CLASSES, torch.tensor(names).unbind(1), strict=True))
    return images, labels | {"outline": _to_patches(torch.tensor(np.stack(outlines)) / 255)}


def _to_patches(masks: Tensor) -> Tensor:
    """Divides (B, H, W) into the patches of a ViT in row order: (B, P, S * S)."""
    return F.unfold(masks[:, None], PATCH_PX, stride=PATCH_PX).transpose(1, 2)


def losses(logits: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """The loss of each head.

    Only shapes that occur with the image's colour compete, and likewise only colours that occur with its shape.
    Otherwise the model would learn that red things are never circles, and misclassify the held-out red circles.
    """
    shape, colour = labels["shape"], labels["colour"]
    never = torch.finfo(torch.float32).min
    shapes = logits["shape"].masked_fill(~_SHOWN.T[colour], never)
    colours = logits["colour"].masked_fill(~_SHOWN[shape], never)
    return {
        "shape": F.cross_entropy(shapes, shape),
        "colour": F.cross_entropy(colours, colour),
        "place": F.cross_entropy(logits["place"], labels["place"]),
        "outline": F.binary_cross_entropy_with_logits(logits["outline"], labels["outline"]),
    }
