"""CPU seconds of an epoch and of a ranking of a preset; `benchmarks.peers` starts it."""

import json
import sys
import time

import torch

from models.config import parse_run_config
from models.machine.launcher import start_accelerator
from models.prepare import prepare, settled
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets


def main(data: str, preset: str) -> None:
    """Trains two epochs and ranks twice; prints the seconds of the second of each."""
    torch.set_num_threads(1)
    config = settled(parse_run_config(["--config", preset, "--data", data, "--output", "unused"]))
    run = prepare(config, start_accelerator(mixed_precision="no"))
    seconds = {}
    for epoch in (1, 2):
        begin = time.process_time()
        for number, batch in enumerate(run.batches.epoch(epoch)):
            run.step(batch, is_update=run.batches.ends_update(number))
        seconds["epoch"] = time.process_time() - begin
    run.model.eval()
    for _ in range(2):
        begin = time.process_time()
        catalogue = encode_catalogue(run.model, run.features, run.splits.catalogue, device="cpu")
        rank_targets(run.model, catalogue, run.splits.valid)
        seconds["ranking"] = time.process_time() - begin
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
