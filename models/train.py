"""Trains a recommender: `accelerate launch -m models.train --config text-only --data DATASET --output RUN`.

Reads top to bottom: settings, data, model, optimizer, loop, and one test evaluation at the end. All
processes compute; only the main one writes.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from models.config import RunConfig, TrainConfig, make_parser, parse_run_config, save_run_config
from models.evaluate import format_report, measure
from models.fit import fit
from models.inputs.absent import BrokenSources, describe_missing
from models.inputs.batch import Batch
from models.machine.parallel import decided_by_first
from models.machine.sharding import describe_shards, has_shards
from models.prepare import Training, prepare, settled
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.recommender import Model
from models.runs.begin import Beginning
from models.runs.environment import describe_environment
from models.runs.files import MODEL, read_run_settings
from models.runs.identity import describe_data, refuse_to_resume_on_other_data
from models.runs.model_files import read_weights
from models.runs.pretrained import WEIGHTS, base_of, from_pretrained, save_pretrained
from models.runs.start import claim, take_up
from models.runs.trained import TrainedRecommender
from models.training.alarms import Alarms, recorded_alarms
from models.training.checkpoints import Checkpoints, Place
from models.training.command import run_trainer, train_by_arguments
from models.training.divergence import Divergence
from models.training.log import RunLog
from models.training.loop import Loop, Trained
from models.training.stopping import Stopping
from models.transfer.initial import InitialWeights, initial_weights
from toolkit import metrics
from toolkit.prefetch import MUCH, Waiting

SHOWN = ("HR@10", "NDCG@10")
SCRIPT = "versa-train"  # the same command in one process, as shells complete it
# Settings that a resumed run may change: no finished step depends on them. (The dataset is compared by content.)
FREE_TO_CHANGE = {"data", "train.log_every_steps", "train.checkpoint_every_steps",
                  "train.keep_checkpoints", "train.patience", "train.max_seconds", "train.test", "train.trackers", "train.workers",
                  "residency.place", "residency.device_gib", "residency.host_gib"}  # fmt: skip


def train(config: RunConfig, *, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Trains until `epochs`, `patience` or `max_seconds` run out, keeps the best epoch, tests it once.

    Args:
        config: of the run. Its `output` must not exist or be empty, unless the run is to be resumed.
        record: further keys of environment.json of a new run, such as those of its study.

    Returns:
        The test report (`models.evaluate.measure`); that of the validation split without `train.test`.

    Raises:
        UserError: if the dataset or the settings do not allow the run.
    """
    output = Path(config.output)
    config = settled(replace(config, data=str(Path(config.data).resolve())))
    free = FREE_TO_CHANGE | {f"encoders.{name}.trust_remote_code" for name in config.encoders}
    if config.train.schedule == "constant":  # otherwise learning rates depend on `epochs`
        free = free | {"train.epochs"}
    with claim(
        output,
        settings=asdict(config),
        read_settings=read_run_settings,
        free_to_change=free,
        resume=config.resume,
        mixed_precision=config.train.mixed_precision,
        trackers=config.train.trackers,
        shards=True,
    ) as (accelerator, beginning):
        general = config.general_kind
        if general is not None and not general.trains:
            return fit(config, output, accelerator, beginning, record or {})
        return _run(config, output, accelerator, beginning, record or {})


def _run(
    config: RunConfig,
    output: Path,
    accelerator: Accelerator,
    beginning: Beginning,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    settings = config.train

    # Data, model and optimizer. Afterwards the seed differs between processes, so that their dropout does.
    initial = initial_weights(config.init_from, config.initial_parts, output, resume=config.resume)
    run = prepare(config, accelerator, begin=initial)
    model, optimizer, batches, splits = run.model, run.optimizer, run.batches, run.splits
    torch.manual_seed(settings.seed * 1000 + accelerator.process_index)

    # The position from which the run trains: the start, or the newest checkpoint.
    reads = config.reads
    refuse_to_resume_on_other_data(output, run.dataset, reads)
    place, checkpoints, log = take_up(
        beginning,
        output,
        accelerator,
        model,
        optimizer,
        title=f"{config.title}: {splits}, {run.trainable_parameters:,} parameters",
        resume=config.resume,
        keep_checkpoints=settings.keep_checkpoints,
        trackers=settings.trackers,
        settings=asdict(config),
        config_text=save_run_config(config),
        describe=lambda: {
            **describe_environment(
                accelerator,
                dataset={"name": run.dataset.name, **describe_data(run.dataset, reads)},
                residency=run.features.residency,
                lineage=initial.record,
            ),
            "trainable_parameters": run.trainable_parameters,
            **record,
        },
    )
    if run.features.residency:
        log.print(str(run.features.residency))
    log.print(*describe_shards(model), *describe_missing(run.features, run.dataset))
    _tell_initial_weights(initial, config, log, is_new=beginning.is_new)
    broken = BrokenSources(run.features, run.dataset)
    alarms = Alarms(
        enabled=log.enabled,
        write=log.write,
        watch_items=config.encodes_items and config.item_kind.trains_encoders,
        gather=accelerator.gather,
    )
    alarms.first, alarms.now = decided_by_first(lambda: recorded_alarms(output))
    contents = run.features.same_as()
    watch = Divergence(
        accelerator,
        checkpoints,
        place,
        lambda epoch, number, rank: [
            splits.user_ids[row] for row in batches.users(epoch, number, rank)
        ],
        noun="users",
    )

    _evaluate_initial_model(run, place, output, log, alarms, checkpoints, settings)

    def step(batch: Batch, *, is_update: bool) -> Tensor:
        loss = run.step(batch, is_update=is_update)
        alarms.note_step(loss, contents[batch.items], model.encoded)
        return loss

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
        after_log=lambda: alarms.look(step=place.step, epoch=place.epoch),
    )
    limits: dict[str, Any] = {
        "epochs": settings.epochs,
        "evaluate_every": settings.evaluate_every,
        "max_seconds": settings.max_seconds,
    }
    with Stopping() as stopping:
        while not place.is_over(patience=settings.patience, **limits):
            model.train()
            trained = loop.train_epoch(stopping)
            alarms.look(at_end=True, step=place.step, epoch=place.epoch)
            if place.is_evaluated(**limits):
                _evaluate_epoch(
                    run, place, output, log, alarms, settings, trained, epoch=place.epoch
                )
            log.print(*broken.describe())
            loop.end_epoch()

    # The best epoch, tested once.
    accelerator.wait_for_everyone()
    best = TrainedRecommender(config, run.dataset, _best(run, config, output), run.features)
    report = _measure_best(best, output)
    ended_by = place.ended_by(patience=settings.patience, **limits)
    log.write(
        best_epoch=place.best_epoch,
        **{f"valid {settings.select_by}": place.best},
        ended_by=ended_by,
        trained_seconds=place.seconds,
    )
    log.print(
        f"{place.epoch - 1} epochs and {place.seconds:.1f} s of training, ended by train.{ended_by}",
        f"best epoch {place.best_epoch}\n{format_report(report)}",
    )
    accelerator.end_training()
    alarms.refuse_success()
    return report


