"""Trains a recommender: `accelerate launch -m models.train --config text-only --data DATASET --output RUN`.

Reads top to bottom: settings, data, model, optimizer, loop, and one test evaluation at the end. All
processes compute; only the main one writes.
"""

import gc
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from models.config import RunConfig, make_parser, parse_run_config
from models.evaluate import format_report, measure
from models.machine.launcher import own_state, settled, start_accelerator
from models.machine.parallel import decided_by_first
from models.prepare import prepare
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.runs.begin import begin, record_beginning
from models.runs.files import MODEL
from models.runs.identity import refuse_to_resume_on_other_data
from models.runs.pretrained import from_pretrained, save_pretrained
from models.runs.trained import TrainedRecommender
from models.training.checkpoints import Checkpoints, Place
from models.training.divergence import Divergence
from models.training.log import RunLog
from models.training.optimizer import rates_now, set_rates
from models.training.stopping import Stopped, Stopping
from models.training.trackers import start_trackers, tracker_options
from toolkit import metrics
from toolkit.console.completion import completion_script
from toolkit.console.door import run_command
from toolkit.console.progress import track
from toolkit.console.terminal import Answer, answer, take_answer_options

BEST_BY = "HR@10"
SCRIPT = "versa-train"  # the same command in one process, as shells complete it


def train(config: RunConfig) -> dict[str, Any]:
    """Trains until `epochs` or `patience` run out, keeps the best epoch, tests it once.

    Args:
        config: of the run; its `output` must not exist or be empty, unless it is to be resumed.

    Returns:
        The test report (`models.evaluate.measure`).

    Raises:
        UserError: if the dataset or the settings do not allow the run.
    """
    output = Path(config.output)
    config = settled(replace(config, data=str(Path(config.data).resolve())))
    with own_state(), ExitStack() as held:
        options = tracker_options(config.train.trackers, output)
        accelerator = start_accelerator(config, **options)
        is_new = decided_by_first(
            lambda: begin(config, output, held, processes=accelerator.num_processes)
        )
        # The seed is set for this run alone.
        device = accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return _run(config, output, accelerator, is_new=is_new)


def _run(
    config: RunConfig, output: Path, accelerator: Accelerator, *, is_new: bool
) -> dict[str, Any]:
    settings, main, device = config.train, accelerator.is_main_process, accelerator.device

    # Data, model and optimizer. The seed differs between ranks after initialisation, so that dropout does.
    run = prepare(config, accelerator)
    model, optimizer, batches, splits = run.model, run.optimizer, run.batches, run.splits
    updates_an_epoch = -(-len(batches) // settings.accumulation)
    torch.manual_seed(settings.seed * 1000 + accelerator.process_index)

    # Where the run begins: at its start, or where it was left.
    refuse_to_resume_on_other_data(output, config, run.dataset)
    log = RunLog(output, enabled=main)
    checkpoints = Checkpoints(
        output,
        keep=settings.keep_checkpoints,
        model=model,
        optimizer=optimizer.optimizer,
        scaler=accelerator.scaler,
    )
    place = (checkpoints.resume() if config.resume else None) or Place()
    record_beginning(config, output, accelerator, run.dataset, run.features, place, is_new=is_new)
    log.go_back_to(place.step)
    start_trackers(accelerator, config, output, log)
    log.say(f"{config.item} {config.towers}: {splits}, {run.trainable_parameters:,} parameters")
    if config.resume:
        log.say(f"resuming at epoch {place.epoch}, step {place.step:,}")
    if run.features.residency:
        log.say(str(run.features.residency))
    watch = Divergence(accelerator, batches, checkpoints, place, splits.user_ids)

    # Loop.
    with Stopping() as stopping:
        while not place.is_over(epochs=settings.epochs, patience=settings.patience):
            model.train()
            epoch_started = time.perf_counter()
            bar = track(
                batches.epoch(place.epoch, first=place.batch),
                f"epoch {place.epoch}",
                total=len(batches) - place.batch,
                enabled=main,
            )
            for batch in bar:
                is_update = batches.ends_update(place.batch)
                update = place.batch // settings.accumulation
                update += (place.epoch - 1) * updates_an_epoch
                place.batch += 1
                place.step += 1
                set_rates(optimizer, config, update, settings.epochs * updates_an_epoch)
                loss = run.step(batch, is_update=is_update)
                watch.note(loss)
                if place.step % settings.log_every_steps == 0 or place.step == 1:
                    watch.check()
                    mean = float(accelerator.reduce(loss, reduction="mean"))
                    now = rates_now(optimizer)
                    log.write(step=place.step, epoch=place.epoch, loss=mean, rates=now)
                every = settings.checkpoint_every_steps
                due = every and place.step % every == 0 and place.batch < len(batches)
                stopped = is_update and stopping.signal()
                if (due and is_update) or stopped:
                    watch.check()
                    checkpoints.save(place)
                if stopped:
                    log.say(
                        f"stopped by {signal.Signals(stopped).name} after step {place.step:,}, which is kept; go on "
                        "with the same command and --resume"
                    )
                    raise Stopped(stopped)
            watch.check()
            train_seconds = time.perf_counter() - epoch_started

            model.eval()
            catalogue = encode_catalogue(model, run.features, splits.catalogue, device=device)
            ranks = rank_targets(model, catalogue, splits.valid)
            valid = {name: m["value"] for name, m in metrics.summarise(ranks).items()}
            log.write(step=place.step, epoch=place.epoch, valid=valid, train_seconds=train_seconds)
            log.say(
                f"epoch {place.epoch}: valid HR@10 {valid['HR@10']:.4f} NDCG@10 {valid['NDCG@10']:.4f} "
                f"({train_seconds:.1f} s)"
            )
            if valid[BEST_BY] > place.best:
                place.best, place.best_epoch = valid[BEST_BY], place.epoch
                if main:
                    save_pretrained(model, output / MODEL)
            place.epoch, place.batch = place.epoch + 1, 0
            checkpoints.save(place)

    # The best epoch, tested once.
    accelerator.wait_for_everyone()
    saved = from_pretrained(output / MODEL).to(device)
    best = TrainedRecommender(config, run.dataset, saved, run.features)
    measure(best, output, split="valid", progress=False)
    report = measure(best, output, split="test")
    log.write(best_epoch=place.best_epoch, **{f"valid {BEST_BY}": place.best})
    log.say(f"best epoch {place.best_epoch}\n{format_report(report)}")
    accelerator.end_training()
    return report


def main() -> int:
    """Command line."""
    asked, words = take_answer_options(sys.argv[1:])
    if words[:1] == ["--print-completion"]:
        print(completion_script(make_parser(SCRIPT), words[1:]))
        return 0
    status = answer(lambda: _trained(words), as_json=asked.json, quiet=asked.quiet)
    # The process group goes now, with the model that held it: its threads let go of their last tensors only after
    # the call that they served has returned, and must not do so while the interpreter shuts down.
    gc.collect()
    return status


def _trained(words: list[str]) -> Answer | None:
    report = train(parse_run_config(words))
    return Answer("", report) if PartialState().is_main_process else None


def run() -> None:
    """The process, from its words to its exit status."""
    run_command(
        main, interrupted="go on from the last checkpoint with the same command and --resume"
    )


if __name__ == "__main__":
    run()
