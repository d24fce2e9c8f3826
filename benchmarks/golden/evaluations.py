"""Splits, ranks and metrics of golden files, from raw sequences and given scores.

S users, L inputs, N items. The files mask the kept history, which is the protocol `paper`. A target in its own history
has no rank; it must not hit. Equal scores of different items share a rank with us, and the files do not define one, so
the example of a tie is only repeated.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.golden.files import Golden, Ours
from models.ranking.catalogue import Catalogue
from models.ranking.counting import count_ranks
from toolkit.metrics import ndcg
from toolkit.splits import Evaluation, Splits, UserHistories, split_histories

K = 10


def run_evaluation(golden: Golden) -> Ours:
    """Both splits of a file."""
    has_mask = "bert4rec" in golden.name  # L of the file counts the mask token
    splits = _splits(golden, golden.meta["max_seq_len"] - has_mask)
    new_id = np.zeros(len(golden.outputs["new_id_of_raw_item"]), dtype=np.int64)
    new_id[splits.catalogue] = np.arange(1, len(splits.catalogue) + 1)
    if has_mask:  # the file counts it as its last item
        new_id[-1] = len(splits.catalogue) + 1
    outputs = {
        "item_num": torch.tensor(new_id.max()),
        "new_id_of_raw_item": torch.from_numpy(new_id),
        "tie_hit_ndcg": golden.outputs["tie_hit_ndcg"],
    }
    train = new_id[splits.train]
    outputs |= _right_padded("train", train)
    if "pop_prob" in golden.outputs:
        counts = splits.train_counts[splits.catalogue]
        outputs["pop_prob"] = torch.from_numpy(np.append(1.0, counts / counts.sum()))
    for name in ("valid", "test"):
        evaluation = splits.evaluation(name)  # type: ignore[arg-type]
        whole = np.concatenate([evaluation.inputs, evaluation.targets[:, None]], axis=1)
        outputs |= _right_padded(name, new_id[whole])
        outputs |= _ranked(golden, name, evaluation, new_id)
    return Ours(outputs, {})


def _splits(golden: Golden, length: int) -> Splits:
    """Our splits of the raw sequences, with raw item numbers."""
    raw, lengths = golden.inputs["raw_sequences"].numpy(), golden.inputs["raw_lengths"].numpy()
    items = raw[np.arange(raw.shape[1]) < lengths[:, None]].astype(np.int32)
    bounds = np.append(0, np.cumsum(lengths)).astype(np.int64)
    users = [str(user) for user in range(len(raw))]
    histories = UserHistories(items, bounds, users)
    numbers = len(golden.outputs["new_id_of_raw_item"]) - 1
    return split_histories(histories, items=numbers, max_len=length)


def _right_padded(name: str, sequences: NDArray[np.int64]) -> dict[str, Tensor]:
    """Left-padded (S, L + 1) as the files store them."""
    order = np.argsort(sequences == 0, axis=1, kind="stable")
    return {
        f"{name}_sequences": torch.from_numpy(np.take_along_axis(sequences, order, axis=1)),
        f"{name}_lengths": torch.from_numpy((sequences != 0).sum(axis=1)),
    }


def _ranked(
    golden: Golden, name: str, evaluation: Evaluation, new_id: NDArray[np.int64]
) -> dict[str, Tensor]:
    """Ranks and metrics of a split. The mask of BERT4Rec is a candidate in the file, and so it is here."""
    scores = golden.inputs[f"{name}_scores"][:, 1:]
    users, items = evaluation.masked_pairs(np.arange(len(evaluation)))
    targets = new_id[evaluation.targets]
    pairs = (torch.from_numpy(users), torch.from_numpy(new_id[items]))
    ranks = count_ranks(scores, torch.from_numpy(targets), pairs, catalogue_of(scores.shape[1]))
    repeated = np.isinf(ranks.numpy())
    counted = golden.outputs[f"{name}_rank_counting_greater"].numpy()
    hits, gains = (ranks <= K).double(), torch.from_numpy(ndcg(ranks.numpy(), K))
    outputs = {
        "rank_counting_greater": torch.from_numpy(np.where(repeated, counted, ranks.numpy())),
        "target_in_history": torch.from_numpy(repeated),
        "hit10": hits,
        "ndcg10": gains,
        "mean": torch.stack([hits.mean(), gains.mean()]),
    }
    return {f"{name}_{key}": value for key, value in outputs.items()}


def catalogue_of(items: int) -> Catalogue:
    """A catalogue of which every item is a column. Its embeddings are not read."""
    none = torch.zeros(items + 1, 0)
    return Catalogue(none, none[1:], torch.ones(items), torch.arange(-1, items))


def run_cold_and_new(golden: Golden) -> Ours:
    """Ranks of given scores: of a known target, and of a new item, whose score is the last column."""
    outputs = {}
    for name in ("cold", "new"):
        scores = golden.inputs[f"{name}_scores"][:, 1:]
        histories = golden.inputs[f"{name}_history"].long()
        of_new = torch.full((len(scores),), scores.shape[1])
        targets = golden.inputs["cold_target"] if name == "cold" else of_new
        users, slots = histories.nonzero(as_tuple=True)
        pairs = torch.stack([users, histories[users, slots]], dim=1).unique(dim=0)
        ranks = count_ranks(scores, targets, tuple(pairs.T), catalogue_of(scores.shape[1]))
        outputs[f"{name}_hit10"] = (ranks <= K).double()
        outputs[f"{name}_ndcg10"] = torch.from_numpy(ndcg(ranks.numpy(), K))
    return Ours(outputs, {})


RUNS = {
    **{
        f"{code}_eval": run_evaluation
        for code in ("microlens", "ninerec", "ninerec_bert4rec", "morec", "morec_inbatch")
    },
    "morec_cold_new_eval": run_cold_and_new,
}
