"""From a log of up to a billion interactions to a trained and evaluated model: time, memory and disk of every step.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.billion [--interactions 1000000 10000000] [--folder FOLDER]

The log has the shape of MicroLens (`benchmarks.billion_log`). Each step is a process of its own: the generator, `prep ingest`
(whose input is deleted afterwards), `prep audit`, the splits of protocols `paper` and `time`, `prep encode` of imported
features of 64 numbers, and 1,000 training steps with an evaluation of 20,000 sampled users over the whole catalogue.

Mapped files count as resident memory until the kernel needs it; anonymous memory does not go away. So both peaks are
given, sampled five times a second over the process and its descendants, beside the largest size of the folder. Temporary
arrays lie in the folder too (TMPDIR). A size whose estimated disk exceeds the free space is refused.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.billion_log import Log, Sizes, write_log

PEAK_BYTES = 32  # of the folder per interaction; 29.4 were measured in ingest
GIB = 2**30
STEPS, BATCH, RANKED_USERS = 1_000, 64, 20_000
TOWER = "content"
COLUMNS = "user=user,item=item,time=timestamp,title=title"
HEAD = """| interactions | step | wall | CPU | anonymous memory | resident memory | disk |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measures every size, or runs one step in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, default=Path("build/billion"))
    parser.add_argument("--memory-gib", type=float, default=4.0, help="of DuckDB in prep ingest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", choices=sorted(OWN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        OWN[options.step](options)
        return
    print(HEAD, flush=True)
    results = []
    for interactions in options.interactions:
        refuse_too_large(options.folder, interactions)
        try:
            for result in measure_all(options, interactions):
                results.append(result)
                print(line(result), flush=True)
        finally:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(json.dumps(results))


def refuse_too_large(folder: Path, interactions: int) -> None:
    """Ends with a message if the disk has too little space."""
    parent = next(path for path in folder.absolute().parents if path.exists())
    needed, free = interactions * PEAK_BYTES, shutil.disk_usage(parent).free
    if needed > 0.9 * free:
        raise SystemExit(
            f"{interactions:,} interactions need about {needed / GIB:.1f} GiB of disk, and {parent} has {free / GIB:.1f} GiB "
            "free, of which a tenth is left alone; free space, or choose another --folder or fewer --interactions"
        )


def measure_all(options: argparse.Namespace, interactions: int) -> Any:
    """The steps of one size, one after the other; yields what each took."""
    folder = options.folder
    dump, dataset = folder / "dump", folder / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "temporary").mkdir(parents=True)
    prep = [sys.executable, "-m", "prep"]
    features = {
        "file": folder / "features.npy",
        "ids": folder / "features.ids.txt",
        "source": "title",
    }
    imported = [
        part
        for key, value in features.items()
        for part in (f"--features.{TOWER}.{key}", str(value))
    ]
    ingest = ["--layout", "table", "--columns", COLUMNS, "--memory_gib", str(options.memory_gib)]
    commands = {
        "generate": own("generate", options, interactions),
        "ingest": [*prep, "ingest", str(dump), str(dataset), *ingest],
        "audit": [*prep, "audit", str(dataset)],
        "splits paper": own("paper", options, interactions),
        "splits time": own("time", options, interactions),
        "import features": [*prep, "encode", str(dataset), *imported],
        "train and evaluate": own("train", options, interactions),
    }
    for step, command in commands.items():
        yield {"interactions": interactions, "step": step, **measured(command, folder)}
        if step == "ingest":
            shutil.rmtree(dump)


def own(step: str, options: argparse.Namespace, interactions: int) -> list[str]:
    """The command that runs a step of this file."""
    words = [
        "--interactions",
        str(interactions),
        "--folder",
        str(options.folder),
        "--seed",
        str(options.seed),
    ]
    return [sys.executable, "-m", "benchmarks.billion", "--step", step, *words]


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak bytes of a process and its descendants, and the largest size of the folder."""
    started, output = time.perf_counter(), folder / "output.txt"
    environment = {**os.environ, "TMPDIR": str((folder / "temporary").absolute())}
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        peaks = dict.fromkeys(("anonymous", "resident", "disk"), 0)
        ended, status, usage = 0, 0, None
        looked = 0.0
        while not ended:
            time.sleep(0.2)
            pids = tree(process.pid)
            parts = [memory(pid) for pid in pids]
            now = {key: sum(part[key] for part in parts) for key in ("anonymous", "resident")}
            if time.perf_counter() - looked > 1:  # a folder has many files
                now["disk"] = size_of(folder) + sum(map(unlinked_bytes, pids))
                looked = time.perf_counter()
            peaks = {key: max(value, now.get(key, 0)) for key, value in peaks.items()}
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace").strip()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{text[-3000:]}")
    print(text.splitlines()[-1] if text else "", file=sys.stderr, flush=True)
    assert usage is not None
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        **{f"{key}_bytes": value for key, value in peaks.items()},
    }


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return [pid]
    return [pid, *(below for child in children for below in tree(int(child)))]


def memory(pid: int) -> dict[str, int]:
    """Bytes of anonymous memory, and of resident memory."""
    found = dict.fromkeys(("anonymous", "resident"), 0)
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return found
    names = {"RssAnon:": "anonymous", "VmRSS:": "resident"}
    for words in map(str.split, status):
        if words and words[0] in names:
            found[names[words[0]]] = int(words[1]) * 1024
    return found


def unlinked_bytes(pid: int) -> int:
    """Bytes of mapped files without a name, which `size_of` does not see."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    ranges = (line.split(maxsplit=1)[0].split("-") for line in maps if line.endswith("(deleted)"))
    return sum(int(stop, 16) - int(start, 16) for start, stop in ranges)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, as they take space on the disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_blocks * 512
            except OSError:  # it has just been removed
                continue
    return total


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    sizes = (f"{result[f'{key}_bytes'] / GIB:.2f} GiB" for key in ("anonymous", "resident", "disk"))
    seconds = (f"{result[key]:,.1f} s" for key in ("seconds", "cpu_seconds"))
    return f"| {result['interactions']:,} | {result['step']} | {' | '.join([*seconds, *sizes])} |"


def generate(options: argparse.Namespace) -> None:
    """Writes the dump."""
    (interactions,) = options.interactions
    dump = options.folder / "dump"
    write_log(Log(Sizes.of(interactions), seed=options.seed), dump)
    for name in ("features.npy", "features.ids.txt"):
        (dump / name).rename(options.folder / name)


def split(options: argparse.Namespace) -> None:
    """Makes the splits of a protocol."""
    import toolkit

    print(toolkit.open_dataset(options.folder / "dataset").splits(options.step))


def train(options: argparse.Namespace) -> None:
    """Trains 1,000 steps, and evaluates 20,000 users."""
    import numpy as np
    from accelerate import Accelerator

    from models.config import parse_run_config
    from models.prepare import prepare
    from models.ranking.catalogue import encode_catalogue
    from models.ranking.ranks import rank_targets
    from toolkit import metrics

    words = {"data": options.folder / "dataset", "output": options.folder / "run", "item": "pooled"}
    words |= {"towers": f"[{TOWER}]", "train.batch_size": BATCH, "train.seed": options.seed}
    config = parse_run_config(
        [part for key, value in words.items() for part in (f"--{key}", str(value))]
    )
    training = prepare(config, Accelerator(cpu=True))
    started = time.perf_counter()
    losses = [float(training.step(batch)) for batch in islice(training.batches.epoch(1), STEPS)]
    trained = time.perf_counter() - started
    test = training.splits.test
    count = min(RANKED_USERS, len(test))
    chosen = np.random.default_rng(options.seed).choice(len(test), count, replace=False)
    model = training.model.eval()
    started = time.perf_counter()
    catalogue = encode_catalogue(model, training.features, test.catalogue, device="cpu")
    ranks = rank_targets(model, catalogue, test.select(chosen))
    ranked = time.perf_counter() - started
    hits = metrics.summarise(ranks)["HR@10"]["value"]
    print(
        f"{len(losses):,} steps of {BATCH} in {trained:.1f} s, loss {losses[0]:.3f} to {losses[-1]:.3f}; {count:,} users over "
        f"{test.ranked_items:,} items in {ranked:.1f} s, HR@10 {hits:.5f}"
    )


OWN = {"generate": generate, "paper": split, "time": split, "train": train}

if __name__ == "__main__":
    main()
