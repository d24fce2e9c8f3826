"""Data and metrics of the ID models of MicroLens, from raw interactions and given scores.

They differ from those of its sequential models: users keep their whole history, which is masked, and the training lists
are its pieces of at most L + 1 items, counted from the end.

P interactions, S users, N items, L inputs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.golden.evaluations import catalogue_of
from benchmarks.golden.files import Golden, Ours
from models.inputs.sequences import InteractionSequences
from models.ranking.counting import count_ranks
from toolkit.metrics import ndcg

Ints = NDArray[np.int64]
CUTOFFS = (5, 10)


def run_id_evaluation(golden: Golden) -> Ours:
    """Numbers, training lists and examples, and both splits."""
    length = golden.meta["MAX_ITEM_LIST_LENGTH"]
    raw = {name: x.numpy() for name, x in golden.inputs.items()}
    items, raw_items = _numbered(raw["raw_item"])
    users, raw_users = _numbered(raw["raw_user"])
    by_time = np.argsort(raw["timestamp"], kind="stable")
    owners = list(dict.fromkeys(users[by_time].tolist()))  # by their earliest interaction
    histories = [items[by_time][users[by_time] == owner] for owner in owners]
    outputs = {
        "item_num": np.array(len(raw_items)),
        "user_num": np.array(len(raw_users)),
        "raw_item_of_id": raw_items,
        "raw_user_of_id": raw_users,
        **_training([history[:-2] for history in histories], owners, length),
    }
    for name, last in (("valid", -2), ("test", -1)):
        before = [history[:last] for history in histories]
        targets = np.array([history[last] for history in histories])
        pairs = {"history_user": _index_of(before), "history_item": np.concatenate(before)}
        outputs |= {f"{name}_{key}": x for key, x in pairs.items()}
        outputs[f"{name}_inputs"] = _left_padded([x[-length:] for x in before], length)
        outputs[f"{name}_targets"] = targets
        outputs[f"{name}_metrics"] = _metrics(golden.inputs[f"{name}_scores"], targets, before)
    return Ours({name: torch.as_tensor(x) for name, x in outputs.items()}, {})


def _numbered(raw: Ints) -> tuple[Ints, Ints]:
    """Numbers from 1 by first appearance, (P,), and the raw value of each number, 0 for padding."""
    values, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first)) + 1
    return number[inverse], np.append(0, values[np.argsort(first)])


def _training(train: Sequence[Ints], owners: Sequence[int], length: int) -> dict[str, NDArray]:
    """The lists of L + 1 items, the leave-one-out examples of them, and all pairs of a user and an item."""
    lists, list_owners = [], []
    for owner, items in zip(owners, train, strict=True):
        whole = len(items) // (length + 1)
        kept = items[len(items) - whole * (length + 1) :]  # the oldest remainder is dropped
        lists += np.split(kept, whole) if whole else [items]
        list_owners += [owner] * max(whole, 1)
    examples = InteractionSequences(_left_padded(lists, length + 1).astype(np.int32))
    chosen = examples.select(np.arange(len(examples))).items
    right_padded = [np.pad(items, (0, length + 1 - len(items))) for items in lists]
    return {
        "train_lists": np.stack(right_padded),
        "train_list_lengths": np.array([len(items) for items in lists]),
        "train_list_user": np.array(list_owners),
        "leave_one_out_inputs": chosen[:, :-1],
        "leave_one_out_targets": chosen[:, -1],
        "pair_user": np.array(owners)[_index_of(train)],
        "pair_item": np.concatenate(train),
    }


def _metrics(scores: Tensor, targets: Ints, histories: Sequence[Ints]) -> NDArray:
    """The hit rates and NDCG of both cut-offs, means over users. The whole history is masked."""
    pairs = np.unique(np.column_stack([_index_of(histories), np.concatenate(histories)]), axis=0)
    masked = (torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1]))
    columns = scores[:, 1:]
    found = count_ranks(columns, torch.from_numpy(targets), masked, catalogue_of(columns.shape[1]))
    ranks = found.numpy()
    hits = [(ranks <= cutoff).mean() for cutoff in CUTOFFS]
    return np.array([*hits, *(ndcg(ranks, cutoff).mean() for cutoff in CUTOFFS)])


def _index_of(parts: Sequence[Ints]) -> Ints:
    """The index of the part of each of their items."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _left_padded(parts: Sequence[Ints], length: int) -> Ints:
    return np.stack([np.pad(part, (length - len(part), 0)) for part in parts])


RUNS = {"microlens_idrec_eval": run_id_evaluation}
