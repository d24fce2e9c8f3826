"""A second trainer, of another model on other data, with every part of the loop that `models.train` has.

No settings, dataset, batch or network of a recommender occurs here: what training shares must work without them.
"""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from models.efficiency import time_epoch
from models.machine.launcher import own_state, settle_launch, start_accelerator
from models.machine.precision import Precision
from models.parameters import in_group
from models.runs.environment import describe_environment
from models.runs.files import CONFIG
from models.runs.start import claim, take_up
from models.training.divergence import Divergence
from models.training.loop import Loop
from models.training.optimizer import make_optimizer
from models.training.step import Step
from models.training.stopping import Stopped, Stopping
from toolkit import UserError
from toolkit.lock import locked
from toolkit.yaml_files import read_yaml

SIZE = 8  # pixels of an image's side


@dataclass(frozen=True)
class LoopSettings:
    epochs: int = 4
    batch_size: int = 16
    accumulation: int = 2
    mixed_precision: Precision = "no"
    log_every_steps: int = 1
    checkpoint_every_steps: int = 0
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    rates: dict[str, float] = field(default_factory=lambda: {"base": 0.01, "head": 0.05})


@dataclass(frozen=True)
class Settings:
    output: str
    resume: bool = False
    seed: int = 3
    train: LoopSettings = field(default_factory=LoopSettings)


@dataclass(frozen=True)
class ImageBatch:
    images: Tensor
    labels: Tensor
    share: float


