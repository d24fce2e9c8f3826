"""Trains several runs one after the other in the same processes; the argument is a JSON file, a list of arguments per run.

The processes of a run part at its end; here only after the last one.
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from accelerate import Accelerator

from models.config import parse_run_config
from models.train import train


def run() -> None:
    Accelerator.end_training = lambda self: None
    for words in json.loads(Path(sys.argv[1]).read_text()):
        train(parse_run_config(words))
    dist.destroy_process_group()
