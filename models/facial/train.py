"""Trains VL-FAU: `accelerate launch -m models.facial.train --data DATASET --fold 1 --output RUN`.

Reads top to bottom: settings, data, model, optimizer, loop, calibration, and one test at the end. All processes
compute; only the main one writes.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models.facial.build import build_network, facs_file, facs_of, view_of
from models.facial.calibration import fit_temperatures, fit_thresholds
from models.facial.card import write_card
from models.facial.config import (
    FaceConfig,
    make_parser,
    parse_face_config,
    read_face_config,
    save_face_config,
)
from models.facial.crop import CropRecipe
from models.facial.evaluate import test
from models.facial.fold import FoldRows, are_faces_of, describe_faces, rows_of_fold, subjects_of
from models.facial.measure import HALF, format_report, refuse_without_extra
from models.facial.metrics import count, f1
from models.facial.network import VLFAU
from models.facial.pictures import FaceBatch, FaceBatches, Pictures
from models.facial.pretrained import from_pretrained, save_model, save_record
from models.facial.rates import training_rates
from models.facial.recognise import as_input, recognise
from models.facial.texts import Texts
from models.facial.trained import FaceRecord, TrainedFaces
from models.machine.launcher import settle_launch
from models.parameters import count_trainable
from models.runs.begin import Beginning
from models.runs.environment import describe_environment
from models.runs.folder import ENVIRONMENT, MODEL, read_environment
from models.runs.start import claim, take_up
from models.training.checkpoints import Place
from models.training.command import run_trainer, train_by_arguments
from models.training.divergence import Divergence
from models.training.log import RunLog
from models.training.loop import Loop, Trained
from models.training.optimizer import make_optimizer
from models.training.step import Step
from models.training.stopping import Stopping
from toolkit.errors import UserError
from toolkit.faces import Faces, open_faces
from toolkit.facs import column

SCRIPT = "versa-train-faces"  # the same command in one process, as shells complete it
# Settings that a resumed run may change: no finished step depends on them. (The dataset is compared by content.)
FREE_TO_CHANGE = {"data", "train.log_every_steps", "train.checkpoint_every_steps", "train.keep_checkpoints",
                  "train.test", "train.thresholds", "train.trackers", "train.workers", "train.beams"}  # fmt: skip


class LossOf(nn.Module):
    """The loss of a batch as one `forward`, which is what Accelerate wraps.

    Args:
        network: the network.
    """

    def __init__(self, network: VLFAU) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: FaceBatch) -> Tensor:
        """The total loss, a scalar."""
        images = as_input(batch.images, batch.images.device)
        losses = self.network(images, batch.labels, batch.texts).losses
        loss: Tensor = losses.total
        return loss


def train(config: FaceConfig) -> dict[str, Any]:
    """Trains all epochs, calibrates the kept one on training subjects, and tests it once.

    Args:
        config: of the run. Its `output` must not exist or be empty, unless the run is to be resumed.

    Returns:
        The report of the test (`models.facial.measure.measure`); without `train.test`, an empty object.

    Raises:
        UserError: if the dataset or the settings do not allow the run.
    """
    output = Path(config.output)
    launched = settle_launch(
        mixed_precision=config.train.mixed_precision, accumulation=config.train.accumulation
    )
    config = replace(
        config,
        data=str(Path(config.data).resolve()),
        train=replace(config.train, **launched._asdict()),
    )
    if config.train.test:
        refuse_without_extra()
    with claim(
        output,
        settings=asdict(config),
        read_settings=lambda run: asdict(read_face_config(run)),
        free_to_change=FREE_TO_CHANGE,
        resume=config.resume,
        mixed_precision=launched.mixed_precision,
        trackers=config.train.trackers,
    ) as (accelerator, beginning):
        return _run(config, output, accelerator, beginning)


def _run(
    config: FaceConfig, output: Path, accelerator: Accelerator, beginning: Beginning
) -> dict[str, Any]:
    settings = config.train
    rank, world = accelerator.process_index, accelerator.num_processes

    # Data. A subject is on one side alone.
    faces = open_faces(config.data)
    rows = rows_of_fold(
        faces, config.fold, valid_subjects=settings.valid_subjects, seed=settings.seed
    )
    identity = describe_faces(faces)
    _refuse_other_data(output, identity)
    _refuse_unlabelled(faces.labels[rows.valid], faces.units)
    labels = faces.labels[rows.train]
    if settings.shuffle_labels:
        labels = np.random.default_rng(settings.seed).permutation(labels)
    subjects = subjects_of(faces, rows.train).tolist()
    pictures = Pictures(faces, view_of(config))

    # Model and optimizer. Afterwards the seed differs between processes, so that their dropout does.
    torch.manual_seed(settings.seed)
    network = build_network(config, labels, subjects, aus=faces.units)
    texts = Texts(facs_of(config), network.vocabulary) if _describes(network) else None  # type: ignore[arg-type]
    network.to(accelerator.device)
    optimizer = make_optimizer(
        network,
        rates=asdict(settings.rates),
        name="adamw",
        weight_decay=settings.weight_decay,
        device=accelerator.device,
    )
    wrapped, optimizer = accelerator.prepare(LossOf(network), optimizer)
    plain = Step(accelerator, wrapped, optimizer, clip_norm=settings.clip_norm)
    batches = FaceBatches(
        pictures,
        rows.train,
        labels,
        texts=texts,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        seed=settings.seed,
        rank=rank,
        world=world,
        workers=settings.workers,
    )
    torch.manual_seed(settings.seed * 1000 + rank)
    record = _record(config, faces, rows, identity)

    # The position from which the run trains: the start, or the newest checkpoint.
    place, checkpoints, log = take_up(
        beginning,
        output,
        accelerator,
        network,
        optimizer,
        title=f"fold {config.fold}: {len(rows.train):,} faces of {len(set(subjects))} subjects to train, "
        f"{len(rows.valid):,} to select, {len(rows.test):,} to test; {count_trainable(network):,} parameters",
        resume=config.resume,
        keep_checkpoints=settings.keep_checkpoints,
        trackers=settings.trackers,
        settings=asdict(config),
        config_text=save_face_config(config),
        describe=lambda: {
            **describe_environment(accelerator, dataset=dict(identity)),
            "trainable_parameters": count_trainable(network),
        },
    )
    item_ids = faces.table.column("item_id")
    watch = Divergence(
        accelerator,
        checkpoints,
        place,
        lambda epoch, number, of: item_ids.take(batches.chosen(epoch, number, of)).to_pylist(),
        noun="faces",
    )

    def step(batch: FaceBatch, *, is_update: bool) -> Tensor:
        return plain(batch.to(accelerator.device), is_update=is_update)

    loop = Loop(
        accelerator=accelerator,
        step=step,
        batches=batches,
        optimizer=optimizer,
        place=place,
        checkpoints=checkpoints,
        log=log,
        watch=watch,
        epochs=settings.epochs,
        schedule=settings.schedule,
        warmup_updates=settings.warmup_updates,
        log_every_steps=settings.log_every_steps,
        checkpoint_every_steps=settings.checkpoint_every_steps,
    )
    with Stopping() as stopping:
        while place.epoch <= settings.epochs:
            network.train()
            trained = loop.train_epoch(stopping)
            _end_epoch(config, network, pictures, faces, rows, record, place, output, log, trained)
            loop.end_epoch()

    report = _finish(config, accelerator, pictures, faces, rows, output, log, place)
    accelerator.end_training()
    return report


def _finish(
    config: FaceConfig,
    accelerator: Accelerator,
    pictures: Pictures,
    faces: Faces,
    rows: FoldRows,
    output: Path,
    log: RunLog,
    place: Place,
) -> dict[str, Any]:
    """Calibrates the kept epoch on training subjects, and tests it once."""
    accelerator.wait_for_everyone()
    trained = from_pretrained(output / MODEL)
    trained.network.to(accelerator.device)
    trained = _calibrated(trained, config, pictures, faces, rows)
    accelerator.wait_for_everyone()  # all have read the folder
    if log.enabled:
        save_record(trained.network, trained.record, output / MODEL)
    log.write(best_epoch=place.best_epoch, trained_seconds=place.seconds)
    log.print(
        f"{place.epoch - 1} epochs and {place.seconds:.1f} s of training; epoch {place.best_epoch} is kept"
    )
    report: dict[str, Any] = {}
    if config.train.test:
        report = test(
            trained,
            config,
            faces,
            output,
            identity=describe_faces(faces),
            batch_size=config.train.batch_size,
        )
        log.print(format_report(report))
    if log.enabled:
        write_card(output, trained, config, report)
    return report


def _end_epoch(
    config: FaceConfig,
    network: VLFAU,
    pictures: Pictures,
    faces: Faces,
    rows: FoldRows,
    record: FaceRecord,
    place: Place,
    output: Path,
    log: RunLog,
    trained: Trained,
) -> None:
    """Keeps the network if it is the best on the held-out training subjects, or, without any, if the epoch is the last."""
    settings, now = config.train, {"step": place.step, "epoch": place.epoch}
    kept, shown = place.epoch == settings.epochs, ""
    measured: dict[str, float] = {}
    if len(rows.valid):
        logits = recognise(
            network,
            pictures,
            rows.valid.tolist(),
            batch_size=settings.batch_size,
            precision=settings.mixed_precision,
        )
        subjects = subjects_of(faces, rows.valid).tolist()
        value = float(f1(count(logits >= 0, faces.labels[rows.valid], subjects)).mean())
        kept, place.best = value > place.best, max(value, place.best)
        measured["valid_F1"] = value
        shown = f": valid F1 {value:.4f}"
    if kept:
        place.best_epoch = place.epoch
    log.write(**now, **trained.times, **measured)
    log.print(f"epoch {place.epoch}{shown} ({trained.seconds:.1f} s)")
    if kept and log.enabled:
        save_model(network, record, output / MODEL, facs_file=facs_file(config))


def _calibrated(
    trained: TrainedFaces,
    config: FaceConfig,
    pictures: Pictures,
    faces: Faces,
    rows: FoldRows,
) -> TrainedFaces:
    """The network with temperatures and thresholds that are fitted on faces of training subjects, held-out ones if any."""
    fitted_on = rows.valid if len(rows.valid) else rows.train
    logits = recognise(
        trained.network,
        pictures,
        fitted_on.tolist(),
        batch_size=config.train.batch_size,
        precision=config.train.mixed_precision,
    )
    labels = faces.labels[fitted_on]
    record = replace(trained.record, temperatures=tuple(fit_temperatures(logits, labels).tolist()))
    trained = replace(trained, record=record)
    fitted = tuple(fit_thresholds(trained.calibrated(logits), labels).tolist())
    half = (HALF,) * len(trained.aus)
    on = (
        "held-out training subjects"
        if len(rows.valid)
        else "training subjects, whose faces were trained on"
    )
    record = replace(
        record,
        fitted_thresholds=fitted,
        thresholds=fitted if config.train.thresholds == "fitted" else half,
        calibrated_on=on,
        beams=config.train.beams,
    )
    return replace(trained, record=record)


def _record(
    config: FaceConfig, faces: Faces, rows: FoldRows, identity: dict[str, str]
) -> FaceRecord:
    """What the model folder records, before the calibration: with temperatures of 1 and thresholds of 0.5."""
    own = np.concatenate([rows.train, rows.valid])
    subjects = subjects_of(faces, own).tolist()
    seen, aus = tuple(sorted(set(subjects))), faces.units
    rates = training_rates(faces.labels[own], subjects, training=seen, aus=aus)
    view = config.view
    return FaceRecord(
        view=view_of(config),
        recipe=CropRecipe(size_px=view.resize_px, margin=view.margin, square=view.square),
        dataset=identity,
        fold=config.fold,
        seen=seen,
        rates=tuple(rates.tolist()),
        temperatures=(1.0,) * len(aus),
        thresholds=(HALF,) * len(aus),
        fitted_thresholds=(HALF,) * len(aus),
        calibrated_on="nothing",
    )


def _describes(network: VLFAU) -> bool:
    return network.au_language is not None or network.face_language is not None


def _refuse_other_data(output: Path, identity: dict[str, str]) -> None:
    if (output / ENVIRONMENT).exists():
        recorded = read_environment(output)["dataset"]
        if not are_faces_of(recorded, identity) or recorded["name"] != identity["name"]:
            raise UserError(
                f"{output}: trained on other faces than this dataset has now (recorded {recorded}, now {identity}); restore "
                "the dataset, or start a new run in another folder"
            )


def _refuse_unlabelled(labels: Any, aus: tuple[int, ...]) -> None:
    """Refuses held-out faces on which no threshold of an AU can be fitted, before the training."""
    if not len(labels):
        return
    absent = [column(au) for au, known in zip(aus, (labels < 2).any(0), strict=True) if not known]
    if absent:
        raise UserError(
            f"{absent[0]} has no label among the held-out training subjects; change train.valid_subjects or train.seed"
        )


def main() -> int:
    """Command line."""
    return train_by_arguments(
        train, parse=parse_face_config, make_parser=lambda: make_parser(SCRIPT)
    )


def run() -> None:
    """The process, from its arguments to its exit status."""
    run_trainer(main)


if __name__ == "__main__":
    run()
