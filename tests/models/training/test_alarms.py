"""Alarms: a warning once, and no success where one holds at the end."""

from typing import Any

import pytest
import torch

from models.training.alarms import Alarms, mean_cosine
from toolkit import UserError


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    pairs = (unit @ unit.T)[~torch.eye(7, dtype=torch.bool)]
    assert mean_cosine(vectors) == pytest.approx(float(pairs.mean()), abs=1e-6)
    assert mean_cosine(torch.ones(5, 3)) == pytest.approx(1) and mean_cosine(vectors[:1]) == 0


def test_an_alarm_is_told_once_and_a_run_that_recovers_is_a_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[dict[str, Any]] = []
    alarms = Alarms(enabled=True, write=lambda **entry: lines.append(entry))
    alarms.look_at_step(0.0, 1, step=1, epoch=1)
    alarms.look_at_step(0.0, 1, step=2, epoch=1)
    alarms.look_at_items(torch.ones(3, 2), step=2, epoch=1)
    told = capsys.readouterr().err
    assert told.count("no negatives") == told.count("loss of a step is 0") == 1
    assert [line["step"] for line in lines] == [1, 1, 2]
    with pytest.raises(UserError, match=r"no negatives; the loss of a step is 0.*; item vectors"):
        alarms.refuse_success()
    alarms.look_at_step(0.7, 9, step=3, epoch=2)
    alarms.look_at_items(torch.eye(3), step=3, epoch=2)
    alarms.refuse_success()
