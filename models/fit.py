"""Fits a general recommender that is computed from the training interactions at once, without epochs.

Reads top to bottom, as `models.train` does: data, model, record, and one evaluation of each split at the end.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import Accelerator

from models.build import build_general, make_features
from models.config import RunConfig, save_run_config
from models.evaluate import format_report, measure
from models.inputs.user_share import with_share_of_users
from models.parameters import count_trainable
from models.runs.begin import Beginning, record_beginning
from models.runs.environment import describe_environment
from models.runs.files import MODEL
from models.runs.identity import describe_data, refuse_to_resume_on_other_data
from models.runs.pretrained import save_pretrained
from models.runs.trained import TrainedRecommender
from models.training.checkpoints import Place
from models.training.log import RunLog
from models.training.trackers import start_trackers
from toolkit.dataset import open_dataset
from toolkit.splits import SplitName


def fit(
    config: RunConfig,
    output: Path,
    accelerator: Accelerator,
    beginning: Beginning,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """Computes the model, keeps it, and evaluates it once. A resumed run is computed again.

    Args:
        config: config of the run.
        output: run folder, locked by this process.
        accelerator: of the run; every process computes the same model.
        beginning: how the run begins.
        record: further keys of environment.json.

    Returns:
        The test report (`models.evaluate.measure`); that of the validation split without `train.test`.

    Raises:
        UserError: if the dataset or the settings do not allow the run.
    """
    dataset = open_dataset(config.data)
    splits = dataset.splits(protocol=config.protocol, max_len=config.sequence.max_len)
    splits = with_share_of_users(splits, config.train.user_share, seed=config.train.user_seed)
    for split in get_args(SplitName):
        splits.evaluation(split)  # refuses one without targets before training
    refuse_to_resume_on_other_data(output, dataset, config.reads)
    torch.manual_seed(config.train.seed)
    started = time.perf_counter()
    model = build_general(config, dataset, splits).to(accelerator.device).eval()
    seconds = time.perf_counter() - started
    features = make_features(config, dataset, device=accelerator.device)

    log = RunLog(output, enabled=accelerator.is_main_process)
    record_beginning(
        beginning,
        output,
        accelerator,
        Place(),
        config_text=save_run_config(config),
        describe=lambda: {
            **describe_environment(
                accelerator,
                dataset={"name": dataset.name, **describe_data(dataset, config.reads)},
                residency=features.residency,
            ),
            "trainable_parameters": count_trainable(model),
            **record,
        },
    )
    log.go_back_to(0)
    start_trackers(accelerator, config.train.trackers, output, log, asdict(config))
    log.print(f"{config.title}: {splits}, computed in {seconds:.1f} s")
    save_pretrained(model, output / MODEL, write=log.enabled)

    accelerator.wait_for_everyone()
    fitted = TrainedRecommender(config, dataset, model, features)
    report = measure(fitted, output, split="valid", progress=False)
    values = {name: metric["value"] for name, metric in report["metrics"].items()}
    log.write(step=0, epoch=0, valid=values, train_seconds=seconds)
    if config.train.test:
        report = measure(fitted, output, split="test")
    log.print(format_report(report))
    accelerator.end_training()
    return report
