"""How a run went: its loss by step and its validation by epoch, from log.jsonl."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from models.runs.files import log_lines

POINTS = 240  # of a curve at most; more would not be told apart
METRICS = ("HR@10", "NDCG@10")


def describe_curves(run: Path) -> dict[str, Any]:
    """Points of the run's curves.

    Args:
        run: its folder.

    Returns:
        `loss`: [step, loss] pairs, each the mean of `loss_lines` lines of the log; `valid`: by metric, [epoch,
        value] pairs; `best_epoch`, None if the log does not tell; `epoch_seconds`, the median over epochs, None
        where there is none.

    Raises:
        UserError: if a line of the log is not as training writes it.
    """
    lines = log_lines(run)
    losses = np.array([[e["step"], e["loss"]] for e in lines if "loss" in e], np.float64)
    epochs = [entry for entry in lines if "valid" in entry]
    at_once = max(1, -(-len(losses) // POINTS))
    seconds = [entry["train_seconds"] for entry in epochs if "train_seconds" in entry]
    best = [entry["best_epoch"] for entry in lines if "best_epoch" in entry]
    return {
        "loss": thinned(losses.reshape(-1, 2), at_once),
        "loss_lines": at_once,
        "valid": {
            name: [[entry["epoch"], entry["valid"][name]] for entry in epochs] for name in METRICS
        },
        "best_epoch": best[-1] if best else None,
        "epoch_seconds": statistics.median(seconds) if seconds else None,
    }


def thinned(points: np.ndarray, at_once: int) -> list[list[float]]:
    """Means of so many neighbouring points at a time, the last maybe of fewer.

    >>> thinned(np.array([[1.0, 8.0], [3.0, 4.0], [4.0, 1.0]]), 2)
    [[2.0, 6.0], [4.0, 1.0]]
    """
    starts = range(0, len(points), at_once)
    return [points[start : start + at_once].mean(axis=0).tolist() for start in starts]
