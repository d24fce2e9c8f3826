"""A few users to look at: what they had, what each run recommended, and what they took next.

S users, k items a user.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.dataset import Dataset
from toolkit.measures import spaced
from toolkit.splits import Evaluation, Ints

HISTORY = 10  # newest items of a history that are shown


@dataclass(frozen=True)
class Scene:
    """Where the users of a gallery are.

    Args:
        data: the dataset.
        user_ids: S ids.
        evaluation: with whole histories.
        counts: (N + 1,) how often each item occurs in training.
    """

    data: Dataset
    user_ids: Sequence[str]
    evaluation: Evaluation
    counts: NDArray[np.int64]


def choose_users(ranks: NDArray[np.float64], count: int) -> list[int]:
    """Rows of users evenly over the quantiles of their ranks, the best ranked first.

    Args:
        ranks: (S,) under one run.
        count: how many.

    >>> choose_users(np.array([9.0, 1.0, 5.0, 2.0]), 2)
    [3, 0]
    """
    order = np.argsort(ranks, kind="stable")
    return [int(order[place]) for place in spaced(len(ranks), count)]


def describe_users(
    rows: Sequence[int],
    scene: Scene,
    *,
    ranks: dict[int, NDArray[np.float64]],
    lists: dict[int, Ints],
) -> list[dict[str, Any]]:
    """What the page shows of each user; items by number. The rank of a target that can never hit is None.

    Args:
        rows: of the users.
        scene: where they are.
        ranks: (S,) of the targets, by run.
        lists: (S, k) what is recommended, by run.
    """
    evaluation = scene.evaluation
    return [
        {
            "user_id": scene.user_ids[row],
            "history": _newest(evaluation, row),
            "history_length": int(evaluation.stops[row] - evaluation.starts[row]),
            "target": int(evaluation.targets[row]),
            "ranks": {
                str(run): float(found[row]) if np.isfinite(found[row]) else None
                for run, found in ranks.items()
            },
            "lists": {
                str(run): found[row][found[row] > 0].tolist() for run, found in lists.items()
            },
        }
        for row in rows
    ]


def items_of(users: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of all items that users' entries mention, ascending."""
    found = {user["target"] for user in users}
    for user in users:
        found.update(user["history"], *user["lists"].values())
    return sorted(found)


def describe_items(scene: Scene, numbers: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What is known of items, by number: id, title, captions, and how often training saw them."""
    data = scene.data
    ids = [data.item_ids.id(number) for number in numbers]
    fields = ("title", *data.caption_names())
    texts = {name: data.source_reader(name).read(numbers).to_pylist() for name in fields}
    titles = texts.pop("title")
    return {
        str(number): {
            "item_id": item_id,
            "title": titles[place],
            "captions": {name: said[place] for name, said in texts.items() if said[place]},
            "seen": int(scene.counts[number]),
        }
        for place, (number, item_id) in enumerate(zip(numbers, ids, strict=True))
    }


def _newest(evaluation: Evaluation, row: int) -> list[int]:
    stop = int(evaluation.stops[row])
    start = max(int(evaluation.starts[row]), stop - HISTORY)
    return evaluation.history[start:stop].tolist()
