"""Near-equal covers, by a perceptual hash of 64 bits (Zauner, 2010: pHash).

The hash has the signs, relative to their median, of the lowest 8 × 8 frequencies of the discrete cosine transform of the
grey cover at 32 × 32 pixels. Two hashes that differ in at most 7 bits differ in at most one bit of one of four bands of 16
(multi-index hashing, arXiv 1307.2982), so the lookup finds every pair within `NEAR` bits.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from prep.reporting.audit.similar import grouped, similar_groups
from prep.reporting.finding import Facts
from prep.reporting.measures import Ints
from toolkit import Dataset
from toolkit.store import Table

NEAR = 4  # bits
MOST = 1_000_000  # covers that are compared; the first ones of a larger catalogue
SIDE, LOW = 32, 8
FLAT = 2.0  # standard deviation of the grey values, 0..255; a cover below it has one colour and no hash
BANDS, BITS = 4, 16
FLIPS = (0, *(1 << bit for bit in range(BITS)))


def near_covers(data: Dataset) -> Facts | None:
    """Groups of items with near-equal covers; None without covers.

    Returns:
        compared: covers with a hash. flat: covers of one colour, which are not compared. complete: whether every
        candidate pair was compared. groups, items, share, listed: groups of near-equal covers.
    """
    table = Table(data.path / "covers")
    if not table.exists():
        return None
    ids: list[str] = []
    hashes: list[int] = []
    flat = left_out = 0
    for item_id, image in _covers(table):
        if len(ids) == MOST:
            left_out += 1
            continue
        value = perceptual_hash(image)
        if value is None:
            flat += 1
        else:
            ids.append(item_id)
            hashes.append(value)
    codes = np.array(hashes, np.uint64)
    similar = similar_groups(
        _bands(codes), lambda left, right: _bits(codes, left, right) <= NEAR, flips=FLIPS
    )
    return {
        "compared": len(ids),
        "flat": flat,
        "left_out": left_out,
        "complete": similar.complete and not left_out,
        **grouped(similar.labels, ids),
    }


def _covers(table: Table) -> Iterator[tuple[str, bytes]]:
    for batch in table.batches(["item_id", "image"]):
        for item_id, image in zip(
            *(batch.column(name) for name in ("item_id", "image")), strict=True
        ):
            if image.is_valid:
                yield item_id.as_py(), image.as_py()


def perceptual_hash(jpeg: bytes) -> int | None:
    """The hash of a picture; None for one without contrast, and for bytes that are no picture.

    Args:
        jpeg: an encoded picture.
    """
    grey = _grey(jpeg)
    if grey is None or grey.std() < FLAT:
        return None
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
    bits = low > np.median(low[1:])  # without the mean of the picture
    return int(np.packbits(bits).view(">u8")[0])


def _grey(jpeg: bytes) -> NDArray[np.uint8] | None:
    data = np.frombuffer(jpeg, np.uint8)
    if not len(data):
        return None
    grey = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_2)
    return None if grey is None else np.asarray(grey)


def _bands(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(N, 4) the 16 bits of each band."""
    shifts = np.arange(BANDS, dtype=np.uint64) * np.uint64(BITS)
    bands: NDArray[np.uint64] = (codes[:, None] >> shifts) & np.uint64((1 << BITS) - 1)
    return bands


def _bits(codes: NDArray[np.uint64], left: Ints, right: Ints) -> NDArray[np.uint8]:
    return np.bitwise_count(codes[left] ^ codes[right])
