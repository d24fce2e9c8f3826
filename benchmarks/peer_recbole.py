"""CPU seconds of an epoch and of a ranking by RecBole 1.2.1; `benchmarks.peers` starts it in RecBole's environment."""

import json
import sys
import time

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

PAIRWISE = ("LightGCN",)  # trained with sampled negatives; the others with the full softmax


def main(folder: str, model: str) -> None:
    """Trains two epochs and ranks twice; prints the seconds of the second of each."""
    settings = {
        "data_path": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 10,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "Hit@10",
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    if model not in PAIRWISE:
        settings["train_neg_sample_args"] = None
    config = Config(model=model, dataset="scientific", config_dict=settings)
    init_seed(1, True)
    torch.set_num_threads(1)
    train, valid, _ = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.eval_collector.data_collect(train)
    seconds = {}
    for epoch in range(2):
        begin = time.process_time()
        trainer._train_epoch(train, epoch, show_progress=False)
        seconds["epoch"] = time.process_time() - begin
    for _ in range(2):
        begin = time.process_time()
        trainer.evaluate(valid, load_best_model=False, show_progress=False)
        seconds["ranking"] = time.process_time() - begin
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
