"""A gallery of users: their histories, the recommendations of each run, and the targets.

R targets, k items per target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.dataset import Dataset
from toolkit.measures import spaced
from toolkit.splits import Evaluation, Ints

HISTORY = 10  # number of newest items shown per history


@dataclass(frozen=True)
class Scene:
    """The data behind a gallery.

    Args:
        data: the dataset.
        evaluation: evaluation with complete histories.
        counts: (N + 1,) training interactions per item.
    """

    data: Dataset
    evaluation: Evaluation
    counts: NDArray[np.int64]


def choose_users(ranks: NDArray[np.float64], count: int) -> list[int]:
    """Rows of targets at evenly spaced quantiles of their target's rank, in ascending order of rank.

    Args:
        ranks: (R,) ranks of the targets under one run.
        count: number of users.

    >>> choose_users(np.array([9.0, 1.0, 5.0, 2.0]), 2)
    [3, 0]
    """
    order = np.argsort(ranks, kind="stable")
    return [int(order[index]) for index in spaced(len(ranks), count)]


def describe_users(
    rows: Sequence[int],
    scene: Scene,
    *,
    ranks: dict[int, NDArray[np.float64]],
    lists: dict[int, Ints],
) -> list[dict[str, Any]]:
    """The facts of each user, with items by number. The rank of a masked target is None.

    Args:
        rows: rows of the users' targets.
        scene: the data behind the gallery.
        ranks: (R,) ranks of the targets, by run.
        lists: (R, k) recommended items, by run.
    """
    evaluation = scene.evaluation
    return [
        {
            "user_id": evaluation.user_ids[evaluation.users[row]],
            "history": _newest(evaluation, row),
            "history_length": int(evaluation.stops[row] - evaluation.starts[row]),
            "target": int(evaluation.targets[row]),
            "ranks": {
                str(run): float(run_ranks[row]) if np.isfinite(run_ranks[row]) else None
                for run, run_ranks in ranks.items()
            },
            "lists": {
                str(run): items[row][items[row] > 0].tolist() for run, items in lists.items()
            },
        }
        for row in rows
    ]


def items_of(users: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of all items in the users' facts, ascending."""
    numbers = {user["target"] for user in users}
    for user in users:
        numbers.update(user["history"], *user["lists"].values())
    return sorted(numbers)


def describe_items(scene: Scene, numbers: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The facts of items by number: id, title, captions and training interactions."""
    data = scene.data
    ids = [data.item_ids.id(number) for number in numbers]
    fields = ("title", *data.caption_names())
    texts = {name: data.source_reader(name).read(numbers).to_pylist() for name in fields}
    titles = texts.pop("title")
    return {
        str(number): {
            "item_id": item_id,
            "title": titles[row],
            "captions": {name: captions[row] for name, captions in texts.items() if captions[row]},
            "seen": int(scene.counts[number]),
        }
        for row, (number, item_id) in enumerate(zip(numbers, ids, strict=True))
    }


def _newest(evaluation: Evaluation, row: int) -> list[int]:
    stop = int(evaluation.stops[row])
    start = max(int(evaluation.starts[row]), stop - HISTORY)
    return evaluation.history[start:stop].tolist()
