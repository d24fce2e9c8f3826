"""Which positions are predicted from what: each objective against a slow reference, and what must hold of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from models import IdEmbedding, Recommender, SASRec
from models.build import refuse_other_objective
from models.config import parse_run_config
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.losses import MASK, Examples
from models.losses.candidates import Full, InBatch
from models.losses.objectives import last_item, masked_item, next_item
from models.prepare import prepare
from models.train import train
from toolkit import UserError
from toolkit.splits import Splits

ITEMS = 12
Ints = NDArray[np.int32]


def random_sequences(seed: int, users: int = 7, width: int = 6) -> Ints:
    """Left-padded, of 2 to `width` items; items repeat."""
    rng = np.random.default_rng(seed)
    sequences = rng.integers(1, ITEMS, size=(users, width)).astype(np.int32)
    for row, padding in enumerate(rng.integers(0, width - 1, size=users)):
        sequences[row, :padding] = 0
    return sequences


def pairs(examples: Examples) -> list[tuple[int, list[int], int]]:
    """(user, visible inputs, target) of each row, one at a time."""
    width = examples.inputs.shape[1]
    found = []
    for row, target in zip(examples.rows.tolist(), examples.targets.tolist(), strict=True):
        user, position = divmod(row, width)
        found.append((user, examples.inputs[user, : position + 1].tolist(), target))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_next_and_last_item_are_their_definitions(seed: int) -> None:
    sequences = random_sequences(seed)
    every, last = [], []
    for user, sequence in enumerate(sequences.tolist()):
        for position in range(1, len(sequence)):
            if sequence[position - 1] != 0:
                every.append((user, sequence[:position], sequence[position]))
        last.append((user, sequence[:-1], sequence[-1]))
    assert pairs(next_item(sequences)) == every
    assert pairs(last_item(sequences)) == last


def test_a_sequence_without_history_predicts_nothing() -> None:
    sequences = np.array([[0, 0, 4], [0, 0, 0]], dtype=np.int32)
    assert len(next_item(sequences).rows) == len(last_item(sequences).rows) == 0


@pytest.mark.parametrize("mask_ratio", [0.05, 0.5, 1.0])
def test_masked_items_are_hidden_and_all_others_visible(mask_ratio: float) -> None:
    sequences = random_sequences(1, users=50)
    sequences[3] = 0
    examples = masked_item(sequences, (1, 2, 3), mask_ratio=mask_ratio)
    at_rows = np.zeros(sequences.size, dtype=bool)
    at_rows[examples.rows] = True
    at_rows = at_rows.reshape(sequences.shape)
    assert ((examples.inputs == MASK) == at_rows).all()
    assert (examples.inputs[~at_rows] == sequences[~at_rows]).all()
    assert (examples.targets == sequences[at_rows]).all() and (examples.targets > 0).all()
    assert (at_rows.any(axis=1) == (sequences != 0).any(axis=1)).all()  # one per sequence at least
    assert mask_ratio < 1 or (at_rows == (sequences != 0)).all()


@pytest.mark.parametrize(("mask_ratio", "length"), [(0.2, 3), (0.2, 10), (0.6, 4)])
def test_the_share_of_masked_items_is_the_ratio(mask_ratio: float, length: int) -> None:
    """ratio, and one of the n items where none would be: with probability (1 - ratio)^n."""
    sequences = np.tile(np.arange(1, length + 1, dtype=np.int32), (20_000, 1))
    masked = masked_item(sequences, (0,), mask_ratio=mask_ratio).inputs == MASK
    expected = mask_ratio + (1 - mask_ratio) ** length / length
    assert masked.mean() == pytest.approx(expected, abs=5 * 0.5 / masked.size**0.5)
    assert np.ptp(masked.mean(axis=0)) < 10 * 0.5 / len(masked) ** 0.5  # at any position alike


def test_masks_are_a_function_of_seed_epoch_and_step() -> None:
    sequences = random_sequences(0)
    drawn = {
        seed: masked_item(sequences, seed, mask_ratio=0.4).rows.tolist()
        for seed in [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)]
    }
    assert len({tuple(rows) for rows in drawn.values()}) == 4
    for seed, rows in drawn.items():
        assert masked_item(sequences, seed, mask_ratio=0.4).rows.tolist() == rows


def hide(sequences: Ints, seed: tuple[int, ...]) -> Examples:
    return masked_item(sequences, seed, mask_ratio=0.3)


def splits(sequences: Ints) -> Splits:
    class Made:
        train = sequences
        train_times = None
        train_counts = np.bincount(sequences.ravel(), minlength=ITEMS + 1) * (
            np.arange(ITEMS + 1) > 0
        )
        catalogue = np.arange(1, ITEMS + 1, dtype=np.int32)

    return Made  # type: ignore[return-value]


def batches(sequences: Ints, objective: Callable[..., Examples], **options: object) -> Batches:
    return Batches(
        splits(sequences), ItemNumbers(ITEMS), batch_size=4, seed=3, objective=objective, **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", [next_item, last_item, hide])
def test_a_batch_holds_the_examples_as_indices_of_its_columns(
    objective: Callable[..., Examples],
) -> None:
    sequences = random_sequences(2)
    laid = batches(sequences, objective)
    for number, batch in enumerate(laid.epoch(1)):
        here = sequences[laid.rows(1, number, 0)]
        examples = objective(here, (3, 1, number))
        numbers = np.append(0, batch.items.numpy())
        inputs = batch.inputs.numpy()
        back = np.where(inputs == MASK, MASK, numbers[inputs])
        assert (back == examples.inputs).all()
        assert batch.rows.tolist() == examples.rows.tolist()
        assert numbers[batch.targets].tolist() == examples.targets.tolist()
        assert set(numbers[1:]) == set(here.ravel()) - {0}  # each item once, and no mask
        assert batch.hidden is not None
        assert (numbers[batch.hidden] == here).all()
        weights = [1 / len(examples.rows)] * len(examples.rows)
        assert batch.weights.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("objective", [last_item, hide])
@pytest.mark.parametrize("negatives", ["local", "global"])
def test_processes_share_the_examples_of_one(
    objective: Callable[..., Examples], negatives: str
) -> None:
    """In two processes the rows are those of one process with their sequences joined, masks included."""
    sequences = random_sequences(4)
    whole = Batches(
        splits(sequences), ItemNumbers(ITEMS), batch_size=8, seed=3, objective=objective
    )
    two = [batches(sequences, objective, rank=r, world=2, negatives=negatives) for r in (0, 1)]
    (joined,) = (objective(sequences[whole.order(1)], (3, 1, 0)),)
    parts = [next(iter(process.epoch(1))) for process in two]
    inputs = np.zeros_like(joined.inputs, dtype=np.int64)
    for rank, part in enumerate(parts):
        found = two[rank].loss.columns(
            next_item(sequences) if negatives == "global" else next_item(sequences[two[rank].rows(1, 0, rank)]),
            (),
        )  # fmt: skip
        numbers = np.append(np.append(0, found.items), MASK)  # MASK is the last by its index -1
        inputs[rank::2] = numbers[part.inputs]
    assert (inputs == joined.inputs).all()
    assert sum(len(part.rows) for part in parts) == len(joined.rows)
    for part in parts:
        assert part.weights.tolist() == pytest.approx([2 / len(joined.rows)] * len(part.rows))


@pytest.mark.parametrize("objective", [last_item, hide])
def test_shares_of_an_update_count_predicted_positions(
    objective: Callable[..., Examples],
) -> None:
    laid = batches(random_sequences(5, users=10), objective, accumulation=2)
    made = list(laid.epoch(1))
    counts = [len(batch.rows) for batch in made]
    assert len(counts) == 3
    expected = [counts[0] / sum(counts[:2]), counts[1] / sum(counts[:2]), 1]
    assert [batch.share for batch in made] == pytest.approx(expected)


class Both(nn.Module):
    """A sequence encoder with mask tokens: the mean of the items two before, one before and one after each position.

    Args:
        embedding_dim: E.
    """

    takes_mask = True

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(embedding_dim))
        self.layers = nn.ModuleList(
            nn.Linear(embedding_dim, embedding_dim, bias=False) for _ in range(3)
        )

    def forward(self, items: Tensor, real: Tensor, masked: Tensor) -> Tensor:
        """(B, L, E), (B, L), (B, L) -> (B, L, E)."""
        items = torch.where(masked[..., None], self.mask, items)
        shifts = ((0, 0, 1, -1), (0, 0, 2, -2), (0, 0, -1, 1))
        return sum(
            layer(nn.functional.pad(items, shift))
            for layer, shift in zip(self.layers, shifts, strict=True)
        )


def trained(items: Callable[[], Ints], seed: int = 0) -> float:
    """The share of histories whose next item ranks first, after training with masked items."""
    data = items()
    torch.manual_seed(seed)
    model = Recommender(
        IdEmbedding(ITEMS, embedding_dim=16),
        Both(16),
        criterion=(loss := Full(splits(data))),
    )
    laid = Batches(
        splits(data), ItemNumbers(ITEMS), batch_size=32, seed=seed, loss=loss, objective=hide
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for epoch in range(1, 9):
        for batch in laid.epoch(epoch):
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()
    table = model.encode_items({"id": torch.arange(ITEMS + 1)}).detach()
    table[0] = 0
    ids = torch.from_numpy(items().astype(np.int64))
    users = model.encode_users(ids[:, :-1], table)
    return float(((users @ table[1:].T).argmax(1) + 1 == ids[:, -1]).float().mean())


def test_masked_items_teach_what_comes_next_and_nothing_of_random_data() -> None:
    """A circle of items is learnt with masks and continued at a mask behind the history; chance is 1/12."""
    rng = np.random.default_rng(0)

    def circle() -> Ints:
        return ((rng.integers(ITEMS, size=(128, 1)) + np.arange(6)) % ITEMS + 1).astype(np.int32)

    def noise() -> Ints:
        return rng.integers(1, ITEMS + 1, size=(128, 6)).astype(np.int32)

    with torch.random.fork_rng():
        assert trained(circle) > 0.95
        assert trained(noise) < 0.3


def test_the_vector_of_an_item_reaches_no_mask() -> None:
    """What stands under a mask does not change the states: only visible items do."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recommender(IdEmbedding(ITEMS, embedding_dim=8), Both(8))
    sequences = random_sequences(6, users=3)
    laid = batches(sequences, hide)
    batch = laid.batch(sequences)
    other = laid.batch(np.where(hide(sequences, (0,)).inputs == MASK, 3, sequences))
    table = torch.randn(ITEMS + 1, 8, generator=torch.Generator().manual_seed(0))
    numbers = [torch.cat([torch.zeros(1, dtype=torch.int64), b.items]) for b in (batch, other)]
    states = [
        model._states(torch.where(b.inputs == MASK, MASK, n[b.inputs.clamp(min=0)]), table)
        for b, n in zip((batch, other), numbers, strict=True)
    ]
    assert torch.equal(*states)


