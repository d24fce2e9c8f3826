"""The parts of the GPU benchmark. Each runs in its own process."""

import json
import traceback
from collections.abc import Callable
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.gpu.breakdown import breakdown, floor
from benchmarks.gpu.copies import residency
from benchmarks.gpu.made import Size, write_live_data, write_step_data
from benchmarks.gpu.smoke import captions, presets, versions
from benchmarks.gpu.step import measure
from benchmarks.rungs import METHODS, rung
from models.efficiency import tpme

Part = Callable[[Path, Size], dict[str, Any]]
WAYS = {
    "plain": {"compiled": False, "graphs": False},
    "graphs": {"compiled": False, "graphs": True},
    "compiled": {"compiled": True, "graphs": False},
    "compiled graphs": {"compiled": True, "graphs": True},
}


def climb(work: Path, size: Size, *, name: str) -> dict[str, Any]:
    """One method of the table of IISAN, timed and counted (`benchmarks.ladder`), over BERT-base and ViT-base."""
    data = work / "live"
    return rung(name, data if data.exists() else write_live_data(work, size))


# By priority. The keys are the names for `--parts`.
PARTS: dict[str, Part] = {
    "versions": versions,
    "data": write_step_data,
    **{
        f"step {precision} {name}": partial(measure, precision=precision, **way)
        for (name, way), precision in product(WAYS.items(), ("no", "bf16"))
    },
    "floor": floor,
    **{f"ladder {name}": partial(climb, name=name) for name in METHODS},
    "breakdown plain": partial(breakdown, precision="bf16", **WAYS["plain"]),
    "breakdown compiled graphs": partial(breakdown, precision="bf16", **WAYS["compiled graphs"]),
    "residency": residency,
    "captions covers": partial(captions, frames=0),
    "captions clips": partial(captions, frames=5),
    "presets": presets,
}
ALWAYS = ("versions", "data")
# Largest allowed difference of the first losses from those of the plain step in the same precision.
LOSS_TOLERANCE = {"no": 1e-3, "bf16": 2e-2}


def guarded(name: str, work: Path, size: Size, seconds: float) -> dict[str, Any]:
    """The figures of a part, or its error.

    Args:
        name: name of the part.
        work: folder shared by the parts.
        size: sizes of the inputs.
        seconds: time limit of the part.
    """
    if seconds < 1:
        return {"passed": False, "error": "not begun: the time was up"}
    # Processes are forked from one that has imported everything and never used the GPU.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    output = work / "part.json"
    output.unlink(missing_ok=True)
    process = context.Process(target=run_part, args=(name, work, size, output))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        return {"passed": False, "error": f"stopped after {seconds:.0f} s: the time was up"}
    if not output.exists():
        return {"passed": False, "error": f"the process ended with status {process.exitcode}"}
    return dict(json.loads(output.read_text()))


def run_part(name: str, work: Path, size: Size, output: Path) -> None:
    """Writes a part's figures, or its error, into a file."""
    try:
        found = PARTS[name](work, size)
    except Exception:  # any error is recorded, and the other parts run
        found = {"passed": False, "error": traceback.format_exc()}
    output.write_text(json.dumps(found))


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
