"""Where the time of a step goes on the GPU, and how far it is from the theoretical minimum."""

import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import benchmarks.floor
from benchmarks.gpu.copies import ceilings
from benchmarks.gpu.made import TOWERS, Size
from benchmarks.gpu.step import prepared, settings
from models.efficiency import synchronize, time_epoch
from models.machine.tensors import tensors_of
from models.prepare import Training

STEPS, TOP = 40, 15
# Adam reads weights, gradients and two moments, and writes weights and moments; gradients are written before.
ADAM_PASSES = 8


def breakdown(
    work: Path, size: Size, *, precision: str, compiled: bool, graphs: bool
) -> dict[str, Any]:
    """Kernels by time, launches per step, and the share of time in which the GPU is busy."""
    config = settings(work, size, precision=precision, compiled=compiled, graphs=graphs)
    training, accelerator = prepared(config, graphs=graphs)
    time_epoch(training.step, training.batches, 1, device=accelerator.device)
    seconds = _run(training, accelerator)
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        _run(training, accelerator)
    steps = min(STEPS, len(training.batches))
    on_gpu = [e for e in profiled.events() if e.device_type == DeviceType.CUDA]
    calls = Counter(e.name for e in profiled.events() if e.name.startswith(("cuda", "cuLaunch")))
    busy = _covered_us([(e.time_range.start, e.time_range.end) for e in on_gpu])
    return {
        "step_ms_without_profiler": 1e3 * seconds / steps,
        "gpu_busy_ms_a_step": 1e-3 * busy / steps,
        "gpu_busy_share": 1e-6 * busy / seconds,
        "kernels_a_step": len(on_gpu) / steps,
        "calls_a_step": {name: count / steps for name, count in calls.most_common(10)},
        "top": _top(on_gpu or profiled.events(), steps),
    }


def floor(work: Path, size: Size) -> dict[str, Any]:
    """The minimum time of a step: bytes over the GPU's bandwidth, operations over its peak rate.

    Bytes: the states of its items once (float16), and the optimizer's passes over weights, gradients and moments
    (float32). Activations are left out, as if they never left the caches. Operations: those of all matrix
    products, forward and backward, counted from their shapes.
    """
    config = settings(work, size, precision="no", compiled=False, graphs=False)
    training, _ = prepared(config, graphs=False)
    batch = next(iter(training.batches.epoch(1)))
    with FlopCounterMode(display=False) as counter:
        training.step(batch)
    states = sum(tensor.nbytes for tensor in tensors_of(batch.features))
    moved = states + ADAM_PASSES * 4 * training.trainable_parameters
    most = ceilings(size)
    times = {
        "bytes": 1e3 * moved / most["copy_bytes_a_second"],
        "operations in float32": 1e3 * counter.get_total_flops() / most["float32_flops_a_second"],
        "operations in bfloat16": 1e3 * counter.get_total_flops() / most["bfloat16_flops_a_second"],
    }
    return {
        "unique_items": len(batch.items),
        "trainable_parameters": training.trainable_parameters,
        "states_bytes": states,
        "bytes": moved,
        "flops": counter.get_total_flops(),
        "ceilings": most,
        "floor_ms": times,
    }


def step_floor(work: Path, size: Size) -> dict[str, Any]:
    """Seconds and operations of a step and of an evaluation, beside those of their matrix products and bytes alone."""
    return benchmarks.floor.measure(
        work / "data", list(TOWERS), rounds=STEPS, evaluations=size.epochs
    )


def _run(training: Training, accelerator: Accelerator) -> float:
    """Seconds of the first steps of an epoch."""
    synchronize(accelerator.device)
    started = time.perf_counter()
    for batch in islice(training.batches.epoch(2), STEPS):
        training.step(batch)
    synchronize(accelerator.device)
    return time.perf_counter() - started


def _top(events: Any, steps: int) -> list[dict[str, Any]]:
    """The kernels with the most time: microseconds and calls per step."""
    spent, calls = Counter[str](), Counter[str]()
    for event in events:
        spent[event.name] += event.time_range.end - event.time_range.start
        calls[event.name] += 1
    return [
        {"name": name[:120], "us_a_step": round(us / steps, 2), "calls_a_step": calls[name] / steps}
        for name, us in spent.most_common(TOP)
    ]


def _covered_us(spans: list[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(end - max(start, until), 0.0)
        until = max(until, end)
    return covered
