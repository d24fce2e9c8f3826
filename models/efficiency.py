"""The costs of training: seconds per epoch, trainable parameters, peak memory, and TPME over several runs.

`python -m models efficiency RUN … [--states stored live] [--output FILE.json] [--plot FILE.png]`. The settings of each
run are trained afresh for a few epochs in a process of their own, and nothing is written to the run.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from models.config import RunConfig
from models.inputs.reads import States
from models.machine.launcher import start_accelerator
from models.prepare import Training, prepare, settled
from models.results.plots import plot_bars
from models.runs.files import read_run_config
from models.runs.identity import open_data, refuse_to_resume_on_other_data
from models.training.step import GraphStep, Step, TrainingBatches
from toolkit.arguments import a_path, one_of, paths, whole_number
from toolkit.console.printable import printable
from toolkit.errors import UserError
from toolkit.ids import as_list

TPME_SHARES = {"seconds": 0.45, "parameters": 0.1, "memory": 0.45}
ON_GPU = "peak memory that torch allocated on the GPU"
ON_CPU = "growth of the process's resident memory to its peak, including libraries loaded during training"
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """The costs of one run.

    Args:
        method: label: the run's folder and states.
        run: run folder.
        states: `stored` or `live`; None for the ID baseline, which reads none.
        device: name of the GPU, or `cpu`.
        threads: number of torch's CPU threads.
        batch_size: users per step.
        mixed_precision: `no`, `bf16` or `fp16`.
        epoch_seconds: training time of each timed epoch.
        trainable_parameters: number of trainable parameters.
        peak_memory_bytes: peak memory of training; None if the operating system does not report it.
        memory: what `peak_memory_bytes` measures.
    """

    method: str
    run: str
    states: States | None
    device: str
    threads: int
    batch_size: int
    mixed_precision: str
    epoch_seconds: list[float]
    trainable_parameters: int
    peak_memory_bytes: int | None
    memory: str

    @property
    def seconds(self) -> float:
        """Seconds per epoch: the median of the timed epochs."""
        return statistics.median(self.epoch_seconds)


def efficiency(
    runs: Sequence[str | Path],
    *,
    states: Sequence[States] = (),
    epochs: int = 3,
    warmup: int = 1,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Measures runs one after another and compares them.

    Args:
        runs: run folders, whose settings are measured.
        states: `stored`, `live` or both, for each run over hidden states; by default the run's own.
        epochs: number of timed epochs.
        warmup: number of epochs before them, which are not timed.
        data: the current path of the runs' dataset, if it has moved.

    Returns:
        `methods`, the fields of `Cost` for each, with `seconds_per_epoch` and `tpme`; the numbers of epochs, the
        version of torch, and the weights in TPME.

    Raises:
        UserError: if a folder is not a run, its dataset has changed, a setting is out of range, or a measurement fails.
    """
    epochs = whole_number(epochs, name="epochs", least=None)
    warmup = whole_number(warmup, name="warmup", least=None)
    if epochs < 1 or warmup < 0:
        raise UserError(
            f"{epochs} timed epochs after {warmup} warmup epochs: expected at least 1 timed and 0 warmup epochs"
        )
    kinds = [
        one_of(kind, States, name="states") for kind in as_list(states, what="states", one="kind")
    ]
    folders = paths(runs, name="runs")
    if not folders:
        raise UserError("no run given; give at least one run folder")
    variants = [variant for run in folders for variant in _variants(run, kinds, data)]
    costs = [_in_own_process(_measure, config, run, epochs, warmup) for run, config in variants]
    scores = tpme([(c.seconds, c.trainable_parameters, c.peak_memory_bytes) for c in costs])
    return {
        "epochs": epochs,
        "warmup_epochs": warmup,
        "torch": torch.__version__,
        "tpme_shares": TPME_SHARES,
        "methods": [
            {**asdict(cost), "seconds_per_epoch": cost.seconds, "tpme": score}
            for cost, score in zip(costs, scores, strict=True)
        ],
    }


def tpme(costs: Sequence[tuple[float, float, float | None]]) -> list[float | None]:
    """TPME = 0.45·t + 0.1·p + 0.45·m of each method; lower is better (arXiv 2404.02059).

    t, p and m are seconds per epoch, trainable parameters and peak memory, each min-max normalised over the compared
    methods. So TPME depends on which methods are compared. A term is 0 if all methods are equal in it.

    Args:
        costs: seconds, parameters and memory of each method.

    Returns:
        The TPME of each method; None for all methods if the memory of any is unknown.

    >>> tpme([(2, 10, 5), (4, 30, 9), (3, 10, 6)])
    [0.0, 1.0, 0.3375]
    """
    if any(memory is None for *_, memory in costs):
        return [None] * len(costs)
    columns = [_min_max(column) for column in zip(*costs, strict=True)]
    shares = TPME_SHARES.values()
    return [
        sum(share * value for share, value in zip(shares, row, strict=True))
        for row in zip(*columns, strict=True)
    ]


