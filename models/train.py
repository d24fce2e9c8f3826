"""Trains a recommender: `accelerate launch -m models.train --config text-only --data DATASET --output RUN`.

Reads top to bottom: settings, data, model, optimizer, loop, and one test evaluation at the end. All
processes compute; only the main one writes.
"""

import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from models.batches import Batches
from models.config import RunConfig, parse_run_config, save_run_config
from models.environment import describe_environment
from models.evaluate import format_report, measure
from models.items import IdEmbedding, SideNetwork
from models.parameters import rate_groups
from models.pretrained import from_pretrained, save_pretrained
from models.ranking import encode_catalogue, rank_targets
from models.recommender import Recommender
from models.run import CONFIG, ENVIRONMENT, MODEL, TrainedRecommender, make_features
from models.run_log import RunLog
from models.sequence import SASRec
from toolkit import metrics
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError, run_command
from toolkit.progress import track
from toolkit.store import write_atomically, write_json
from toolkit.towers import TowerSpec

BEST_BY = "HR@10"


def train(config: RunConfig) -> dict[str, Any]:
    """Trains until `epochs` or `patience` run out, keeps the best epoch, tests it once.

    Args:
        config: of the run; its `output` must not exist or be empty.

    Returns:
        The test report (`models.evaluate.measure`).

    Raises:
        UserError: if the dataset or the settings do not allow the run.
    """
    output = Path(config.output)
    accelerator = Accelerator(mixed_precision=_mixed_precision(config))
    main = accelerator.is_main_process
    device = accelerator.device
    if main and output.exists() and any(output.iterdir()):
        raise UserError(f"--output {output}: not empty; choose another folder or remove it first")

    # Data.
    config.data = str(Path(config.data).resolve())
    dataset = open_dataset(config.data)
    splits = dataset.splits(protocol=config.protocol, max_len=config.sequence.max_len)
    features = make_features(config, dataset, device=device)
    batches = Batches(
        splits,
        features,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        device=device,
    )

    # Model and optimizer. The seed is set for this run alone and differs between ranks after
    # initialisation, so that dropout does.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.train.seed)
        model = build(config, dataset)
        optimizer = torch.optim.Adam(parameter_groups(model, asdict(config.train.rates)))
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        torch.manual_seed(config.train.seed * 1000 + accelerator.process_index)

        if main:
            text = save_run_config(config)
            write_atomically(output / CONFIG, lambda file: file.write(text.encode()))
            about = describe_environment(config, accelerator, dataset, features)
            write_json(output / ENVIRONMENT, about)
        log = RunLog(output, enabled=main)
        log.say(f"{config.item} {config.towers}: {splits}, {_trainable(model):,} parameters")
        if features.residency:
            log.say(str(features.residency))

        # Loop.
        best, best_epoch, step = -1.0, 0, 0
        for epoch in range(1, config.train.epochs + 1):
            wrapped.train()
            epoch_started = time.perf_counter()
            bar = track(batches.epoch(epoch), f"epoch {epoch}", total=len(batches), enabled=main)
            for batch in bar:
                loss = wrapped(batch)
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                step += 1
                if step % config.train.log_every_steps == 0 or step == 1:
                    log.write(step=step, epoch=epoch, loss=_finite(accelerator, loss, step))
            train_seconds = time.perf_counter() - epoch_started

            model.eval()
            catalogue = encode_catalogue(model, features, splits.catalogue, device=device)
            ranks = rank_targets(model, catalogue, splits.valid)
            valid = {name: m["value"] for name, m in metrics.summarise(ranks).items()}
            log.write(step=step, epoch=epoch, valid=valid, train_seconds=train_seconds)
            log.say(
                f"epoch {epoch}: valid HR@10 {valid['HR@10']:.4f} NDCG@10 {valid['NDCG@10']:.4f} "
                f"({train_seconds:.1f} s)"
            )
            if valid[BEST_BY] > best:
                best, best_epoch = valid[BEST_BY], epoch
                if main:
                    save_pretrained(model, output / MODEL)
            elif epoch - best_epoch >= config.train.patience:
                break

    # The best epoch, tested once.
    accelerator.wait_for_everyone()
    saved = from_pretrained(output / MODEL).to(device)
    report = measure(TrainedRecommender(config, dataset, saved, features), output, split="test")
    log.write(best_epoch=best_epoch, **{f"valid {BEST_BY}": best})
    log.say(f"best epoch {best_epoch}\n{format_report(report)}")
    accelerator.end_training()
    return report


def build(config: RunConfig, dataset: Dataset) -> Recommender:
    """The recommender that a config describes, freshly initialised."""
    item_encoder: nn.Module
    if config.item == "id":
        item_encoder = IdEmbedding(dataset.items.num_rows, embedding_dim=config.side.embedding_dim)
    else:
        unknown = sorted(set(config.side.modality) - set(config.towers))
        if unknown:
            raise UserError(f"side.modality names {unknown}; the run's towers are {config.towers}")
        item_encoder = SideNetwork(
            [_tower(config, dataset, name) for name in config.towers],
            embedding_dim=config.side.embedding_dim,
            bottleneck=config.side.bottleneck,
            activation=config.side.activation,
        )
    sequence_encoder = SASRec(
        embedding_dim=config.side.embedding_dim,
        max_len=config.sequence.max_len,
        heads=config.sequence.heads,
        blocks=config.sequence.blocks,
        dropout=config.sequence.dropout,
    )
    return Recommender(item_encoder, sequence_encoder)


def parameter_groups(model: nn.Module, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Optimizer groups: every trainable parameter under the rate of its declared group."""
    groups: dict[str, list[nn.Parameter]] = {}
    for group, parameter in rate_groups(model):
        groups.setdefault(group, []).append(parameter)
    return [{"params": group, "lr": rates[name]} for name, group in groups.items()]


def _tower(config: RunConfig, dataset: Dataset, name: str) -> TowerSpec:
    spec = dataset.tower(name)
    return replace(spec, modality=config.side.modality.get(name, spec.modality))


def _mixed_precision(config: RunConfig) -> str:
    """The launcher's setting goes before ours; a difference is said."""
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launcher not in ("no", config.train.mixed_precision):
        print(
            f"mixed precision: {launcher} from the launcher, not {config.train.mixed_precision} from the config"
        )
        return launcher
    return config.train.mixed_precision


def _finite(accelerator: Accelerator, loss: torch.Tensor, step: int) -> float:
    """The mean loss over processes; not finite in one stops all."""
    value = float(accelerator.reduce(loss.detach(), reduction="mean"))
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(
            f"step {step}: the loss is {value}; lower the learning rates (--train.rates.…)"
        )
    return value


def _trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def main() -> None:
    """Command line."""
    train(parse_run_config())


if __name__ == "__main__":
    run_command(main)
