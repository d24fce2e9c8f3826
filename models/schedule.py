"""Learning-rate schedules, as pure functions of how many updates were made: nothing to save or restore."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "linear"]


def rate_factor(
    update: int, *, total: int, warmup: int = 0, schedule: Schedule = "constant"
) -> float:
    """What learning rates are multiplied by at an update.

    They rise by equal steps over the first `warmup` updates; then they stay, or fall to 0 where the run ends:
    with p = (update - warmup) / (total - warmup), by (1 + cos πp) / 2 (cosine, arXiv 1608.03983 without
    restarts) or 1 - p (linear).

    Args:
        update: from 0.
        total: updates of the whole run.
        warmup: of these.
        schedule: after warm-up.

    >>> [rate_factor(u, total=6, warmup=2, schedule="linear") for u in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if update < warmup:
        return (update + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = min((update - warmup) / max(total - warmup, 1), 1.0)
    return 1.0 - done if schedule == "linear" else (1.0 + math.cos(math.pi * done)) / 2