def test_an_objective_and_a_sequence_encoder_that_do_not_fit_are_refused() -> None:
    refuse_other_objective("masked-item", Both(4))
    refuse_other_objective("last-item", SASRec(embedding_dim=8))
    with pytest.raises(
        UserError, match=r"masked-item hides items behind a mask token, which SASRec"
    ):
        refuse_other_objective("masked-item", SASRec(embedding_dim=8))
    with pytest.raises(
        UserError, match=r"next-item hides no items, but Both .*choose .*masked-item"
    ):
        refuse_other_objective("next-item", Both(4))


def run_words(dataset: Path, output: Path, *more: str) -> list[str]:
    return ["--config=id", f"--data={dataset}", f"--output={output}", "--sequence.max_len=5",
            "--train.batch_size=16", "--train.rates.base=0.01", "--train.trackers=[]", *more]  # fmt: skip


def test_a_run_may_predict_last_items_alone(dataset: Path, tmp_path: Path) -> None:
    """120 users walk along 60 items: the last step of each teaches most of the steps there are. Chance is 1/6."""
    words = run_words(dataset, tmp_path / "run", "--train.objective=last-item", "--train.loss=full")
    report = train(parse_run_config([*words, "--train.epochs=25"]))
    assert report["metrics"]["HR@10"]["value"] > 0.5
    with torch.random.fork_rng():
        training = prepare(parse_run_config(words), Accelerator(cpu=True))
    assert [len(batch.rows) for batch in training.batches.epoch(1)] == [16] * 7 + [8]


