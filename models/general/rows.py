"""The rows of a model's own tables that a batch reads.

B users, R rows of a batch, n negatives per row, S training users, N items, E width of a vector.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from models.inputs.batch import Batch
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.machine.parallel import gather


class RowIds(NamedTuple):
    """Numbers of users and items.

    Args:
        users: (R,) row in a table of the training users.
        positives: (R,) item number of the target.
        negatives: (R, n) item numbers; n is 0 if all rows share the columns of the loss.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor


def ids_of_rows(batch: Batch) -> RowIds:
    """The users and items of the rows of a batch.

    Raises:
        ValueError: if the batch has no users.
    """
    if batch.users is None:
        raise ValueError("the model has a vector per user, but the batch has no users")
    columns = gather(batch.items) if batch.shared else batch.items
    numbers = F.pad(columns.to(batch.targets.device), (1, 0))
    negatives = batch.targets[:, None][:, :0] if batch.negatives is None else batch.negatives
    return RowIds(
        batch.users.index_select(0, batch.sequence_of_rows()),
        numbers[batch.targets],
        numbers[negatives],
    )


def squares_of_rows(ids: RowIds, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Squares of the vectors of each row's user, and of its target plus the mean of its negatives, (R, E) each.

    Args:
        ids: of the rows.
        users: (S + 1, E).
        items: (N + 1, E).
    """
    # F.embedding: the backward of items[ids] is not deterministic on several CPU threads.
    of_items = F.embedding(ids.positives, items).square()
    if ids.negatives.shape[1]:
        of_items = of_items + F.embedding(ids.negatives, items).square().mean(1)
    return F.embedding(ids.users, users).square(), of_items


def rows_of_users(users: Users, tables: Tables) -> Tensor:
    """(B, E) rows of the table of users.

    Raises:
        ValueError: if the rows of the users, or the table, are missing.
    """
    if users.rows is None or tables.users is None:
        raise ValueError("the model has a vector per user, but the rows of the users are missing")
    return F.embedding(users.rows, tables.users)
