"""Seconds of a full evaluation of content: Versa, the plain reference, and the figures of published code.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.rank --work FOLDER [--layers all]

Uses the run that `benchmarks/train.py` trained in the same folder. The reference encodes every item and ranks a sample
of users. Its time is the first plus the second scaled to all users. The metrics of both must be equal on the sampled
users whose target shares its content with no other item: sorting breaks ties, Versa shares them. `benchmarks.peers`
measures rankings of ids beside RecBole's.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import models
from benchmarks.pair import make_pair
from benchmarks.reference.ranking import encode_items, rank_users
from benchmarks.train import NAMES, load, prepared, trained_run
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.runs.trained import TrainedRecommender
from toolkit import metrics

PUBLIC_SECONDS = (
    46.0  # an evaluation by the public IISAN code, the faster of two measurements (issue 6)
)
ROUNDS = 7


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--layers", default="all", help="layers of MiniLM; the embedding output is always kept too"
    )
    parser.add_argument(
        "--users", type=int, default=300, help="number of users that the reference ranks"
    )
    parser.add_argument("--epochs", type=int, default=5, help="epochs of the run")
    options = parser.parse_args()
    dataset, files = prepared(options.work, options.layers)
    side = models.load(trained_run(dataset, options.work, "two-towers", options.epochs))
    ranks, seconds = evaluate_versa("side network", side)
    reference = evaluate_reference(side, files, ranks, options.users)
    against = min(reference, PUBLIC_SECONDS)
    print(f"side network: {against / seconds:.1f} times as fast as {against:.1f} s (goal 15)")


def evaluate_versa(what: str, trained: TrainedRecommender) -> tuple[NDArray[np.float64], float]:
    """Test ranks, and the median seconds of a full evaluation: encoding the catalogue and ranking all users."""
    started = time.perf_counter()
    trained.features.same_as()
    once = time.perf_counter() - started
    encoding, ranking, busy = [], [], time.process_time()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        catalogue = encode_catalogue(
            trained.model, trained.features, trained.splits.catalogue, device="cpu"
        )
        encoded = time.perf_counter()
        ranks = rank_targets(trained.model, catalogue, trained.splits.test)
        encoding.append(encoded - started)
        ranking.append(time.perf_counter() - encoded)
    busy = (time.process_time() - busy) / ROUNDS
    parts = statistics.median(encoding), statistics.median(ranking)
    print(
        f"Versa, {what}: catalogue {parts[0]:.2f} s, {len(ranks):,} users {parts[1]:.2f} s, together "
        f"{sum(parts):.2f} s (medians of {ROUNDS}; {busy:.2f} CPU-seconds); equal contents found once a run {once:.2f} s; {load()}",
        flush=True,
    )
    return ranks, sum(parts)


def evaluate_reference(
    trained: TrainedRecommender, files: Path, ranks: NDArray[np.float64], users: int
) -> float:
    """Seconds of the reference's evaluation, which ranks a sample of users. Exits if a metric differs."""
    pair = make_pair(trained.dataset.path, files, NAMES, batch_size=64, dropout=0.0)
    pair.reference.copy_weights(trained.model.state_dict())
    pair.reference.eval()
    test = trained.splits.test
    rows = np.sort(np.random.default_rng(0).choice(len(test), users, replace=False))
    busy, started = time.process_time(), time.perf_counter()
    items = encode_items(pair.reference, files, trained.dataset.items.num_rows)
    encoded = time.perf_counter()
    found = rank_users(pair.reference, items, trained.splits.catalogue, test, rows)
    a_user = (time.perf_counter() - encoded) / users
    busy = time.process_time() - busy
    seconds = encoded - started + a_user * len(test)
    same_as = trained.features.same_as().numpy()
    sharing = np.bincount(same_as[trained.splits.catalogue], minlength=len(same_as))
    alone = sharing[same_as[test.targets[rows]]] == 1
    ours, theirs = ranks[rows][alone], np.array(found)[alone]
    print(
        f"reference: items {encoded - started:.1f} s, {users} users {1e3 * a_user:.2f} ms each, so {seconds:.1f} s "
        f"for all ({busy:.1f} CPU-seconds of what ran); {alone.sum()} of them have a target of its own content, HR@10 {100 * metrics.hit_rate(theirs, 10).mean():.2f}, "
        f"{(ours != theirs).sum()} other ranks; {load()}",
        flush=True,
    )
    differ = [
        f"{name}@{k}"
        for name, metric in metrics.METRICS.items()
        for k in metrics.CUTOFFS
        if not np.array_equal(metric(ours, k), metric(theirs, k))
    ]
    if differ:
        raise SystemExit(f"metrics that differ: {differ}")
    return seconds


if __name__ == "__main__":
    main()
