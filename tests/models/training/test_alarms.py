"""Alarms: a warning once, and no success where one holds at the end."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.training.alarms import STEPS, Alarms, mean_cosine, recorded_alarms
from toolkit import UserError

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)
APART, ALIKE = torch.eye(3), torch.ones(3, 3)
THREE, TWINS = torch.arange(3), torch.tensor([7, 7, 7])


def alarms(lines: list[dict[str, Any]] | None = None) -> Alarms:
    lines = [] if lines is None else lines
    return Alarms(enabled=True, write=lambda **entry: lines.append(entry))


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    pairs = (unit @ unit.T)[~torch.eye(7, dtype=torch.bool)]
    assert float(mean_cosine(vectors)) == pytest.approx(float(pairs.mean()), abs=1e-6)
    assert (
        float(mean_cosine(torch.ones(5, 3))) == pytest.approx(1) and mean_cosine(vectors[:1]) == 0
    )


def test_an_alarm_is_written_once_and_a_run_that_recovers_is_a_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[dict[str, Any]] = []
    alarm = alarms(lines)
    alarm.first = 0.5
    for step in range(1, 3 * STEPS):
        alarm.note_step(ZERO, TWINS, ALIKE)
        alarm.look(step=step, epoch=1)
    alarm.look_at_items(ALIKE, step=step, epoch=1)
    warned = capsys.readouterr().err
    assert [warned.count(text) for text in ("no negatives", "every step is 0", "collapsed")] == [
        1,
        1,
        1,
    ]
    assert [line["step"] for line in lines] == [STEPS, STEPS, 3 * STEPS - 1]
    with pytest.raises(UserError, match=r"no negatives.*; the loss of every.*; item vectors"):
        alarm.refuse_success()
    alarm.note_step(ONE, THREE, APART)
    alarm.look(step=99, epoch=2)
    alarm.look_at_items(APART, step=99, epoch=2)
    alarm.refuse_success()
    assert not capsys.readouterr().err


def test_a_sign_of_few_steps_among_many_is_no_alarm() -> None:
    alarm = alarms()
    for step in range(5 * STEPS):
        small = step % STEPS == STEPS - 1  # as the last batch of each epoch, of one user
        alarm.note_step(ZERO if small else ONE, TWINS if small else THREE, APART)
        alarm.look(step=step, epoch=1)
    alarm.look(at_end=True)
    alarm.refuse_success()
    assert alarm.first == 0
    for _ in range(2 * STEPS):  # but what it comes to is one
        alarm.note_step(ZERO, THREE, ALIKE)
    alarm.look(at_end=True)
    with pytest.raises(UserError, match=r"loss of every step is 0.*; item vectors have collapsed"):
        alarm.refuse_success()


def test_a_start_with_equal_vectors_passes_and_a_short_run_is_judged_at_its_end() -> None:
    alarm = alarms()
    for step in range(STEPS + 5):
        alarm.note_step(ONE, THREE, ALIKE if step < STEPS - 1 else APART)
        alarm.look()
    assert not alarm.now and not alarm.warned
    short = alarms()
    short.note_step(ONE, TWINS)
    short.look()
    assert not short.now
    short.look(at_end=True)
    assert list(short.now) == ["negatives"]


def test_items_of_equal_content_count_once() -> None:
    """Their vectors are equal by construction, and would hide nothing and show nothing."""
    alarm = alarms()
    vectors = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    alarm.note_step(ONE, torch.tensor([4, 4, 4, 2]), vectors)
    assert alarm.windows[0].tolist() == [1, 2, 0]
    alarm.note_step(ONE, torch.zeros(0, dtype=torch.long), vectors[:0])
    assert alarm.windows[0].tolist() == [1, 2, 0]


def test_one_process_without_a_sign_is_enough() -> None:
    alarm = alarms()
    alarm.gather = lambda mine: torch.cat([mine, torch.tensor([[0.5, 9.0, -0.2]])])
    alarm.note_step(ZERO, TWINS, ALIKE)
    alarm.look(at_end=True)
    alarm.refuse_success()


def test_vectors_that_were_nearly_equal_at_the_start_are_a_warning_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[dict[str, Any]] = []
    alarm = alarms(lines)
    near = torch.ones(3, 3) + 1e-2 * torch.eye(3)
    for _ in range(3 * STEPS):
        alarm.note_step(ONE, THREE, near)
        alarm.look()
    alarm.look_at_items(near)
    alarm.refuse_success()
    assert capsys.readouterr().err.count("item vectors are nearly equal") == 1
    assert [sorted(line) for line in lines] == [["item_cosine"], ["alarm"]]
    alarm.look_at_items(torch.ones(3, 3) + 1e-3 * torch.eye(3))  # a hundredth of the spread
    with pytest.raises(UserError, match="item vectors have collapsed"):
        alarm.refuse_success()


def test_a_resumed_run_knows_how_it_began(tmp_path: Path) -> None:
    entries = [
        {"step": 10, "epoch": 1, "item_cosine": 0.25},
        {"step": 20, "epoch": 1, "valid": {}, "alarms": {"loss": "is 0"}},
        {"step": 30, "epoch": 2, "item_cosine": 0.5},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert recorded_alarms(tmp_path) == (0.25, {"loss": "is 0"})
    assert recorded_alarms(tmp_path / "absent") == (None, {})
