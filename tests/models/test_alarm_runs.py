"""Runs that learn nothing end with an error, and their metrics are written."""

from pathlib import Path

import pytest
from tiny_dataset import walks, write_dataset

from models.config import parse_run_config
from models.train import train
from models.training.log import read_log
from toolkit import UserError
from toolkit.json_files import read_json

ITEMS = 300


def test_items_of_one_identical_title_are_no_success(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(
        tmp_path / "data", walks(users=40, items=ITEMS), items=ITEMS, titles=["the same"] * ITEMS
    )
    words = ["--item=encoders", "--towers=[title]", f"--encoders.title.encoder={tiny_bert}", f"--data={data}",
             f"--output={tmp_path / 'run'}", "--train.epochs=2", "--train.trackers=[]", "--side.embedding_dim=16",
             "--train.rates.text_encoder=1e-2", "--sequence.max_len=5", "--train.batch_size=16"]  # fmt: skip
    with pytest.raises(UserError, match="no success: all items of a step have the same content"):
        train(parse_run_config(words))
    assert capsys.readouterr().err.count("warning:") == 1
    assert read_json(tmp_path / "run" / "metrics" / "test.json")["users"] == 40
    lines = read_log(tmp_path / "run")
    assert [line["epoch"] for line in lines if "alarm" in line] == [1]
    assert [list(line["alarms"]) for line in lines if "valid" in line] == [["negatives"]] * 2
    with pytest.raises(
        UserError, match="no success"
    ):  # nor is it one when it is resumed, with no step left
        train(parse_run_config([*words, "--resume"]))
