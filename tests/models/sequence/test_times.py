"""Times of interactions, from the dataset to a sequence encoder that reads them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sequence_data import ITEMS, E, L, first_hit_share, times_of, train_model
from tiny_dataset import write_dataset

import models
from models.config import load_run_config, parse_run_config
from models.evaluate import evaluate
from models.export import export_items
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.inputs.history_files import read_histories
from models.recommend import recommend
from models.report import report
from models.runs.identity import describe_data
from models.sequence import HSTU, SASRec
from models.sequence.sasrec import SASRecSettings
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json

DAY = 86_400_000
HISTORIES = [[(user + step) % 20 + 1 for step in range(5 + user % 6)] for user in range(60)]
# Every second interaction has the time of the one before.
MOMENTS = [
    [1_600_000_000_000 + user * DAY + step // 2 * 2 * DAY for step in range(len(history))]
    for user, history in enumerate(HISTORIES)
]


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timed") / "data"
    return write_dataset(folder, HISTORIES, items=20, times=MOMENTS)


@pytest.fixture(scope="module")
def run(timed: Path) -> Path:
    output = timed.parent / "run"
    words = ["--config=id", f"--data={timed}", f"--output={output}", "--sequence.kind=hstu",
             "--sequence.max_len=4", "--train.epochs=3", "--train.batch_size=16",
             "--train.rates.base=0.01", "--train.trackers=[]"]  # fmt: skip
    train(parse_run_config(words))
    return output


def test_splits_have_the_time_of_each_item_and_ties_keep_their_order(timed: Path) -> None:
    splits = open_dataset(timed).splits(max_len=4, times=True)
    plain = open_dataset(timed).splits(max_len=4)
    assert plain.train_times is None and plain.test.input_times is None and plain.test.times is None
    assert splits.train_times is not None
    for row, (history, moments) in enumerate(zip(HISTORIES, MOMENTS, strict=True)):
        kept = slice(max(len(history) - 7, 0), None)
        items, times = history[kept], moments[kept]
        padding = [0] * (5 - len(items[:-2]))
        assert splits.train[row].tolist() == padding + items[:-2]
        assert splits.train_times[row].tolist() == padding + times[:-2]
        for evaluation, end in ((splits.valid, -2), (splits.test, -1)):
            assert evaluation.input_times is not None
            before, moments_before = items[:end][-4:], times[:end][-4:]
            padding_before = [0] * (4 - len(before))
            assert evaluation.inputs[row].tolist() == padding_before + before
            assert evaluation.input_times[row].tolist() == padding_before + moments_before
    assert (splits.train == plain.train).all()


@pytest.mark.parametrize("fixed_sizes", [False, True])
def test_batches_have_the_time_of_each_input(timed: Path, fixed_sizes: bool) -> None:
    splits = open_dataset(timed).splits(max_len=4, times=True)
    assert splits.train_times is not None
    for world in (1, 2):
        for rank in range(world):
            laid = Batches(
                splits, ItemNumbers(20), batch_size=16, seed=1, rank=rank, world=world, fixed_sizes=fixed_sizes
            )  # fmt: skip
            for number, batch in enumerate(laid.epoch(1)):
                rows = laid.rows(1, number, rank)
                assert batch.times is not None and batch.times.shape == batch.inputs.shape
                assert batch.times[: len(rows)].tolist() == splits.train_times[rows, :-1].tolist()
                assert not batch.times[len(rows) :].any()


def test_a_run_with_times_is_evaluated_exported_and_reported(run: Path, tmp_path: Path) -> None:
    assert evaluate(run) == read_json(run / "metrics" / "test.json")
    assert evaluate(run, protocol="clean")["protocol"] == "clean"
    files = export_items(run, tmp_path / "items.npy", users=tmp_path / "users.npy")
    assert {"items", "users"} <= {*files} and all(file.exists() for file in files.values())
    facts = report([run], output=tmp_path / "page.html", users=1, progress=False)
    assert len(facts["runs"]) == 1
    card = (run / "model" / "README.md").read_text()
    assert "in order, with their times." in card and "times[None])" in card


def test_recommendations_read_times_from_the_dataset_or_a_file(run: Path, tmp_path: Path) -> None:
    """Of one user, both ways: the same. Other times change the scores."""
    own = recommend(run, users=["u7"], k=5)
    file = tmp_path / "histories.csv"
    for shift, same in ((0, True), (40 * DAY, False)):
        rows = [
            f"u7,i{item},{moment + shift * (step > 4)}"
            for step, (item, moment) in enumerate(zip(HISTORIES[7], MOMENTS[7], strict=True))
        ]
        file.write_text("\n".join(["user_id,item_id,timestamp_ms", *rows]) + "\n")
        scores = recommend(run, histories=file, k=5).column("score").to_numpy()
        assert np.allclose(scores, own.column("score").to_numpy(), atol=1e-6) == same


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_a_file_are_read_in_their_unit(
    unit: str, timed: Path, tmp_path: Path
) -> None:
    moments = pa.array(MOMENTS[7], pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp(unit))
    items = [f"i{item}" for item in HISTORIES[7]]
    table = pa.table({"user_id": ["u7"] * len(items), "item_id": items, "timestamp_ms": moments})
    pq.write_table(table, tmp_path / "histories.parquet")
    found = read_histories(tmp_path / "histories.parquet", open_dataset(timed))
    expected = MOMENTS[7]  # whole days, so that no unit rounds them
    assert found.input_times(20)[0, -len(items) :].tolist() == expected


def test_missing_times_are_refused(run: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"reads the times of the items, and the histories have none"
    ):
        models.load(run).recommend([["i1", "i2"]], k=3)
    words = ["--config=id", f"--data={dataset}", f"--output={tmp_path / 'run'}", "--sequence.kind=hstu"]  # fmt: skip
    with pytest.raises(UserError, match=r"interactions have no timestamp_ms; ingest a dump with"):
        train(parse_run_config(words))
    net = models.load(run).model
    with pytest.raises(ValueError, match="HSTU reads the times of the inputs, and there are none"):
        net.encode_users(torch.ones(1, 4).long(), torch.randn(21, 64))


def test_other_times_in_the_same_order_are_other_data(run: Path, tmp_path: Path) -> None:
    later = [[moment + step for step, moment in enumerate(moments)] for moments in MOMENTS]
    other = write_dataset(tmp_path / "data", HISTORIES, items=20, times=later)
    refused = "trained on other times of interactions than"
    with pytest.raises(UserError, match=refused):
        evaluate(run, data=other)
    config = load_run_config(run / "config.yaml")
    with pytest.raises(UserError, match=refused):
        train(replace(config, data=str(other), resume=True))
    blind = replace(config, sequence=SASRecSettings(max_len=4))
    assert "times_sha256" not in describe_data(open_dataset(other), blind.reads)


def test_hstu_learns_what_only_times_tell() -> None:
    """After a short gap the next number follows, after a long one the sixth next. SASRec cannot know which."""

    def steps(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        gaps = np.diff(times_of(np.ones((1024, L + 1), dtype=np.int32)), axis=1, prepend=0)
        moves = np.where(gaps < 10**7, 1, 6)  # after the item at the end of the gap
        first = rng.integers(ITEMS, size=(1024, 1))
        moved = np.concatenate([first, first + moves[:, :-1].cumsum(axis=1)], axis=1)
        return (moved % ITEMS + 1).astype(np.int32)

    shares = {}
    for name, kind in (("hstu", HSTU), ("sasrec", SASRec)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = kind(embedding_dim=E, max_len=L, blocks=1, dropout=0.0)
        model = train_model(encoder, steps(0), epochs=8)
        shares[name] = first_hit_share(model, steps(1))
    assert shares["hstu"] > 0.9
    assert shares["sasrec"] < 0.75
