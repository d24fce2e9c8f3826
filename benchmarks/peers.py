"""Epochs and rankings of RecBole's models and of our presets for them, in one run on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.peers --data SCIENTIFIC --work FOLDER --recbole PYTHON [--models SASRec GRU4Rec]

PYTHON is the interpreter of an environment with RecBole 1.2.1 (numpy < 2, setuptools < 81). Both train on the same
truncated histories, with RecBole's defaults, and rank the same users over the whole catalogue. For each model, processes
of RecBole and of Versa alternate. Each measures the CPU seconds of one epoch after a first one, and of one ranking of the
validation split after a first one. Prints medians and the ratio RecBole : Versa of each; CPU seconds are the steadier
figure on a shared machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from toolkit.dataset import open_dataset

MAX_LEN = 10
PRESETS = {
    "SASRec": "id-recbole",
    "GRU4Rec": "gru4rec-recbole",
    "NextItNet": "nextitnet-recbole",
    "BERT4Rec": "bert4rec-recbole",
    "LightGCN": "lightgcn-recbole",
}
FIGURES = ("epoch", "ranking")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recbole", required=True, metavar="PYTHON")
    parser.add_argument("--models", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    write_atomic(options.data, options.work / "scientific")
    here = Path(__file__).parent.resolve()
    places = {"recbole": options.work, "versa": here.parent}  # RecBole writes logs where it runs
    print("| model | " + " | ".join(f"{f}, RecBole | Versa | ratio" for f in FIGURES) + " |")
    print("|---" * (1 + 3 * len(FIGURES)) + "|", flush=True)
    for model in options.models:
        commands = {
            "recbole": [options.recbole, str(here / "peer_recbole.py"), str(options.work.resolve()), model],
            "versa": [sys.executable, "-m", "benchmarks.peer_versa", str(options.data), PRESETS[model]],
        }  # fmt: skip
        found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                found[name].append(measured(command, places[name]))
        cells = []
        for figure in FIGURES:
            theirs, ours = (
                statistics.median(one[figure] for one in found[name]) for name in commands
            )
            cells += [f"{theirs:.2f} s", f"{ours:.2f} s", f"{theirs / ours:.1f}"]
        print(f"| {model} | {' | '.join(cells)} |", flush=True)
    print(f"{options.rounds} rounds; load average {os.getloadavg()[0]:.1f}")


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """The CPU seconds that a process prints as its last line; it runs in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=folder
    )
    seconds: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return seconds


def write_atomic(data: Path, folder: Path) -> None:
    """Writes the truncated histories as RecBole's atomic file, with positions as times."""
    splits = open_dataset(data).splits(protocol="unmasked", max_len=MAX_LEN)
    kept = np.hstack([splits.train, splits.valid.targets[:, None], splits.test.targets[:, None]])
    users, positions = np.nonzero(kept)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{folder.name}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines(
            f"{user}\t{kept[user, position]}\t{position}\n"
            for user, position in zip(users.tolist(), positions.tolist(), strict=True)
        )


if __name__ == "__main__":
    main()
