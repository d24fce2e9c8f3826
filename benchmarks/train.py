"""Seconds of a training epoch: Versa and the plain reference.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.train --work FOLDER [--layers all]

Both train on Scientific with two MiniLM towers (`benchmarks/scientific.py`), batch 64. First, the losses of single steps
are compared on equal batches without dropout. The reference copies Versa's weights before each step. Otherwise the two
would drift apart by rounding, because Adam takes full-size steps for gradients that are zero except for rounding. The
reference is slow: its epoch is its median step times the steps of an epoch. Then Versa trains whole epochs of recipe
`paper` and of `id` with its own command. Everything that exists in the folder is reused. `benchmarks/peers.py` compares
`id` with RecBole.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from benchmarks.pair import make_pair
from benchmarks.scientific import TOWERS, prepare, train

NAMES = ("title_cls", "title_mean")
RUNS = {"two-towers": TOWERS["two-towers"], "id": ["--config", "id"]}


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--layers", default="all", help="layers of MiniLM; the embedding output is always kept too"
    )
    parser.add_argument("--steps", type=int, default=20, help="number of steps of the reference")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of Versa")
    options = parser.parse_args()
    dataset, files = prepared(options.work, options.layers)
    seconds, steps, difference = reference_step(dataset, files, options.steps)
    reference = seconds * steps
    print(
        f"reference: {options.steps} steps, median {seconds:.3f} s, so {reference:.1f} s an epoch of {steps} steps; "
        f"largest difference in loss from Versa {difference:.1e}; {load()}",
        flush=True,
    )
    if difference > 1e-5:
        raise SystemExit("the losses differ by more than 1e-5")
    for name in RUNS:
        run = trained_run(dataset, options.work, name, options.epochs)
        against = reference if name == "two-towers" else None
        say(name, epoch_seconds(run), against)


def prepared(work: Path, layers: str) -> tuple[Path, Path]:
    """The dataset with the given layers, built if absent, and the folder of the reference's files."""
    kept = layers.strip("[]").replace(",", "-")
    dataset = work / f"dataset-{kept}"
    if not (dataset / "dataset.json").exists():
        prepare(dataset, layers)
    return dataset, work / f"files-{kept}"


def reference_step(dataset: Path, files: Path, steps: int) -> tuple[float, int, float]:
    """Median seconds of a step, steps per epoch, and the largest difference of the loss from Versa's."""
    pair = make_pair(dataset, files, NAMES, batch_size=64, dropout=0.0)
    seconds, differences = [], []
    for number in range(steps):
        sequences = pair.sequences(number)
        pair.reference.copy_weights(pair.versa.state_dict())
        started = time.perf_counter()
        loss = pair.step_reference(sequences)
        seconds.append(time.perf_counter() - started)
        differences.append(abs(loss - pair.step_versa(sequences)))
    return statistics.median(seconds), len(pair.batches), max(differences)


def trained_run(dataset: Path, work: Path, name: str, epochs: int) -> Path:
    """The folder of a run by Versa's own command on two threads, trained if absent."""
    run = work / f"{dataset.name}-{name}-{epochs}"
    train(dataset, run, RUNS[name], seed=1, epochs=epochs)
    return run


def epoch_seconds(run: Path) -> list[float]:
    """Seconds of each training epoch of a run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [entry["train_seconds"] for entry in log if "train_seconds" in entry]


def say(what: str, seconds: list[float], reference: float | None) -> None:
    """Prints Versa's epochs, and the speed of their median relative to an epoch of the reference, if there is one."""
    median = statistics.median(seconds)
    each = " ".join(f"{s:.1f}" for s in seconds)
    parts = [f"Versa, {what}: epochs {each}, median {median:.1f} s"]
    if reference is not None:
        parts.append(f"{reference / median:.1f} times as fast as the reference ({reference:.1f} s)")
    parts.append(load())
    print("; ".join(parts), flush=True)


def load() -> str:
    """The machine's load average, as text."""
    return f"load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
