"""Learning-rate schedules as pure functions of the number of updates: there is no state to save or restore."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "linear"]


def rate_factor(
    update: int, *, total: int, warmup: int = 0, schedule: Schedule = "constant"
) -> float:
    """The factor of all learning rates at an update.

    It rises linearly to 1 over the first `warmup` updates. Then it stays, or falls to 0 at the end of the run: with
    p = (update - warmup) / (total - warmup), it is (1 + cos πp) / 2 (cosine, arXiv 1608.03983 without restarts) or
    1 - p (linear).

    Args:
        update: index of the update, from 0.
        total: number of updates in the run.
        warmup: number of updates of the warm-up.
        schedule: after the warm-up.

    >>> [rate_factor(u, total=6, warmup=2, schedule="linear") for u in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if update < warmup:
        return (update + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = min((update - warmup) / max(total - warmup, 1), 1.0)
    return 1.0 - done if schedule == "linear" else (1.0 + math.cos(math.pi * done)) / 2
