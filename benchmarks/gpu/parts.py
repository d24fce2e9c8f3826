"""The parts of the GPU benchmark. Each runs in its own process, within its own time limit."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.breakdown import breakdown, floor, step_floor
from benchmarks.gpu.copies import residency
from benchmarks.gpu.made import Size, live_data, write_step_data
from benchmarks.gpu.memory import gradient_cache, million_items
from benchmarks.gpu.smoke import captions, feed, presets, versions
from benchmarks.gpu.step import measure
from benchmarks.rungs import METHODS, rung
from models.efficiency import tpme

Work = Callable[[Path, Size], dict[str, Any]]


class Part(NamedTuple):
    """A measurement.

    Args:
        work: measures, in a folder shared by the parts.
        limit_seconds: it is stopped after this time, and the next part runs.
    """

    work: Work
    limit_seconds: float


WAYS = {
    "plain": {"compiled": False, "graphs": False},
    "graphs": {"compiled": False, "graphs": True},
    "compiled": {"compiled": True, "graphs": False},
    "compiled graphs": {"compiled": True, "graphs": True},
}
LADDER_BATCH = 32


def climb(work: Path, size: Size, *, name: str) -> dict[str, Any]:
    """One method of the table of IISAN, timed and counted (`benchmarks.ladder`), over BERT-base and ViT-base."""
    return rung(name, live_data(work, size), batch=LADDER_BATCH)


def _step(name: str, precision: str, limit_seconds: float) -> dict[str, Part]:
    work = partial(measure, precision=precision, **WAYS[name])
    return {f"step {precision} {name}": Part(work, limit_seconds)}


# In the order of their worth: the time may end before the last. The first words are the names for `--parts`.
PARTS: dict[str, Part] = {
    "versions": Part(versions, 30),
    "data": Part(write_step_data, 60),
    **_step("plain", "bf16", 40),
    **_step("graphs", "bf16", 40),
    **_step("compiled graphs", "bf16", 120),
    "floor bytes": Part(floor, 30),
    "floor products": Part(step_floor, 40),
    "breakdown plain": Part(partial(breakdown, precision="bf16", **WAYS["plain"]), 30),
    "breakdown compiled graphs": Part(
        partial(breakdown, precision="bf16", **WAYS["compiled graphs"]), 60
    ),
    **{f"ladder {name}": Part(partial(climb, name=name), 45) for name in METHODS},
    "cache": Part(gradient_cache, 40),
    "residency": Part(residency, 30),
    "captions covers": Part(partial(captions, frames=0), 40),
    "captions clips": Part(partial(captions, frames=5), 40),
    "million": Part(million_items, 40),
    "feed": Part(feed, 40),
    **_step("plain", "no", 40),
    **_step("graphs", "no", 40),
    "presets": Part(presets, 90),
    **_step("compiled", "bf16", 90),
    **_step("compiled graphs", "no", 120),
    **_step("compiled", "no", 90),
}
ALWAYS = ("versions", "data")
# Largest allowed difference of the first losses from those of the plain step in the same precision.
LOSS_TOLERANCE = {"no": 1e-3, "bf16": 2e-2}


def guarded(part: Part, work: Path, size: Size, seconds: float) -> dict[str, Any]:
    """The figures of a part, or its error.

    Args:
        part: the part.
        work: folder shared by the parts.
        size: sizes of the inputs.
        seconds: time that is left for all parts.
    """
    if seconds < 1:
        return {"passed": False, "error": "not begun: the time was up"}
    limit = min(seconds, part.limit_seconds)
    # Processes are forked from one that has imported everything and never used the GPU.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    output = work / "part.json"
    output.unlink(missing_ok=True)
    process = context.Process(target=_begin, args=(part.work, work, size, output))
    process.start()
    group = process.ident
    assert group is not None  # of a process that has begun
    process.join(limit)
    late = process.is_alive()
    process.kill()
    with suppress(ProcessLookupError):  # nothing that it started is left
        os.killpg(group, signal.SIGKILL)
    process.join()
    if late:
        return {"passed": False, "error": f"stopped after {limit:.3g} s: the time was up"}
    if not output.exists():
        return {"passed": False, "error": f"the process ended with status {process.exitcode}"}
    return dict(json.loads(output.read_text()))


def _begin(work: Work, folder: Path, size: Size, output: Path) -> None:
    """Runs a part as the head of a process group, which ends with it."""
    os.setpgid(0, 0)
    run_part(work, folder, size, output)


def run_part(work: Work, folder: Path, size: Size, output: Path) -> None:
    """Writes a part's figures, or its error, into a file."""
    try:
        found = work(folder, size)
    except Exception:  # any error is recorded, and the other parts run
        found = {"passed": False, "error": traceback.format_exc()}
    unfinished = output.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found))
    unfinished.replace(output)


def compare_losses(parts: dict[str, Any]) -> None:
    """Adds to each step the difference between its first losses and those of the plain step."""
    for name, found in parts.items():
        kind, precision, *_ = [*name.split(), ""]
        plain = parts.get(f"step {precision} plain", {}).get("losses")
        if kind == "step" and plain and "losses" in found:
            pairs = zip(plain, found["losses"], strict=True)
            found["largest_loss_difference"] = max(abs(a - b) / abs(a) for a, b in pairs)
            found["passed"] = found["largest_loss_difference"] <= LOSS_TOLERANCE[precision]


def score_ladder(parts: dict[str, Any]) -> None:
    """Adds TPME to the methods of the ladder so far, over all of them."""
    rungs = [
        found for name, found in parts.items() if name.startswith("ladder") and "error" not in found
    ]
    costs = [
        (one["seconds_per_epoch"], one["trainable_parameters"], one["peak_memory_bytes"])
        for one in rungs
    ]
    for one, score in zip(rungs, tpme(costs) if costs else [], strict=True):
        one["tpme"] = score


def summary(found: dict[str, Any]) -> str:
    """One line with the scalar figures, or the error."""
    if "error" in found:
        return f"FAILED {found['error'].strip().splitlines()[-1]}"
    single = {name: value for name, value in found.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:.4g}" for name, value in single.items())
