"""Seconds of a training step and of an evaluation, against the floor: their matrix products and their bytes alone.

    python -m benchmarks.floor [--threads 1] [--json] [--work FOLDER | --data DATASET]

Recipe `paper` with two towers of 7 x 384 states, batch 64, by default over random histories and states of Scientific's
size. A step gathers the states of its items and trains on them. Its floor runs matrix products of the same sizes as
those of forward and backward, in the same layouts, and nothing between them (weighted sums that are written as thin
products are left out); then it reads the bytes of the step once: the states
of its items, and the weights, their gradients and both moments of Adam. The floor of an evaluation reads the states of
all items and every score once. Work and floor alternate in one process; the figures are medians. Operations are those
that PyTorch dispatches, views left out (`benchmarks.operations`).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from benchmarks.gpu.made import TOWERS, Size, write_step_data
from benchmarks.operations import Operations, ProductsAlone
from benchmarks.train import load
from models.config import parse_run_config
from models.efficiency import synchronize
from models.machine.tensors import tensors_of
from models.prepare import Training, prepare, settled
from models.ranking.catalogue import Catalogue, encode_catalogue
from models.ranking.ranks import rank_targets

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
WARM_STEPS = 3
ADAM_TENSORS = 4  # weights, gradients and two moments
FLOAT_BYTES = 4
SCORES_AT_ONCE_BYTES = (
    1 << 23
)  # scores are read from the caches, where a product has just left them

Work = Callable[[], Any]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object instead of a table"
    )
    parser.add_argument("--threads", type=int, help="of PyTorch; by default its own number")
    parser.add_argument(
        "--work", type=Path, help="keeps the random dataset; an existing one is reused"
    )
    parser.add_argument("--data", type=Path, help="an existing dataset instead of a random one")
    parser.add_argument("--towers", nargs="+", default=list(TOWERS), help="towers of the dataset")
    parser.add_argument("--users", type=int, default=Size.users, help="of the random dataset")
    parser.add_argument("--items", type=int, default=Size.items, help="of the random dataset")
    parser.add_argument("--rounds", type=int, default=30, help="number of timed steps")
    parser.add_argument("--evaluations", type=int, default=3, help="number of timed evaluations")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds by the clock, or of the CPU")  # fmt: skip
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or random_data(
            options.work or Path(folder), users=options.users, items=options.items
        )
        report = measure(
            data,
            options.towers,
            rounds=options.rounds,
            evaluations=options.evaluations,
            clock=options.clock,
        )
    print(json.dumps(report, indent=2) if options.json else table(report))


def random_data(work: Path, *, users: int, items: int, layers: int = 7, width: int = 384) -> Path:
    """A dataset with random histories and states of two towers in a folder; an existing one is reused."""
    if not (work / "data" / "dataset.json").exists():
        write_step_data(work, Size(users=users, items=items, layers=layers, width=width))
    return work / "data"


def measure(
    data: Path, towers: Sequence[str], *, rounds: int, evaluations: int, clock: str = "wall"
) -> dict[str, Any]:
    """The report of a dataset.

    Args:
        data: dataset folder.
        towers: text tower and image tower.
        rounds: number of timed steps, each followed by its floor.
        evaluations: number of timed evaluations, each followed by its floor.
        clock: `wall` or `cpu`.
    """
    words = ["--config=paper", f"--data={data}", "--output=none", f"--towers=[{', '.join(towers)}]"]
    words += ["--train.trackers=[]", f"--side.modality={{{towers[-1]}: image}}"]
    training = prepare(settled(parse_run_config(words)), Accelerator())
    device = training.batches.device
    step = _measure(*_step(training), rounds=rounds, clock=clock, device=device)
    evaluation = _measure(*_evaluation(training), rounds=evaluations, clock=clock, device=device)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "clock": clock,
        "load": load(),
        "step_seconds": step.seconds,
        **step.report(),
        "evaluation_seconds": evaluation.seconds,
        **{f"evaluation_{key}": value for key, value in evaluation.report().items()},
    }


@dataclass(frozen=True)
class Measured:
    """Some work beside its floor.

    Args:
        seconds: of the work, the median.
        floor_seconds: of the floor, the median.
        operations: of the work.
    """

    seconds: float
    floor_seconds: float
    operations: Operations

    def report(self) -> dict[str, Any]:
        """All but its own seconds, as a JSON object."""
        return {
            "floor_seconds": self.floor_seconds,
            "operations": self.operations.total,
            "products": len(self.operations.products),
            "product_flops": sum(product.flops for product in self.operations.products),
            "operation_counts": dict(self.operations.counts.most_common()),
        }


def _measure(
    work: Work,
    floor: Work,
    operations: Operations,
    *,
    rounds: int,
    clock: str,
    device: torch.device,
) -> Measured:
    """Times some work and its floor in turns."""
    seconds: dict[Work, list[float]] = {work: [], floor: []}
    for _ in range(rounds):
        for function, measured in seconds.items():
            synchronize(device)
            started = CLOCKS[clock]()
            function()
            synchronize(device)
            measured.append(CLOCKS[clock]() - started)
    return Measured(*map(statistics.median, seconds.values()), operations)


def _step(training: Training) -> tuple[Work, Work, Operations]:
    """A step on the same batch each time, its floor and its operations."""
    batch = next(iter(training.batches.epoch(1)))

    def step() -> None:
        training.step(replace(batch, features=training.features.gather(batch.items)))

    for _ in range(WARM_STEPS):
        step()
    with Operations() as operations:
        training.step(batch)
    read = sum(tensor.nbytes for tensor in tensors_of(batch.features))
    read += ADAM_TENSORS * FLOAT_BYTES * training.trainable_parameters
    return step, _floor(operations, training.batches.device, memory_bytes=read), operations


def _evaluation(training: Training) -> tuple[Work, Work, Operations]:
    """An evaluation on the test split, its floor and its operations."""
    training.model.eval()
    training.features.same_as()  # computed once per run
    items, test, device = training.splits.catalogue, training.splits.test, training.batches.device

    def evaluation() -> Catalogue:
        catalogue = encode_catalogue(training.model, training.features, items, device=device)
        rank_targets(training.model, catalogue, test)
        return catalogue

    with Operations() as operations:
        columns = len(evaluation().vectors)
    residency = training.features.residency
    floor = _floor(
        operations,
        device,
        memory_bytes=residency.states_bytes if residency else 0,
        scores_bytes=FLOAT_BYTES * len(test) * columns,
    )
    return evaluation, floor, operations


def _floor(
    operations: Operations, device: torch.device, *, memory_bytes: int, scores_bytes: int = 0
) -> Work:
    """Returns a function that runs the products among some operations, and reads bytes once.

    Args:
        operations: with the products.
        device: of the products and bytes.
        memory_bytes: read from memory.
        scores_bytes: read in parts that stay in the caches.
    """
    products = ProductsAlone(operations.products, device=device)
    memory = _ones(memory_bytes, device)
    scores = _ones(min(scores_bytes, SCORES_AT_ONCE_BYTES), device)

    def floor() -> None:
        products()
        memory.sum()
        for _ in range(0, scores_bytes, SCORES_AT_ONCE_BYTES):
            scores.sum()

    return floor


def _ones(size_bytes: int, device: torch.device) -> Tensor:
    return torch.ones(size_bytes // 8, dtype=torch.int64, device=device)


def table(report: dict[str, Any]) -> str:
    """A report as a Markdown table."""
    lines = ["| | ms | floor, ms | times | operations | products |", "|---|---|---|---|---|---|"]
    for name, prefix in (("step", ""), ("evaluation", "evaluation_")):
        seconds, floor = report[f"{name}_seconds"], report[f"{prefix}floor_seconds"]
        counts = f"{report[f'{prefix}operations']:,} | {report[f'{prefix}products']:,}"
        lines.append(
            f"| {name} | {1e3 * seconds:,.1f} | {1e3 * floor:,.1f} | {seconds / floor:.2f} | {counts} |"
        )
    keys = ("device", "threads", "clock", "load", "torch", "date")
    return "\n".join([*lines, "", "; ".join(f"{key} {report[key]}" for key in keys)])


if __name__ == "__main__":
    main()
