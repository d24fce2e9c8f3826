"""The hash of the interactions of a run, and the errors when the interactions change."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset

from models.config import parse_run_config
from models.evaluate import evaluate
from models.inputs.histories import dataset_histories
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json, write_json
from toolkit.store import Table


def test_the_hash_is_of_users_and_items_in_order(tmp_path: Path) -> None:
    data = open_dataset(write_dataset(tmp_path / "data", [[3, 1], [2, 2, 5]], items=6))
    columns = [np.array(column, "<i4") for column in ([1, 1, 2, 2, 2], [3, 1, 2, 2, 5])]
    digests = b"".join(hashlib.sha256(column.tobytes()).digest() for column in columns)
    assert data.interactions_sha256() == hashlib.sha256(digests).hexdigest()


def test_no_interactions_have_a_hash_and_no_histories(tmp_path: Path) -> None:
    """The catalogue of a service may have none; it differs from the dataset of any run."""
    folder = write_dataset(tmp_path / "data", [[1]], items=6)
    table = Table(folder / "interactions")
    table.replace(0, open_dataset(folder).interactions.slice(0, 0))
    empty = hashlib.sha256(2 * hashlib.sha256().digest()).hexdigest()
    data = open_dataset(folder)
    assert data.interactions_sha256() == empty
    for read in (data.histories, data.splits):
        with pytest.raises(UserError, match="the interactions table is empty"):
            read()


def test_interactions_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(write_dataset(tmp_path / "data", walks(users=9), items=ITEMS))
    reads, batches = [], Table.batches
    monkeypatch.setattr(
        Table, "batches", lambda self, *columns: reads.append(self) or batches(self, *columns)
    )
    for protocol in ("paper", "clean", "unmasked"):
        data.splits(protocol=protocol)
        data.interactions_sha256()
        dataset_histories(data, ["u1", "u0"])
    assert len(reads) == 1
    with pytest.raises(ValueError, match="read-only"):
        data.histories().items[0] = 1  # everyone reads the same array


def test_shards_do_not_show_in_it_and_any_change_does(tmp_path: Path) -> None:
    whole = open_dataset(write_dataset(tmp_path / "data", walks(users=9), items=ITEMS))
    rows, parts = whole.interactions, Table(tmp_path / "parts" / "interactions")
    shutil.copytree(tmp_path / "data", tmp_path / "parts", ignore=lambda *_: ["interactions"])
    for start in range(0, rows.num_rows, 7):
        parts.append(rows.slice(start, 7))
    assert open_dataset(tmp_path / "parts").interactions_sha256() == whole.interactions_sha256()
    histories = walks(users=9)
    histories[4][2], histories[4][3] = histories[4][3], histories[4][2]
    other = open_dataset(write_dataset(tmp_path / "other", histories, items=ITEMS))
    assert other.interactions_sha256() != whole.interactions_sha256()
    moved = [*histories[:3], histories[3][:-1], [histories[3][-1], *histories[4]], *histories[5:]]
    again = open_dataset(write_dataset(tmp_path / "moved", moved, items=ITEMS))
    assert again.interactions["item"].equals(other.interactions["item"])
    assert again.interactions_sha256() != other.interactions_sha256()


def test_evaluate_refuses_interactions_that_have_changed(tmp_path: Path) -> None:
    data, run = write_dataset(tmp_path / "data", walks(users=40), items=ITEMS), tmp_path / "run"
    train(
        parse_run_config([f"--data={data}", f"--output={run}", "--config=id", "--train.epochs=1"])
    )
    before = (run / "metrics" / "test.json").read_text()
    shutil.rmtree(data)
    write_dataset(data, walks(users=40, seed=1), items=ITEMS)
    with pytest.raises(UserError, match=r"trained on other interactions than .*data has now"):
        evaluate(run, progress=False)
    assert (run / "metrics" / "test.json").read_text() == before
    environment = read_json(run / "environment.json")
    del environment["dataset"]["interactions_sha256"]  # as an older Versa wrote it
    write_json(run / "environment.json", environment)
    assert evaluate(run, progress=False)["users"] == 40
