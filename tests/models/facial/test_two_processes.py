"""Training in two processes has the weights of one process that accumulates the same halves of each batch.

Normalisation over a batch sees the half batch of its process, so one process must see these halves as well.
"""

from dataclasses import replace

import forked
import numpy as np
import torch

from models.facial.config import save_face_config
from models.facial.pictures import FaceBatches
from models.facial.train import train
from models.runs.model_files import read_weights
from models.training.log import read_log

HALF = 8


def test_two_processes_are_one_that_accumulates_their_batches(make_config, tmp_path, monkeypatch):
    config = make_config(
        tmp_path / "two",
        network={"decoder_dropout": 0.0},
        train={"batch_size": HALF, "test": False, "epochs": 2, "clip_norm": 0.5},
    )
    file = tmp_path / "config.yaml"
    file.write_text(save_face_config(config))
    forked.run_two("models.facial.train", "--config", str(file), log=tmp_path / "log")

    order_of = FaceBatches._order

    def halves(self, epoch):
        """The order of the faces, each 16 of them as the first process takes them and then as the second does."""
        order = order_of(self, epoch)
        parts = [order[start : start + 2 * HALF] for start in range(0, len(order), 2 * HALF)]
        return np.concatenate([part[rank::2] for part in parts for rank in range(2)])

    monkeypatch.setattr(FaceBatches, "_order", halves)
    alone = replace(
        config, output=str(tmp_path / "one"), train=replace(config.train, accumulation=2)
    )
    train(alone)
    two, one = (
        read_weights(tmp_path / name / "model/model.safetensors").tensors for name in ("two", "one")
    )
    trained = [name for name in one if "running_" not in name and "num_batches" not in name]
    assert len(trained) > 20 and two.keys() == one.keys()
    for name in trained:
        torch.testing.assert_close(two[name], one[name], atol=2e-5, rtol=0, msg=name)
    losses = [entry["loss"] for entry in read_log(tmp_path / "two") if "loss" in entry]
    assert len(losses) == 8 and losses[-1] < losses[0]  # 64 faces in four batches, twice
