"""Items on a circle, where the next item follows from the content, and a run that has seen some of them."""

from pathlib import Path

import numpy as np
from tiny_dataset import write_dataset

from models.config import parse_run_config
from models.train import train

PLACES = 48
NEW = list(range(0, PLACES, 6))  # in no history
KNOWN = [place for place in range(PLACES) if place not in NEW]
_FAST = ["--train.rates.base=5e-3", "--train.rates.side_block=5e-3", "--train.rates.text_head=5e-3",
         "--side.embedding_dim=32", "--sequence.dropout=0", "--sequence.max_len=5"]  # fmt: skip


def states() -> np.ndarray:
    """(PLACES, 3, 16): waves around the circle, mixed; neighbours have states alike."""
    angles = 2 * np.pi * np.arange(PLACES) / PLACES
    waves = [wave(n * angles) for n in (1, 2, 3, 4) for wave in (np.cos, np.sin)]
    mixing = np.random.default_rng(0).normal(size=(3, 8, 16))
    return np.einsum("wp,kwd->pkd", np.stack(waves), mixing)


def write_circle(folder: Path) -> Path:
    """A dataset of all places, p0 to p47; users step from each known one to the next known."""
    rng = np.random.default_rng(1)
    walks = [
        [KNOWN[(start + step) % len(KNOWN)] + 1 for step in range(length)]
        for start, length in zip(rng.integers(0, 40, 200), rng.integers(5, 12, 200), strict=True)
    ]
    ids = [f"p{place}" for place in range(PLACES)]
    return write_dataset(folder, walks, items=PLACES, towers={"title": states()}, ids=ids)


def train_on(data: Path, preset: str, output: Path, *, epochs: int) -> Path:
    """A run folder."""
    words = ["--config", preset, "--data", str(data), "--output", str(output), *_FAST]
    train(parse_run_config([*words, f"--train.epochs={epochs}"]))
    return output