class Images:
    """Random images; the label is whether the left half is the brighter one."""

    def __init__(self, count: int, *, batch_size: int, accumulation: int) -> None:
        self.images = (
            torch.rand(count, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
        )
        halves = self.images.unflatten(2, (2, -1)).mean(dim=(1, 3))
        self.labels = (halves[:, 0] > halves[:, 1]).long()
        self.batch_size, self.accumulation = batch_size, accumulation

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def rows(self, epoch: int, number: int) -> Tensor:
        order = np.random.default_rng(epoch).permutation(len(self.images))
        return torch.from_numpy(order[number * self.batch_size :][: self.batch_size])

    def names(self, epoch: int, number: int, rank: int) -> list[str]:
        return [f"image-{row}" for row in self.rows(epoch, number)]

    def ends_update(self, number: int) -> bool:
        return (number + 1) % self.accumulation == 0 or number + 1 == len(self)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[ImageBatch]:
        for number in range(first, len(self)):
            rows = self.rows(epoch, number)
            yield ImageBatch(self.images[rows], self.labels[rows], 1 / self.accumulation)


class Classifier(nn.Module):
    """A layer, dropout and a linear head with a learning rate of its own; `forward(batch)` is the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE * SIZE, 32)
        self.head = in_group(nn.Linear(32, 2), "head")

    def forward(self, batch: ImageBatch) -> Tensor:
        return F.cross_entropy(self.classify(batch.images), batch.labels)

    def classify(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.layer(images.flatten(1)), 0.2, self.training))


def train(settings: Settings, data: Images, each_step: Callable[[int], None] | None = None) -> float:  # fmt: skip
    """The trainer; its result is the accuracy on its images."""
    output, loop = Path(settings.output), settings.train
    launched = settle_launch(mixed_precision=loop.mixed_precision, accumulation=loop.accumulation)
    settings = replace(settings, train=replace(loop, **launched._asdict()))
    with claim(
        output, settings=asdict(settings), read_settings=lambda run: read_yaml(run / CONFIG),
        free_to_change={"train.log_every_steps"}, resume=settings.resume,
        mixed_precision=launched.mixed_precision, trackers=loop.trackers,
    ) as (accelerator, beginning):  # fmt: skip
        device = accelerator.device
        torch.manual_seed(settings.seed)
        model = Classifier()
        optimizer = make_optimizer(model, rates=loop.rates, name="adamw", weight_decay=0.01, device=accelerator.device)  # fmt: skip
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        plain = Step(accelerator, wrapped, optimizer, clip_norm=1.0)
        digest = hashlib.sha256(data.images.numpy()).hexdigest()
        place, checkpoints, log = take_up(
            beginning, output, accelerator, model, optimizer, title="halves", resume=settings.resume,
            keep_checkpoints=2, trackers=loop.trackers, settings=asdict(settings), config_text=yaml.safe_dump(asdict(settings)),
            describe=lambda: describe_environment(accelerator, dataset={"name": "halves", "sha256": digest}),
        )  # fmt: skip
        watch = Divergence(accelerator, checkpoints, place, data.names, noun="images")

        def step(batch: ImageBatch, *, is_update: bool) -> Tensor:
            if each_step:
                each_step(place.step)
            here = replace(batch, images=batch.images.to(device), labels=batch.labels.to(device))
            return plain(here, is_update=is_update)

        epochs = Loop(
            accelerator=accelerator, step=step, batches=data, optimizer=optimizer,
            place=place, checkpoints=checkpoints, log=log, watch=watch,
            epochs=loop.epochs, schedule="cosine", warmup_updates=3, log_every_steps=loop.log_every_steps,
            checkpoint_every_steps=loop.checkpoint_every_steps,
        )  # fmt: skip
        with Stopping() as stopping:
            while not place.is_over(epochs=loop.epochs, patience=loop.epochs):
                model.train()
                epochs.train_epoch(stopping)
                model.eval()
                with torch.no_grad():
                    right = model.classify(data.images.to(device)).argmax(1).cpu() == data.labels
                log.write(step=place.step, epoch=place.epoch, valid={"accuracy": float(right.float().mean())})  # fmt: skip
                if float(right.float().mean()) > place.best:
                    place.best, place.best_epoch = float(right.float().mean()), place.epoch
                epochs.end_epoch()
        accelerator.end_training()
        return place.best


@pytest.fixture
def data() -> Images:
    return Images(150, batch_size=16, accumulation=2)  # ten batches, the last one smaller


def entries(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def newest(run: Path) -> dict[str, Tensor]:
    return load_file(max((run / "checkpoints").iterdir()))


def stop_at(step: int) -> Callable[[int], None]:
    return lambda now: os.kill(os.getpid(), signal.SIGTERM) if now == step else None


def test_it_learns_logs_and_tracks(data: Images, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(Settings(str(run)), data) > 0.9
    environment = json.loads((run / "environment.json").read_text())
    assert environment["dataset"]["name"] == "halves" and environment["residency"] is None
    losses = [entry for entry in entries(run) if "loss" in entry]
    assert [entry["step"] for entry in losses] == list(range(1, 41))
    assert losses[0]["rates"] == pytest.approx({"base": 0.01 / 3, "head": 0.05 / 3})  # warm-up of 3
    events = EventAccumulator(str(run / "trackers" / "versa"))
    events.Reload()
    tracked = [event.value for event in events.Scalars("loss")]
    assert tracked == pytest.approx([entry["loss"] for entry in losses], rel=1e-6)


@pytest.mark.parametrize(("sent_at", "stands_at"), [(5, 6), (10, 10), (33, 34)])
def test_stopped_by_a_signal_and_resumed_it_is_the_same_run(
    data: Images, tmp_path: Path, sent_at: int, stands_at: int
) -> None:
    """Between two accumulated steps, at an epoch's last step, and later."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = train(Settings(str(whole)), data)
    with pytest.raises(Stopped) as stopped:
        train(Settings(str(run)), data, stop_at(sent_at))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert max((run / "checkpoints").iterdir()).name == f"step-{stands_at:08d}.safetensors"
    assert train(Settings(str(run), resume=True), data) == expected
    assert entries(run) == entries(whole)
    ours, theirs = newest(run), newest(whole)
    assert ours.keys() == theirs.keys() and {name.split("/")[0] for name in ours} == {"model", "optimizer", "random"}  # fmt: skip
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_checkpoints_within_an_epoch_follow_updates(data: Images, tmp_path: Path) -> None:
    """Of steps 3, 6 and 9, only the sixth ends an update; the tenth ends the epoch."""
    settings = LoopSettings(epochs=1, checkpoint_every_steps=3, trackers=[])
    train(Settings(str(tmp_path), train=settings), data)
    names = sorted(path.stem for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000006", "step-00000010"]


def test_its_folder_is_locked_and_its_settings_are_held_to(data: Images, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", Settings(str(tmp_path / "run"))
    with locked(run, "training"), pytest.raises(UserError, match="being written by process"):
        train(settings, data)
    with pytest.raises(Stopped):
        train(settings, data, stop_at(4))
    with pytest.raises(UserError, match="not empty; choose another folder"):
        train(settings, data)
    resumed = replace(settings, resume=True)
    faster = replace(settings.train, rates={"base": 0.01, "head": 1.0})
    with pytest.raises(
        UserError, match=r"started with train.rates.head = 0.05, but this call sets .* = 1.0"
    ):
        train(replace(resumed, train=faster), data)
    train(replace(resumed, train=replace(settings.train, log_every_steps=7)), data)
    environment = json.loads((run / "environment.json").read_text())
    (entry,) = environment["resumed"]
    assert entry["changed"] == {"train.log_every_steps": [1, 7]} and entry["step"] == 4
    assert read_yaml(run / CONFIG)["train"]["log_every_steps"] == 7


def test_a_loss_that_is_not_finite_names_its_images(data: Images, tmp_path: Path) -> None:
    data.images[data.rows(1, 3)[0]] = torch.nan
    name = data.names(1, 3, 0)[0]
    message = rf"step 4, epoch 1: the loss of process 0 .* the images {name}, .*16 in all.*there is no checkpoint"
    with pytest.raises(UserError, match=message):
        train(Settings(str(tmp_path / "run")), data)


def test_a_group_without_a_rate_is_named() -> None:
    with pytest.raises(ValueError, match=r"no learning rate for group 'head'; rates has \['base'\]"):  # fmt: skip
        make_optimizer(Classifier(), rates={"base": 0.1})
    with pytest.raises(ValueError, match="optimizer 'sgd'; expected one of adam, adamw"):
        make_optimizer(Classifier(), rates={"base": 0.1, "head": 0.1}, name="sgd")  # type: ignore[arg-type]


def test_a_parameter_that_modules_share_is_optimized_once() -> None:
    model = Classifier()
    model.other = nn.Linear(32, 2)
    model.other.weight = model.head.weight
    rates = {"base": 0.1, "head": 0.2}
    groups = make_optimizer(model, rates=rates).param_groups
    (rate,) = [g["lr"] for g in groups for p in g["params"] if p is model.head.weight]
    assert rate == 0.2


def test_its_epoch_is_timed_with_its_own_step(data: Images) -> None:
    with own_state():
        accelerator = start_accelerator(cpu=True)
        model = Classifier()
        rates = {"base": 0.1, "head": 0.1}
        wrapped, optimizer = accelerator.prepare(model, make_optimizer(model, rates=rates))
        before = model.head.weight.clone()
        seconds = time_epoch(
            Step(accelerator, wrapped, optimizer), data, 1, device=accelerator.device
        )
        assert seconds > 0 and not torch.equal(model.head.weight, before)
        state = next(iter(optimizer.state.values()))
        assert int(state["step"]) == 5  # ten batches, two an update