def format_costs(report: dict[str, Any]) -> str:
    """A report as a Markdown table."""
    head = ["method", "s/epoch", "trainable parameters", "peak memory", "TPME"]
    rows = [[_cell(method, key) for key in head] for method in report["methods"]]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    table = "\n".join(
        "| " + " | ".join(w.ljust(n) for w, n in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
    kinds = dict.fromkeys(method["memory"] for method in report["methods"])
    return f"{table}\n\npeak memory: {'; '.join(kinds)}"


def plot_costs(report: dict[str, Any], path: Path) -> None:
    """Plots seconds, parameters and, if known, memory per method as bars, into a .png or .svg file."""
    methods = report["methods"]
    names = [method["method"] for method in methods]
    panels = {
        "seconds per epoch": [method["seconds_per_epoch"] for method in methods],
        "trainable parameters, millions": [m["trainable_parameters"] / 1e6 for m in methods],
    }
    memory = [method["peak_memory_bytes"] for method in methods]
    if None not in memory:
        panels["peak memory, MiB"] = [size / 2**20 for size in memory]
    plot_bars(path, names, panels)


def _variants(
    run: Path, states: Sequence[States], data: str | Path | None = None
) -> list[tuple[Path, RunConfig]]:
    """The run's config with each of `states`, if it reads hidden states."""
    config = read_run_config(run)
    if data is not None:
        config = replace(config, data=str(a_path(data, name="data")))
    dataset = open_data(run, config.data)
    # A folder with settings alone can be measured too.
    refuse_to_resume_on_other_data(run, dataset, config.reads)
    # The initial weights do not change the costs, and their file may be untrusted.
    config = replace(config, init_from="")
    if config.general_kind is not None and not config.general_kind.trains:
        raise UserError(
            f"{run}: {config.noun} is computed at once, without epochs; leave the run out of the comparison"
        )
    kind = config.item_kind
    if not (config.encodes_items and kind.reads_towers) or kind.trains_encoders or not states:
        return [(run, config)]
    return [(run, replace(config, states=kind)) for kind in states]


def _in_own_process(work: Callable[..., Cost], *arguments: Any) -> Cost:
    """Runs a measurement in a new process, with fresh memory, peaks and Accelerator."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise UserError(
                f"{arguments[1]}: the measuring process was killed; there may be too little memory"
            ) from None


def _measure(config: RunConfig, run: Path, epochs: int, warmup: int) -> Cost:
    return measure(config, run, epochs=epochs, warmup=warmup)[0]


def measure(
    config: RunConfig, run: Path, *, epochs: int = 1, warmup: int = 1
) -> tuple[Cost, Training]:
    """Trains for a few epochs as `models.train` does, but without log, checkpoints and evaluation.

    Peak memory is that of the process, so each measurement requires a process of its own.

    Args:
        config: settings of a run.
        run: name of the run in the result.
        epochs: number of timed epochs.
        warmup: number of epochs before them, which are not timed.

    Returns:
        The costs, and the parts of the run, for further measurements.
    """
    before = psutil.Process().memory_info().rss
    config = settled(config)
    accelerator = start_accelerator(mixed_precision=config.train.mixed_precision)
    device = accelerator.device
    training = prepare(config, accelerator)
    seconds = [
        time_epoch(training.step, training.batches, epoch, device=device)
        for epoch in range(1, warmup + epochs + 1)
    ]
    gpu = device.type == "cuda"
    kind = config.item_kind
    states = config.states if kind.reads_towers and not kind.trains_encoders else None
    cost = Cost(
        method=str(run) if states is None else f"{run} ({states})",
        run=str(run),
        states=states,
        device=torch.cuda.get_device_name(device) if gpu else "cpu",
        threads=torch.get_num_threads(),
        batch_size=config.train.batch_size,
        mixed_precision=accelerator.mixed_precision,
        epoch_seconds=seconds[warmup:],
        trainable_parameters=training.trainable_parameters,
        peak_memory_bytes=torch.cuda.max_memory_allocated() if gpu else _growth(before),
        memory=ON_GPU if gpu else ON_CPU,
    )
    return cost, training


def time_epoch(
    step: Step | GraphStep, batches: TrainingBatches, epoch: int, *, device: torch.device
) -> float:
    """Seconds of one training epoch, with the step and the batches of a training loop; the device is idle before and after.

    Args:
        step: trains on a batch.
        batches: batches of this process.
        epoch: number of the epoch, from 1.
        device: device of the model.
    """
    synchronize(device)
    started = time.perf_counter()
    for number, batch in enumerate(batches.epoch(epoch)):
        step(batch, is_update=batches.ends_update(number))
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _growth(before: int) -> int | None:
    """Bytes by which this process's peak of resident memory exceeds `before`; None on systems other than Linux."""
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 - before


def _min_max(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def _cell(method: dict[str, Any], column: str) -> str:
    memory, score = method["peak_memory_bytes"], method["tpme"]
    cells = {
        "method": printable(method["method"]).replace("|", "\\|"),
        "s/epoch": f"{method['seconds_per_epoch']:.2f}",
        "trainable parameters": f"{method['trainable_parameters']:,}",
        "peak memory": "unknown" if memory is None else f"{memory / 2**20:,.0f} MiB",
        "TPME": "unknown" if score is None else f"{score:.3f}",
    }
    return cells[column]
