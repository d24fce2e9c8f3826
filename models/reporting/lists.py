"""What a run recommends to every user of an evaluation, from all that came before the target.

S users, k items a user.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.compare import Evaluated
from models.evaluate import Split
from models.run import TrainedRecommender
from toolkit.errors import UserError
from toolkit.splits import Evaluation, Ints

K = 10
USERS_AT_ONCE = 4096


def whole_histories(trained: TrainedRecommender, split: Split) -> Evaluation:
    """The split with each user's whole history, whatever the run's protocol: all before the target."""
    length = trained.config.sequence.max_len
    return trained.dataset.splits(protocol="clean", max_len=length).evaluation(split)


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
    ids = trained.dataset.items.column("item_id").combine_chunks()
    found = np.zeros((len(evaluation), K), np.int32)
    for start in range(0, len(evaluation), USERS_AT_ONCE):
        rows = slice(start, start + USERS_AT_ONCE)
        bounds = zip(evaluation.starts[rows], evaluation.stops[rows], strict=True)
        histories = [
            ids.take(pa.array(evaluation.history[low:high] - 1)).to_pylist() for low, high in bounds
        ]
        table = trained.recommend(histories, K)
        numbers = pc.index_in(table.column("item_id"), value_set=ids).to_numpy() + 1
        found[table.column("row").to_numpy() + start, table.column("rank").to_numpy() - 1] = numbers
    return found