def test_masked_items_are_refused_before_a_run_begins_to_train(
    dataset: Path, tmp_path: Path
) -> None:
    words = run_words(dataset, tmp_path / "run", "--train.objective=masked-item")
    with pytest.raises(UserError, match="SASRec does not support; choose a sequence encoder that"):
        train(parse_run_config(words))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--train.objective=last", r"train\.objective: Expected one of 'next-item', 'last-item', .*; did you mean last"),
        ("--train.mask_ratio=0", r"train\.mask_ratio is 0\.0; it must be in \(0, 1\]"),
    ],
)  # fmt: skip
def test_a_mistaken_objective_is_named(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_run_config(["--data=none", "--output=none", word])


def test_a_loss_that_forgets_items_of_the_batch_is_named() -> None:
    class Forgetful(InBatch):
        def columns(self, examples: Examples, seed: tuple[int, ...]):  # type: ignore[no-untyped-def]
            kept = next_item(np.where(examples.sequences == 5, 0, examples.sequences))
            return super().columns(kept, seed)

    sequences = np.array([[1, 5, 7]], dtype=np.int32)
    laid = batches(sequences, next_item, loss=Forgetful(splits(sequences)))
    with pytest.raises(ValueError, match="item 5 is not among the 2 columns"):
        laid.batch(sequences)
