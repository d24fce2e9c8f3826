"""Flips one random bit in one file of a dataset at a time, and counts how often `prep check` detects it.

    python -m benchmarks.flips DATASET [--flips 300] [--seed 0]

The dataset is copied, not changed. Half of the flips are anywhere in a file. The other half are in its first 2,000 and
last 1,500 bytes, which hold the Arrow schema and footer. Each check runs in its own process, because a reader that
follows a damaged offset could crash. Every flip must be `found`.
"""

import argparse
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import prep
from toolkit.json_files import MANIFEST

OUTCOMES = ("found", "not found", "traceback", "signal")


def flips(files: list[Path], count: int, seed: int) -> Iterator[tuple[Path, int, int]]:
    """Random offsets and single-bit masks; the files alternate."""
    dice = random.Random(seed)
    for flip in range(count):
        path = files[flip % len(files)]
        size = path.stat().st_size
        ends = (dice.randrange(min(2000, size)), size - 1 - dice.randrange(min(1500, size)))
        place = dice.randrange(size) if dice.randrange(2) else dice.choice(ends)
        yield path, place, 1 << dice.randrange(8)


def outcome(dataset: Path) -> str:
    """The outcome of `prep check` on a dataset, in a fork."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(1 if prep.check(dataset) else 0)
        except BaseException:
            os._exit(2)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "signal"
    return ("not found", "found", "traceback")[os.WEXITSTATUS(status)]


def trial(dataset: Path, count: int, seed: int) -> dict[str, Counter[str]]:
    """Outcomes by folder of the flipped file, in a copy of the dataset."""
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(dataset, Path(scratch) / "data"))
        files = [*sorted(folder.rglob("*.arrow")), folder / MANIFEST]
        for path, place, mask in flips(files, count, seed):
            whole = path.read_bytes()
            path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
            table = MANIFEST if path.name == MANIFEST else str(path.parent.relative_to(folder))
            counts.setdefault(table, Counter())[outcome(folder)] += 1
            path.write_bytes(whole)
    return counts


def main() -> None:
    """Prints a table of outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if reasons := prep.check(options.dataset):
        raise SystemExit(f"the dataset is broken before any flip: {reasons[0]}")
    counts = trial(options.dataset, options.flips, options.seed)
    total = sum(counts.values(), Counter[str]())
    print(f"{'table':24}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for table, row in [*sorted(counts.items()), ("all", total)]:
        print(f"{table:24}" + "".join(f"{row[name]:>11}" for name in OUTCOMES))


if __name__ == "__main__":
    main()
