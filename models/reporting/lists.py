"""The top-k lists of a run for the users of an evaluation, from the complete history before the target.

S users, k items per user.
"""

import numpy as np
import pyarrow as pa

from models.evaluate import Split
from models.inputs.histories import Histories
from models.results.evaluations import Evaluated
from models.runs.trained import TrainedRecommender
from toolkit.errors import UserError
from toolkit.splits import Evaluation, Ints

K = 10


def whole_histories(trained: TrainedRecommender, split: Split) -> Evaluation:
    """The split with each user's complete history before the target, under any protocol of the run."""
    if trained.config.protocol == "clean":
        return trained.splits.evaluation(split)
    return trained.splits_under("clean").evaluation(split)


def refuse_other_users(trained: TrainedRecommender, evaluated: Evaluated, targets: Ints) -> None:
    """Refuses ranks whose users or targets differ from those of the current dataset.

    Raises:
        UserError: if users or targets differ.
    """
    users = pa.chunked_array([trained.splits.user_ids], pa.string())
    item_ids = trained.dataset.items.column("item_id").take(pa.array(targets - 1))
    ranked = evaluated.ranks
    if not (ranked.column("user_id").equals(users) and ranked.column("item_id").equals(item_ids)):
        raise UserError(
            f"{evaluated.run}: its ranks are of other users or targets than those of {trained.config.data}; "
            f"run: python -m models evaluate {evaluated.run} --split {evaluated.report['split']}"
        )


def top_k_lists(trained: TrainedRecommender, evaluation: Evaluation) -> Ints:
    """(S, k) item numbers by rank, padded with 0 if fewer items remain.

    Args:
        trained: the run.
        evaluation: evaluation with complete histories, whose items are not recommended.
    """
    users = pa.array(trained.splits.user_ids, pa.string())
    histories = Histories(
        users,
        evaluation.history,
        evaluation.starts,
        evaluation.stops,
        evaluation.times,
        of_dataset=True,
    )
    lists = np.zeros((len(evaluation), K), np.int32)
    for top_k in trained.top_items(histories, K):
        lists[top_k.rows, top_k.ranks - 1] = top_k.items
    return lists
