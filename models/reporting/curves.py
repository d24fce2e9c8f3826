"""Learning curves of a run: loss by step and validation metrics by epoch, from log.jsonl."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from models.runs.files import log_lines

POINTS = 240  # maximum points per curve; a plot does not resolve more
METRICS = ("HR@10", "NDCG@10")


def describe_curves(run: Path) -> dict[str, Any]:
    """Points of the run's curves.

    Args:
        run: run folder.

    Returns:
        `loss`: [step, loss] pairs, each the mean of `loss_lines` log entries; `valid`: by metric, [epoch, value]
        pairs; `best_epoch`, None if not logged; `epoch_seconds`, the median over epochs, None if not logged.

    Raises:
        UserError: if a line of the log is invalid.
    """
    lines = log_lines(run)
    losses = np.array([[e["step"], e["loss"]] for e in lines if "loss" in e], np.float64)
    epochs = [entry for entry in lines if "valid" in entry]
    lines_per_point = max(1, -(-len(losses) // POINTS))
    seconds = [entry["train_seconds"] for entry in epochs if "train_seconds" in entry]
    best = [entry["best_epoch"] for entry in lines if "best_epoch" in entry]
    return {
        "loss": thinned(losses.reshape(-1, 2), lines_per_point),
        "loss_lines": lines_per_point,
        "valid": {
            name: [[entry["epoch"], entry["valid"][name]] for entry in epochs] for name in METRICS
        },
        "best_epoch": best[-1] if best else None,
        "epoch_seconds": statistics.median(seconds) if seconds else None,
    }


def thinned(points: np.ndarray, size: int) -> list[list[float]]:
    """Means of groups of `size` neighbouring points; the last group may be smaller.

    >>> thinned(np.array([[1.0, 8.0], [3.0, 4.0], [4.0, 1.0]]), 2)
    [[2.0, 6.0], [4.0, 1.0]]
    """
    starts = range(0, len(points), size)
    return [points[start : start + size].mean(axis=0).tolist() for start in starts]
