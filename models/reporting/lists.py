"""What a run recommends to every user of an evaluation, from all that came before the target.

S users, k items a user.
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
    """The split with each user's whole history before the target, whatever the run's protocol masks."""
    config = trained.config
    if config.protocol == "clean":
        return trained.splits.evaluation(split)
    clean = trained.dataset.splits(protocol="clean", max_len=config.sequence.max_len)
    return clean.evaluation(split)


def refuse_other_users(trained: TrainedRecommender, found: Evaluated, targets: Ints) -> None:
    """Refuses ranks that are not those of the dataset as it is now.

    Raises:
        UserError: if users or targets differ.
    """
    users = pa.chunked_array([trained.splits.user_ids], pa.string())
    wanted = trained.dataset.items.column("item_id").take(pa.array(targets - 1))
    ranked = found.ranks
    if not (ranked.column("user_id").equals(users) and ranked.column("item_id").equals(wanted)):
        raise UserError(
            f"{found.run}: its ranks are of other users or targets than {trained.config.data} has now; "
            f"run: python -m models evaluate {found.run} --split {found.report['split']}"
        )


def top_items(trained: TrainedRecommender, evaluation: Evaluation) -> Ints:
    """(S, k) item numbers, the best first, 0 where the catalogue has fewer left.

    Args:
        trained: the run.
        evaluation: with whole histories, whose items are left out.
    """
    users = pa.array(trained.splits.user_ids, pa.string())
    histories = Histories(users, evaluation.history, evaluation.starts, evaluation.stops)
    found = np.zeros((len(evaluation), K), np.int32)
    for best in trained.top_items(histories, K):
        found[best.rows, best.ranks - 1] = best.items
    return found