def _tell_initial_weights(
    initial: InitialWeights, config: RunConfig, log: RunLog, *, is_new: bool
) -> None:
    """Prints where the initial weights come from, and warns of random weights that an adaptation keeps."""
    if not log.enabled:
        return
    if is_new and initial.lineage is not None:
        log.print(*initial.lineage.lines())
        if config.adapts_sequences:
            log.print(f"  then adapted: sequence, by {config.adapts_sequences}")
    if config.adapts_sequences and initial.keeps_random("sequence"):
        print(
            f"warning: sequence.adapt {config.adapts_sequences} keeps random weights of the sequence encoder, because no "
            "init_from replaces them; add --init_from RUN, or train all of it: leave out --sequence.adapt",
            file=sys.stderr,
        )


def _evaluate_initial_model(
    run: Training,
    place: Place,
    output: Path,
    log: RunLog,
    alarms: Alarms,
    checkpoints: Checkpoints,
    settings: TrainConfig,
) -> None:
    """Without epochs, the initial model is the result: measures it as epoch 0, unless that has been done."""
    if settings.epochs or place.is_measured:
        return
    log.print("no epochs: the initial weights are evaluated")
    _evaluate_epoch(run, place, output, log, alarms, settings, Trained(0.0, Waiting()), epoch=0)
    checkpoints.save(place)


def _evaluate_epoch(
    run: Training,
    place: Place,
    output: Path,
    log: RunLog,
    alarms: Alarms,
    settings: TrainConfig,
    trained: Trained,
    *,
    epoch: int,
) -> None:
    """Measures the model after an epoch on valid, and keeps it if it is the best so far."""
    model, evaluation, select_by = run.model.eval(), run.splits.valid, settings.select_by
    device = next(model.parameters()).device
    catalogue = encode_catalogue(
        model,
        run.features,
        evaluation.catalogue,
        device=device,
        precision=settings.mixed_precision,
        appended=evaluation.new_targets,
    )
    ranks = rank_targets(model, catalogue, evaluation)
    _, cutoff = metrics.metric_at(select_by)
    cutoffs = sorted({*metrics.CUTOFFS, cutoff})
    summary = metrics.summarise(ranks, cutoffs, users=evaluation.users)
    valid = {name: m["value"] for name, m in summary.items()}
    now = {"step": place.step, "epoch": epoch}
    alarms.look_at_items(catalogue.vectors, **now)
    held = {"alarms": alarms.now} if alarms.now else {}
    log.write(**now, valid=valid, **trained.times, **held)
    printed = " ".join(f"{name} {valid[name]:.4f}" for name in dict.fromkeys((*SHOWN, select_by)))
    waited = ""
    if run.features.prefetch and trained.waiting.share > MUCH:
        waited = f", {trained.waiting.share:.0%} of it waiting for inputs"
    log.print(f"epoch {epoch}: valid {printed} ({trained.seconds:.1f} s{waited})")
    if valid[select_by] > place.best:
        place.best, place.best_epoch = valid[select_by], epoch
        save_pretrained(model, output / MODEL, write=log.enabled)


def _measure_best(best: TrainedRecommender, output: Path) -> dict[str, Any]:
    """The report of the test split, which is read once; that of the validation split without `train.test`."""
    valid = measure(best, output, split="valid", progress=False)
    return measure(best, output, split="test") if best.config.train.test else valid


def _best(run: Training, config: RunConfig, output: Path) -> Model:
    """The model of the best epoch; where encoders are sharded, its weights in the model that has trained."""
    if has_shards(run.model):
        read_weights(output / MODEL / WEIGHTS).load_into(run.model)
        return run.model
    device = next(run.model.parameters()).device
    return from_pretrained(output / MODEL, **base_of(config)).to(device)


def main() -> int:
    """Command line."""
    return train_by_arguments(
        train, parse=parse_run_config, make_parser=lambda: make_parser(SCRIPT)
    )


def run() -> None:
    """The process, from its arguments to its exit status."""
    run_trainer(main)


if __name__ == "__main__":
    run()
