"""CPU seconds of a training epoch by sequence encoder, beside SASRec's.

    OMP_NUM_THREADS=1 GOMP_SPINCOUNT=10000 python -m benchmarks.sequences --data DATASET [--loss in-batch full]

Trains on the ids of a dataset with the settings of preset `id`, and each encoder's default settings, or those of a
preset (`--presets gru4rec-recbole`). The encoders take turns step by step, on batches of the same users, so that other work on
the machine slows all of them alike. Prints the median CPU seconds of a step, scaled to an epoch, and the ratio to SASRec: the
median over steps of the ratio of the two adjacent steps. Goal: at most 1.5 for GRU4Rec and NextItNet.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from accelerate import Accelerator

from models.config import parse_run_config
from models.inputs.batch import Batch
from models.prepare import Training, prepare
from toolkit.console.door import run_command

GOAL = 1.5
KINDS = ("sasrec", "gru4rec", "nextitnet", "ligr", "bert4rec")


@dataclass
class Timed:
    """A recommender in training, and the CPU seconds of its steps.

    Args:
        name: name of the sequence encoder or preset.
        run: model, batches and optimizer.
        seconds: CPU seconds of each step, all threads together.
    """

    name: str
    run: Training
    seconds: list[float]

    def batches(self) -> Iterator[Batch]:
        """The batches of the first epoch."""
        return self.run.batches.epoch(1)

    def step(self, batch: Batch) -> None:
        """Trains on a batch and notes the time."""
        started = time.process_time()
        self.run.step(batch, is_update=True)
        self.seconds.append(time.process_time() - started)

    @property
    def epoch_seconds(self) -> float:
        """Median step times steps per epoch."""
        return statistics.median(self.seconds) * len(self.run.batches)


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="dataset folder")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help="sequence encoders")
    parser.add_argument("--presets", nargs="+", default=[], help="presets, measured beside them")
    parser.add_argument("--loss", nargs="+", default=["in-batch", "full"], help="training losses")
    parser.add_argument("--steps", type=int, default=30, help="measured steps, after 3 others")
    options = parser.parse_args()
    for loss in options.loss:
        timed = [make(options.data, name, loss) for name in ["sasrec", *options.kinds[1:]]]
        timed += [make(options.data, name, "") for name in options.presets]
        measure(timed, options.steps)
        print("\n".join([f"loss {loss}:", *map(line, [timed[0]] * len(timed), timed)]), flush=True)


def make(data: str, name: str, loss: str) -> Timed:
    """A recommender with ids and a sequence encoder, or with a preset if no loss is named."""
    words = ["--config", "id", "--data", data, "--output", "none", "--train.trackers", "[]"]
    if loss:
        words += ["--sequence.kind", name, "--train.loss", loss]
        words += ["--train.objective", "masked-item"] * (name == "bert4rec")
    else:
        words[1] = name
    return Timed(name, prepare(parse_run_config(words), Accelerator(cpu=True)), [])


def measure(timed: list[Timed], steps: int) -> None:
    """Lets the recommenders take turns; the first steps, which allocate memory, do not count."""
    for number, batches in enumerate(zip(*(one.batches() for one in timed), strict=False)):
        if number == steps + 3:
            break
        for one, batch in zip(timed, batches, strict=True):
            one.step(batch)
    for one in timed:
        del one.seconds[:3]


def line(sasrec: Timed, one: Timed) -> str:
    """A row of the table."""
    pairs = zip(one.seconds, sasrec.seconds, strict=True)
    ratio = statistics.median(own / other for own, other in pairs)
    return (
        f"  {one.name:<18} {one.epoch_seconds:6.2f} CPU-s an epoch, {ratio * len(one.run.batches) / len(sasrec.run.batches):.2f} "
        "times SASRec"
    )


if __name__ == "__main__":
    run_command(main)
