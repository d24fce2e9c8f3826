"""Trains a recommender: `accelerate launch -m models.train --config text-only --data DATASET --output RUN`.

Reads top to bottom: settings, data, model, optimizer, loop, and one test evaluation at the end. All
processes compute; only the main one writes.
"""

import gc
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from models.config import RunConfig, TrainConfig, make_parser, parse_run_config, save_run_config
from models.evaluate import format_report, measure
from models.fit import fit
from models.inputs.absent import BrokenSources, describe_missing
from models.inputs.batch import Batch
from models.machine.launcher import own_state, start_accelerator
from models.machine.parallel import decided_by_first
from models.machine.sharding import describe_shards, has_shards
from models.prepare import Training, prepare, settled
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.recommender import Model
from models.runs.begin import Beginning, begin, record_beginning
from models.runs.environment import describe_environment
from models.runs.files import MODEL, read_run_settings
from models.runs.identity import describe_data, refuse_to_resume_on_other_data
from models.runs.model_files import read_weights
from models.runs.pretrained import WEIGHTS, base_of, from_pretrained, save_pretrained
from models.runs.trained import TrainedRecommender
from models.schedule import rate_factor
from models.training.alarms import Alarms, recorded_alarms
from models.training.checkpoints import Checkpoints, Place
from models.training.divergence import Divergence
from models.training.log import RunLog
from models.training.optimizer import rates_now, set_rates
from models.training.stopping import Stopped, Stopping
from models.training.trackers import start_trackers, tracker_options
from models.transfer.initial import InitialWeights, initial_weights
from toolkit import metrics
from toolkit.console.completion import completion_script
from toolkit.console.door import run_command
from toolkit.console.progress import track
from toolkit.console.terminal import Answer, answer, take_answer_options
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
    with own_state(), ExitStack() as held:
        accelerator = start_accelerator(
            mixed_precision=config.train.mixed_precision,
            shards=True,
            **tracker_options(config.train.trackers, output),
        )
        beginning = decided_by_first(
            lambda: begin(
                output,
                held,
                settings=asdict(config),
                read_settings=read_run_settings,
                free_to_change=free,
                resume=config.resume,
                processes=accelerator.num_processes,
            )
        )
        # The caller's random state is as before after the run.
        device = accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
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
    settings, main = config.train, accelerator.is_main_process

    # Data, model and optimizer. Afterwards the seed differs between processes, so that their dropout does.
    initial = initial_weights(config.init_from, config.initial_parts, output, resume=config.resume)
    run = prepare(config, accelerator, begin=initial)
    model, optimizer, batches, splits = run.model, run.optimizer, run.batches, run.splits
    updates_per_epoch = -(-len(batches) // settings.accumulation)
    torch.manual_seed(settings.seed * 1000 + accelerator.process_index)

    # The position from which the run trains: the start, or the newest checkpoint.
    reads = config.reads
    refuse_to_resume_on_other_data(output, run.dataset, reads)
    log = RunLog(output, enabled=main)
    checkpoints = Checkpoints(
        output,
        keep=settings.keep_checkpoints,
        model=model,
        optimizer=optimizer.optimizer,
        scaler=accelerator.scaler,
    )
    place = (checkpoints.resume() if config.resume else None) or Place()
    record_beginning(
        beginning,
        output,
        accelerator,
        place,
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
    log.go_back_to(place.step)
    start_trackers(accelerator, settings.trackers, output, log, asdict(config))
    log.print(f"{config.title}: {splits}, {run.trainable_parameters:,} parameters")
    if config.resume:
        log.print(f"resuming at epoch {place.epoch}, step {place.step:,}")
    if run.features.residency:
        log.print(str(run.features.residency))
    log.print(*describe_shards(model), *describe_missing(run.features, run.dataset))
    _tell_initial_weights(initial, config, log, is_new=beginning.is_new)
    broken = BrokenSources(run.features, run.dataset)
    alarms = Alarms(
        enabled=main,
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

    # Loop.
    limits: dict[str, Any] = {
        "epochs": settings.epochs,
        "evaluate_every": settings.evaluate_every,
        "max_seconds": settings.max_seconds,
    }
    with Stopping() as stopping:
        while not place.is_over(patience=settings.patience, **limits):
            model.train()
            epoch_started, seconds_before = time.perf_counter(), place.seconds
            waiting = Waiting[Batch]()
            bar = track(
                waiting.over(batches.epoch(place.epoch, first=place.batch)),
                f"epoch {place.epoch}",
                total=len(batches) - place.batch,
                enabled=main,
            )
            for batch in bar:
                is_update = batches.ends_update(place.batch)
                factor = rate_factor(
                    (place.epoch - 1) * updates_per_epoch + place.batch // settings.accumulation,
                    total=settings.epochs * updates_per_epoch,
                    warmup=settings.warmup_updates,
                    schedule=settings.schedule,
                )
                set_rates(optimizer, factor)
                place.batch += 1
                place.step += 1
                loss = run.step(batch, is_update=is_update)
                watch.note(loss)
                alarms.note_step(loss, contents[batch.items], model.encoded)
                if place.step % settings.log_every_steps == 0 or place.step == 1:
                    watch.check()
                    mean = float(accelerator.reduce(loss, reduction="mean"))
                    now = rates_now(optimizer)
                    log.write(step=place.step, epoch=place.epoch, loss=mean, rates=now)
                    alarms.look(step=place.step, epoch=place.epoch)
                every = settings.checkpoint_every_steps
                due = every and place.step % every == 0 and place.batch < len(batches)
                stopped = is_update and stopping.signal()
                if (due and is_update) or stopped:
                    watch.check()
                    place.seconds = seconds_before + time.perf_counter() - epoch_started
                    checkpoints.save(place)
                if stopped:
                    log.print(
                        f"stopped by {signal.Signals(stopped).name} after step {place.step:,}, which is kept; go on "
                        "with the same command and --resume"
                    )
                    raise Stopped(stopped)
            watch.check()
            alarms.look(at_end=True, step=place.step, epoch=place.epoch)
            train_seconds = time.perf_counter() - epoch_started
            place.seconds = seconds_before + train_seconds
            place.seconds = decided_by_first(lambda: place.seconds)  # one clock for all processes

            if place.is_evaluated(**limits):
                _evaluate_epoch(
                    run,
                    place,
                    output,
                    log,
                    alarms,
                    settings,
                    train_seconds=train_seconds,
                    waiting=waiting,
                    epoch=place.epoch,
                )
            log.print(*broken.describe())
            place.epoch, place.batch = place.epoch + 1, 0
            checkpoints.save(place)

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
    _evaluate_epoch(
        run,
        place,
        output,
        log,
        alarms,
        settings,
        train_seconds=0.0,
        waiting=Waiting(),
        epoch=0,
    )
    checkpoints.save(place)


def _evaluate_epoch(
    run: Training,
    place: Place,
    output: Path,
    log: RunLog,
    alarms: Alarms,
    settings: TrainConfig,
    *,
    train_seconds: float,
    waiting: Waiting[Batch],
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
    times = {"train_seconds": train_seconds, "waited_seconds": waiting.waited_seconds}
    log.write(**now, valid=valid, **times, **held)
    printed = " ".join(f"{name} {valid[name]:.4f}" for name in dict.fromkeys((*SHOWN, select_by)))
    waited = ""
    if run.features.prefetch and waiting.share > MUCH:
        waited = f", {waiting.share:.0%} of it waiting for inputs"
    log.print(f"epoch {epoch}: valid {printed} ({train_seconds:.1f} s{waited})")
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
    options, arguments = take_answer_options(sys.argv[1:])
    if arguments[:1] == ["--print-completion"]:
        print(completion_script(make_parser(SCRIPT), arguments[1:]))
        return 0
    status = answer(lambda: _trained(arguments), as_json=options.json, quiet=options.quiet)
    # Frees the process group, and the model that holds it, before the interpreter shuts down: its threads release
    # their last tensors only after the call that they served has returned, which is unsafe during shutdown.
    gc.collect()
    return status


def _trained(arguments: list[str]) -> Answer | None:
    report = train(parse_run_config(arguments))
    return Answer("", report) if PartialState().is_main_process else None


def run() -> None:
    """The process, from its arguments to its exit status."""
    run_command(
        main, interrupted="go on from the last checkpoint with the same command and --resume"
    )


if __name__ == "__main__":
    run()
