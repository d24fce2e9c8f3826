"""A synthetic log of the shape of MicroLens: 34.5 million users, 1.14 million items, a billion interactions.

Users and items are in proportion to the interactions, so that the mean history (29.2) and the mean popularity (880) are
those of the whole release at every size (MicroLens, arXiv 2309.15379). Both curves are a constant plus a log-normal
variable:

- A history has 5 + x interactions, log x of standard deviation 1. With the mean of MicroLens-50k (7.2), this has its
  smallest length (5), median (6) and 95th percentile (13). For the whole release only the mean is published: x is scaled.
- The popularity of an item has a log of standard deviation 1.5, an assumption: the most frequent percent of the items has a
  fifth of the interactions.

Every user and every item has exactly its number of interactions. Interaction i belongs to an item, in the order of item
numbers, as in the released files of pairs, and to place (a i + c) mod V of the users' places, a coprime to V. So a piece of
the log depends on its first and last number alone, and memory holds one piece and a number per item.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

USERS, ITEMS, INTERACTIONS = 34_500_000, 1_140_000, 1_006_528_709
LENGTHS: dict[str, float] = {"least": 5, "sigma": 1.0}
POPULARITY: dict[str, float] = {"least": 0, "sigma": 1.5}
PIECE_ROWS = 10_000_000  # of a file
BLOCK_ROWS = 1_000_000  # of a row group, which is made at once
START_MS, SPAN_MS = 1_577_836_800_000, 63_072_000_000  # two years from 2020 on
AGE_MS = 30 * 86_400_000  # mean age of an item at an interaction
DIMENSIONS = 64
EVERY = 4096
Ints = NDArray[np.int64]


class Sizes(NamedTuple):
    """Numbers of users, items and interactions."""

    users: int
    items: int
    interactions: int

    @classmethod
    def of(cls, interactions: int) -> "Sizes":
        """The sizes of a log in proportion to the whole release."""
        share = interactions / INTERACTIONS
        return cls(round(USERS * share), round(ITEMS * share), interactions)


def curve(count: int, total: int, *, least: float, sigma: float) -> tuple[Ints, Ints]:
    """Whole numbers `least` + ⌊scale · exp(sigma z)⌋ at `count` quantiles z of the normal distribution, with a given sum.

    Args:
        count: how many numbers.
        total: their sum; the scale follows from it, and the largest number takes what rounding leaves over.
        least: smallest number.
        sigma: standard deviation of the logarithm.

    Returns:
        The distinct numbers, descending, and how many there are of each.
    """
    low, high = 0.0, total / count
    for _ in range(60):
        scale = (low + high) / 2
        values, counts = _curve(count, scale, least, sigma)
        low, high = (scale, high) if int(values @ counts) <= total else (low, scale)
    values, counts = _curve(count, low, least, sigma)
    rest = total - int(values @ counts)
    if counts[0] > 1:
        values, counts = np.append(values[0], values), np.append(1, counts)
        counts[1] -= 1
    values[0] += rest
    return values, counts


def _curve(count: int, scale: float, least: float, sigma: float) -> tuple[Ints, Ints]:
    normal = NormalDist()
    largest = int(scale * math.exp(sigma * normal.inv_cdf(1 - 0.5 / count)))
    # Every number up to 4096; above, few users are spread over many numbers, so some numbers stand for their neighbours.
    above = np.geomspace(EVERY, max(largest, EVERY), EVERY).astype(np.int64)
    extra = np.unique(np.append(np.arange(EVERY), above))
    extra = extra[extra <= largest]
    reach = [1.0 if x == 0 else 1 - normal.cdf(math.log(x / scale) / sigma) for x in extra.tolist()]
    counts = -np.diff(np.rint(count * np.array([*reach, 0.0])).astype(np.int64))
    some = counts > 0
    return int(least) + extra[some][::-1], counts[some][::-1]


class Log:
    """The log.

    Args:
        sizes: its sizes.
        seed: of the assignment of users, items and times.
    """

    def __init__(self, sizes: Sizes, *, seed: int) -> None:
        self.sizes = sizes
        rng = np.random.default_rng(seed)
        self._place = _permutation(sizes.interactions, rng)
        self._user = _permutation(sizes.users, rng)
        rank, born = _permutation(sizes.items, rng), _permutation(sizes.items, rng)
        self._lengths, users = curve(sizes.users, sizes.interactions, **LENGTHS)
        self._first_user = np.cumsum(users) - users
        self._first_place = np.cumsum(users * self._lengths) - users * self._lengths
        popularity = np.repeat(*curve(sizes.items, sizes.interactions, **POPULARITY))
        numbers = np.arange(sizes.items)
        self._popularity = popularity[_permuted(numbers, *rank, sizes.items)]
        self._first = np.cumsum(self._popularity) - self._popularity  # interaction of each item
        self._born_ms = START_MS + _permuted(numbers, *born, sizes.items) * SPAN_MS // sizes.items

    def rows(self, start: int, stop: int) -> pa.Table:
        """The interactions with numbers in [start, stop): user and item, from 1, and timestamp in milliseconds."""
        numbers = np.arange(start, stop)
        place = _permuted(numbers, *self._place, self.sizes.interactions)
        group = np.searchsorted(self._first_place, place, side="right") - 1
        user = self._first_user[group] + (place - self._first_place[group]) // self._lengths[group]
        item = np.searchsorted(self._first, numbers, side="right") - 1
        done = (numbers - self._first[item] + 0.5) / self._popularity[item]
        age = (-np.log1p(-done) * AGE_MS).astype(np.int64)
        return pa.table(
            {
                "user": (1 + _permuted(user, *self._user, self.sizes.users)).astype(np.int32),
                "item": (1 + item).astype(np.int32),
                "timestamp": self._born_ms[item] + age,
            }
        )


def _permutation(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Factor and offset of a permutation n -> (factor n + offset) mod count."""
    factor = int(rng.integers(count // 3, count // 2)) | 1
    while math.gcd(factor, count) > 1:
        factor += 2
    return factor, int(rng.integers(count))


def _permuted(numbers: Ints, factor: int, offset: int, count: int) -> Ints:
    return (numbers * factor + offset) % count


def write_log(log: Log, folder: Path) -> None:
    """Writes `interactions/*.parquet`, `items.parquet`, and 64 features per item with their ids."""
    (folder / "interactions").mkdir(parents=True)
    sizes = log.sizes
    for piece, first in enumerate(range(0, sizes.interactions, PIECE_ROWS)):
        last = min(first + PIECE_ROWS, sizes.interactions)
        blocks = (log.rows(at, min(at + BLOCK_ROWS, last)) for at in range(first, last, BLOCK_ROWS))
        _write(folder / "interactions" / f"part-{piece:05d}.parquet", blocks)
    ids = np.arange(1, sizes.items + 1)
    titles = pa.array([f"Title of item {number}" for number in ids.tolist()])
    pa.parquet.write_table(
        pa.table({"item": ids, "title": titles}), folder / "items.parquet", compression="zstd"
    )
    features = np.random.default_rng(0).standard_normal((sizes.items, DIMENSIONS), dtype=np.float32)
    np.save(folder / "features.npy", features.astype(np.float16))
    (folder / "features.ids.txt").write_text("".join(f"{number}\n" for number in ids.tolist()))


def _write(path: Path, blocks: Iterator[pa.Table]) -> None:
    first = next(blocks)
    # Users do not repeat within a row group, items do, and times ascend within an item.
    encodings = {"user": "PLAIN", "timestamp": "DELTA_BINARY_PACKED"}
    with pa.parquet.ParquetWriter(
        path, first.schema, compression="zstd", use_dictionary=["item"], column_encoding=encodings
    ) as writer:
        writer.write_table(first)
        for block in blocks:
            writer.write_table(block)
