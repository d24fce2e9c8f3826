"""Runs a network over many faces, in all processes.

N faces, A action units (AUs), D width, M faces with features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.facial.network import VLFAU, FaceOutput
from models.facial.pictures import Pictures
from models.facial.text_metrics import token_hits
from models.facial.texts import Texts
from models.machine.autocast import autocast
from models.machine.parallel import gather_objects, gather_shares, share
from models.machine.precision import Precision

Floats = NDArray[np.float32]
FEATURED = 4000  # most faces whose features are kept


@dataclass(frozen=True)
class Recognised:
    """What a network states of N faces.

    Args:
        logits: (N, A).
        features: (M, A, D) of some faces, evenly spaced: enough to probe, and few enough for the memory.
        featured: (M,) indices of these faces.
        au_texts: N lists of A texts; None without this branch.
        face_texts: N texts; None without this branch.
        au_hits: tokens of texts about AUs that are predicted right, and all, by teacher forcing; None without targets.
        face_hits: the same of texts about faces.
    """

    logits: Floats
    features: Floats
    featured: NDArray[np.int64]
    au_texts: list[list[str]] | None = None
    face_texts: list[str] | None = None
    au_hits: tuple[int, int] | None = None
    face_hits: tuple[int, int] | None = None


def recognise(
    network: VLFAU,
    pictures: Pictures,
    rows: Sequence[int],
    *,
    batch_size: int,
    precision: Precision = "no",
) -> Floats:
    """(N, A) logits of some faces; all processes call it and have the result.

    Args:
        network: on its device.
        pictures: of the dataset.
        rows: rows of the table.
        batch_size: faces at a time.
        precision: mixed precision.
    """
    return _over(network, pictures, rows, lambda output: output.logits, batch_size, precision)


def describe(
    network: VLFAU,
    pictures: Pictures,
    rows: Sequence[int],
    *,
    batch_size: int,
    precision: Precision = "no",
    beams: int = 1,
    labels: NDArray[np.int8] | None = None,
    texts: Texts | None = None,
) -> Recognised:
    """Logits, features, texts and, with labels, the tokens that are predicted right; all processes call it.

    Args:
        network: see `recognise`, as the next three arguments.
        pictures: of the dataset.
        rows: rows of the table.
        batch_size: faces at a time.
        precision: mixed precision.
        beams: of the generation; 1 is greedy search.
        labels: (N, A) of the rows, in the order of the AUs of the network.
        texts: makes the targets of the texts; required with labels.
    """
    device, mine, count = next(network.parameters()).device, share(len(rows)).tolist(), len(rows)
    network.eval()
    logits, hits = [], []
    au_texts: list[list[str]] = []
    face_texts: list[str] = []
    with torch.no_grad(), autocast(precision, device):
        for some in _batches(mine, batch_size):
            images = _images(pictures, rows, some, device)
            described = network.describe(images, beams=beams)
            logits.append(described.output.logits.float())
            au_texts += described.au_texts or []
            face_texts += described.face_texts or []
            if labels is not None and texts is not None:
                hits.append(_hits(network, images, torch.from_numpy(labels[some]), texts))
    counted = _gathered(torch.cat(hits), count).sum(0).astype(int).tolist() if hits else None
    has_aus, has_faces = network.au_language is not None, network.face_language is not None
    featured = np.unique(np.linspace(0, count - 1, min(count, FEATURED)).astype(int))
    chosen = [rows[index] for index in featured]
    return Recognised(
        _gathered(torch.cat(logits), count),
        _over(network, pictures, chosen, lambda output: output.features, batch_size, precision),
        featured,
        gather_objects(au_texts, count) if has_aus else None,
        gather_objects(face_texts, count) if has_faces else None,
        (counted[0], counted[1]) if counted and has_aus else None,
        (counted[2], counted[3]) if counted and has_faces else None,
    )


def as_input(images: Tensor, device: torch.device) -> Tensor:
    """(B, 3, C, C) uint8 -> float in [0, 1], on a device."""
    return images.to(device).float() / 255


def _over(
    network: VLFAU,
    pictures: Pictures,
    rows: Sequence[int],
    take: Callable[[FaceOutput], Tensor],
    batch_size: int,
    precision: Precision,
) -> Floats:
    """(N, ...) a part of the output for each row, from all processes."""
    device, mine = next(network.parameters()).device, share(len(rows)).tolist()
    network.eval()
    with torch.no_grad(), autocast(precision, device):
        parts = [
            take(network(_images(pictures, rows, some, device))).float()
            for some in _batches(mine, batch_size)
        ]
    return _gathered(torch.cat(parts), len(rows))


def _hits(network: VLFAU, images: Tensor, labels: Tensor, texts: Texts) -> Tensor:
    """(B, 4) tokens predicted right, and all: of texts about AUs, and of texts about faces."""
    device = images.device
    targets = texts.targets(labels)
    on_device = type(targets)(*(part.to(device) for part in targets))
    output = network(images, labels.to(device), on_device)
    parts = [(output.au_text_logits, targets.aus), (output.face_text_logits, targets.faces)]
    return torch.cat(
        [
            torch.zeros(len(labels), 2) if scores is None else token_hits(scores.cpu(), of).float()
            for scores, of in parts
        ],
        dim=1,
    ).to(device)


def _batches(mine: list[int], size: int) -> list[list[int]]:
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def _images(
    pictures: Pictures, rows: Sequence[int], some: list[int], device: torch.device
) -> Tensor:
    return as_input(pictures.plain([int(rows[index]) for index in some]), device)


def _gathered(local: Tensor, count: int) -> Floats:
    return np.asarray(gather_shares(local, count).cpu().numpy())
