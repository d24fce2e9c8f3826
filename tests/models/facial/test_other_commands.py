"""Commands for datasets of interactions say what a dataset of faces is, and which command reads it."""

import pytest

import models
import prep
from models.config import parse_run_config
from models.train import train
from toolkit import UserError, open_dataset

WHAT = r"a dataset of faces, expected one of interactions .* python -m models\.facial\.train --data"


def test_a_dataset_of_faces_is_named_with_the_command_that_reads_it(bp4d, tmp_path):
    config = parse_run_config(
        ["--data", str(bp4d), "--output", str(tmp_path / "run"), "--towers", "[title]"]
    )
    title = prep.EncodeConfig(source="title", encoder="somewhere")
    for command in (
        lambda: train(config),
        lambda: prep.encode(bp4d, prep.PrepConfig(encode={"title": title})),
        lambda: prep.media(bp4d, bp4d),
        lambda: prep.caption(bp4d),
        lambda: open_dataset(bp4d).items,
    ):
        with pytest.raises(UserError, match=WHAT):
            command()


def test_a_run_of_faces_is_named_as_one(trained_run):
    with pytest.raises(
        UserError, match=r"a run of models\.facial\.train, .* python -m models\.facial"
    ):
        models.load(trained_run)
