"""The share of the order within users that time does not determine, and whether item ids ascend in it.

If times are equal or missing, the order of rows in the file decides. From a file sorted by item id, a model then learns
the order of ids, and metrics become higher without meaning.
"""

from math import erfc, sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.reporting.measures import share

FAR = 0.05  # minimum distance of the share from one half
CERTAIN = 1e-3  # maximum two-sided p-value
LEAST_SHARE = 0.01  # minimum share of neighbours; fewer ties cannot change a result


class Order:
    """Counts neighbouring interactions within users.

    Args:
        item_ids: (N,) the dump's own ids; compared as numbers if all are numbers, otherwise as text.
    """

    def __init__(self, item_ids: pa.ChunkedArray) -> None:
        self._rank = _ranks(item_ids)
        self._tied = _Steps()
        self._all = _Steps()

    def add(self, user: NDArray[np.int32], item: NDArray[np.int32], time: pa.ChunkedArray) -> None:
        """Counts the steps of some users, whose rows must be complete and in the dataset's order."""
        same_user = user[1:] == user[:-1]
        dated = time.is_valid().to_numpy()
        stamps = pc.fill_null(time, 0).to_numpy()
        tied = same_user & dated[1:] & dated[:-1] & (stamps[1:] == stamps[:-1])
        rank = self._rank[item]
        step = np.sign(rank[1:] - rank[:-1])
        self._all.add(step[same_user])
        self._tied.add(step[tied])

    def facts(self, *, untimed: bool) -> dict[str, Any]:
        """The counts as JSON.

        Args:
            untimed: whether some interaction has no time, so that all follow the file's order.
        """
        pairs, by_file = self._all.count, self._all if untimed else self._tied
        ascending = share(by_file.up, by_file.up + by_file.down)
        return {
            "pairs": pairs,
            "tied": self._tied.count,
            "share_tied": share(self._tied.count, pairs),
            "untimed": untimed,
            "by_file": by_file.count,
            "share_by_file": share(by_file.count, pairs),
            "ascending": by_file.up,
            "descending": by_file.down,
            "share_ascending": ascending,
            "p_value": sign_test(by_file.up, by_file.down),
            "follows_ids": ascending is not None
            and by_file.count >= LEAST_SHARE * pairs
            and abs(ascending - 0.5) >= FAR
            and sign_test(by_file.up, by_file.down) < CERTAIN,
        }


class _Steps:
    """The number of steps, and of those that go up and down; the other steps stay at the same item."""

    def __init__(self) -> None:
        self.count = self.up = self.down = 0

    def add(self, signs: NDArray[np.int64]) -> None:
        self.count += len(signs)
        self.up += int(np.count_nonzero(signs > 0))
        self.down += int(np.count_nonzero(signs < 0))


def _ranks(item_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """(N + 1,) rank of each item's id; 0 for padding."""
    ids = item_ids.combine_chunks()
    if pc.all(pc.match_substring_regex(ids, r"^\d{1,18}$"), min_count=0).as_py():
        ids = ids.cast(pa.int64())
    order = pc.sort_indices(ids).to_numpy()
    ranks = np.zeros(len(ids) + 1, np.int64)
    ranks[order + 1] = np.arange(1, len(ids) + 1)
    return ranks


def sign_test(up: int, down: int) -> float:
    """Two-sided p-value of the split if up and down are equally likely (normal approximation with continuity
    correction).

    Steps of a random order alternate between up and down more often than coin tosses, so the test is conservative.

    >>> round(sign_test(60, 40), 3)
    0.057
    >>> sign_test(0, 0)
    1.0
    """
    steps = up + down
    excess = max(abs(up - down) - 1, 0)
    return erfc(excess / sqrt(2 * steps)) if steps else 1.0
