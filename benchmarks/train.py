"""Seconds of a training epoch: Versa beside the plain reference, and beside published code's figures.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.train --work FOLDER [--layers all]

Both train on Scientific with two MiniLM towers (`benchmarks/scientific.py`), batch 64. First step by step
on equal batches, dropout off, the reference taking Versa's weights before each, for their losses (left alone, the
two drift apart by rounding: Adam makes whole steps of gradients that are zero but for it); the reference is slow, so its steps are
timed here and its epoch is their median times the steps of an epoch. Then Versa by its own command: whole
epochs of recipe `paper`, and of `id`. Everything that is in the folder is used again.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from benchmarks.pair import make_pair
from benchmarks.scientific import TOWERS, prepare, train

PUBLIC_SECONDS = 73.0  # an epoch of the public IISAN code, the faster of two measurements (issue 6)
RECBOLE_SECONDS = 32.0  # an epoch of RecBole's SASRec with ids, full softmax
NAMES = ("title_cls", "title_mean")
RUNS = {"two-towers": TOWERS["two-towers"], "id": ["--config", "id"]}


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--layers", default="all", help="of MiniLM; its embedding output is kept too"
    )
    parser.add_argument("--steps", type=int, default=20, help="of the reference")
    parser.add_argument("--epochs", type=int, default=5, help="of Versa")
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
    marks = {"two-towers": (min(reference, PUBLIC_SECONDS), 5), "id": (RECBOLE_SECONDS, 3)}
    for name, (against, goal) in marks.items():
        run = trained_run(dataset, options.work, name, options.epochs)
        say(name, epoch_seconds(run), against, goal)


def prepared(work: Path, layers: str) -> tuple[Path, Path]:
    """The dataset with so many layers, built unless it is there, and the folder of the reference's files."""
    kept = layers.strip("[]").replace(",", "-")
    dataset = work / f"dataset-{kept}"
    if not (dataset / "dataset.json").exists():
        prepare(dataset, layers)
    return dataset, work / f"files-{kept}"


def reference_step(dataset: Path, files: Path, steps: int) -> tuple[float, int, float]:
    """Median seconds of a step, steps of an epoch, and the largest difference in loss from Versa."""
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
    """The folder of a run by Versa's own command on two threads, trained unless it is there."""
    run = work / f"{dataset.name}-{name}-{epochs}"
    train(dataset, run, RUNS[name], seed=1, epochs=epochs)
    return run


def epoch_seconds(run: Path) -> list[float]:
    """Seconds of each training epoch of a run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [entry["train_seconds"] for entry in log if "train_seconds" in entry]


def say(what: str, seconds: list[float], against: float, goal: float) -> None:
    """Prints Versa's epochs and how many times as fast as another's epoch their median is."""
    median = statistics.median(seconds)
    each = " ".join(f"{s:.1f}" for s in seconds)
    print(
        f"Versa, {what}: epochs {each}, median {median:.1f} s; against {against:.1f} s "
        f"{against / median:.1f} times as fast (goal {goal}); {load()}",
        flush=True,
    )


def load() -> str:
    """The machine's load, in words."""
    return f"load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
