"""What must stay in bounded memory on the GPU: the gradient cache of encoders that train, and ranking of a large catalogue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks.gpu.copies import rest, seconds_of
from benchmarks.gpu.made import TOWERS, Size, live_data
from models import IdEmbedding, Recommender, SASRec
from models.config import parse_run_config
from models.inputs.features import ItemNumbers
from models.machine.recompute import Chunks
from models.prepare import prepare
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_and_list
from toolkit import open_dataset

ITEMS_AT_ONCE = 64
GROWTH = 1.1  # of the memory from few items to all
EMBEDDING, LENGTH, LISTED = 64, 10, 10


def gradient_cache(work: Path, size: Size) -> dict[str, Any]:
    """Peak memory of a step of full fine-tuning beyond its weights and gradients, by number of distinct items."""
    words = [
        "--config=fft",
        f"--data={live_data(work, size)}",
        "--output=none",
        "--train.trackers=[]",
    ]
    words += [f"--towers=[{', '.join(TOWERS)}]", f"--train.items_at_once={ITEMS_AT_ONCE}"]
    training = prepare(parse_run_config(words), Accelerator(mixed_precision="bf16"))
    model, features = training.model.train(), training.features
    everything = torch.arange(1, size.live_items + 1)
    few = everything[: min(size.asked, size.live_items // 2)]

    def step(items: torch.Tensor, at_once: int) -> Callable[[], None]:
        chunks = Chunks(tuple(map(features.gather, items.split(at_once))))

        def work() -> None:
            with torch.autocast(training.batches.device.type, dtype=torch.bfloat16):
                model.encode_items(chunks).square().mean().backward()

        return work

    step(few[:1], 1)()  # allocates the gradients
    peaks = {
        f"{len(few)} items, all at once": peak_bytes(step(few, len(few))),
        f"{len(few)} items": peak_bytes(step(few, ITEMS_AT_ONCE)),
        f"{len(everything)} items": peak_bytes(step(everything, ITEMS_AT_ONCE)),
    }
    _, small, large = peaks.values()
    growth = large / small if small and large else None
    return {
        "items_at_once": ITEMS_AT_ONCE,
        "peak_bytes": peaks,
        "growth": growth,
        "passed": growth is None or growth <= GROWTH,
    }


def million_items(work: Path, size: Size) -> dict[str, Any]:
    """Seconds and peak memory of ranking all test users over a large catalogue, with and without lists of ten items."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    count = size.catalogue
    torch.manual_seed(0)
    sequences = SASRec(embedding_dim=EMBEDDING, max_len=LENGTH)
    model = Recommender(IdEmbedding(count, embedding_dim=EMBEDDING), sequences).to(device).eval()
    everything = np.arange(1, count + 1, dtype=np.int32)
    catalogue = encode_catalogue(
        model, ItemNumbers(count, device=device), everything, device=device
    )
    test = open_dataset(work / "data").splits(max_len=LENGTH).test
    found: dict[str, Any] = {"items": count, "users": len(test)}
    for name, k in {"ranks": 0, "ranks_and_lists": LISTED}.items():

        def rank(k: int = k) -> None:
            rank_and_list(model, catalogue, test, k=k)

        found[f"{name}_peak_bytes"] = peak_bytes(rank)
        found[f"{name}_seconds"] = seconds_of(rank, rounds=size.epochs)
        found[f"{name}_ns_a_score"] = 1e9 * found[f"{name}_seconds"] / (count * len(test))
    return found


def peak_bytes(work: Callable[[], Any]) -> int | None:
    """Memory that some work allocates on the GPU beyond what is allocated before; None without a GPU."""
    if not torch.cuda.is_available():
        work()
        return None
    rest()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    rest()
    return torch.cuda.max_memory_allocated() - before
