"""The top-k lists of a run for the targets of an evaluation, from the complete history before the target.

R targets, k items per target.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from models.inputs.histories import Histories
from models.results.evaluations import Evaluated
from models.runs.trained import TrainedRecommender
from toolkit.errors import UserError
from toolkit.histories import Ints
from toolkit.protocols import Mask
from toolkit.splits import Evaluation

K = 10


def whole_histories(trained: TrainedRecommender, evaluated: Evaluated) -> Evaluation:
    """The targets of an evaluation with the complete history before each of them, whatever its protocol masks."""
    whole = replace(evaluated.protocol, mask=Mask("history"))
    own = trained.splits
    splits = own if whole == own.protocol else trained.splits_under(whole)
    return splits.evaluation(evaluated.report["split"])


def refuse_other_users(
    trained: TrainedRecommender, evaluated: Evaluated, evaluation: Evaluation
) -> None:
    """Refuses ranks whose users or targets differ from those of the current dataset.

    Raises:
        UserError: if users or targets differ.
    """
    users = pa.chunked_array([user_ids(evaluation)])
    item_ids = trained.dataset.items.column("item_id").take(pa.array(evaluation.targets - 1))
    ranked = evaluated.ranks
    if not (ranked.column("user_id").equals(users) and ranked.column("item_id").equals(item_ids)):
        raise UserError(
            f"{evaluated.run}: its ranks are of other users or targets than those of {trained.config.data}; "
            f"run: python -m models evaluate {evaluated.run} --split {evaluated.report['split']}"
        )


def top_k_lists(trained: TrainedRecommender, evaluation: Evaluation) -> Ints:
    """(R, k) item numbers by rank, padded with 0 if fewer items remain, and for users of whom the model has no vector.

    Args:
        trained: the run.
        evaluation: evaluation with complete histories, whose items are not recommended.
    """
    kind = trained.config.general_kind
    known = np.arange(len(evaluation))
    if kind is not None and kind.needs_user:
        known = np.flatnonzero(evaluation.rows)
    histories = Histories(
        user_ids(evaluation).take(pa.array(known)),
        evaluation.history,
        evaluation.starts[known],
        evaluation.stops[known],
        evaluation.times,
        of_dataset=True,
    )
    lists = np.zeros((len(evaluation), K), np.int32)
    for top_k in trained.top_items(histories, K):
        lists[known[top_k.rows], top_k.ranks - 1] = top_k.items
    return lists


def user_ids(evaluation: Evaluation) -> pa.Array:
    """(R,) the id of each target's user."""
    return pa.array(evaluation.user_ids, pa.string()).take(pa.array(evaluation.users))
