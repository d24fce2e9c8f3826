"""Clips per second of the frames step with one process, two processes and Ray, on a synthetic dump.

    python benchmarks/workers.py [--items 200] [--repeats 3] [--output FILE.json]

Each run starts from nothing. Its time includes the start of its processes or its cluster. A run on a quarter of the clips
separates the start: `steady` is the speed on the other three quarters.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from prep import MediaConfig, PrepConfig
from prep.executors import choose
from prep.media import media_steps
from prep.steps.pipeline import run_step
from prep.synth import write_dump

SHARD_ROWS = 25  # small, so that two workers share the few clips evenly
CASES = {
    "1 process": PrepConfig(media=MediaConfig(workers=1)),
    "2 processes": PrepConfig(media=MediaConfig(workers=2)),
    "ray, 2 workers": PrepConfig(media=MediaConfig(workers=2), executor="ray"),
}


def main() -> None:
    """Runs every case, prints a table, and writes JSON if `--output` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        dump = Path(name) / "dump"
        write_dump(dump, items=options.items, users=100, progress=False)
        seconds = measure(dump, options.items, options.repeats, CASES)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "clips": options.items,
        "repeats": options.repeats,
        "cases": {case: speeds(times, options.items) for case, times in seconds.items()},
    }
    print("| executor | clips/s, with start | clips/s, steady |\n|---|---|---|")
    for case, speed in report["cases"].items():
        print(f"| {case} | {speed['whole']:.1f} | {speed['steady']:.1f} |")
    print(json.dumps(report, indent=2))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def measure(
    dump: Path, items: int, repeats: int, cases: dict[str, PrepConfig]
) -> dict[str, dict[int, list[float]]]:
    """Seconds of each case by number of clips. The cases alternate, to cancel drift."""
    seconds: dict[str, dict[int, list[float]]] = {
        case: {items: [], items // 4: []} for case in cases
    }
    for _ in range(repeats):
        for case, config in cases.items():
            for count, times in seconds[case].items():
                times.append(timed(dump, config, count))
    return seconds


def timed(dump: Path, config: PrepConfig, count: int) -> float:
    """Seconds of the frames step on the first `count` clips."""
    step = media_steps(dump, config.media)["frames"]
    if step is None:
        raise SystemExit(f"{dump} has no clips")
    ids = sorted(path.stem for path in (dump / "videos").iterdir())[:count]
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        counts = run_step(
            Path(out),
            replace(step, shard_rows=SHARD_ROWS),
            pa.table({"item_id": ids}),
            execute=choose(config),
        )
        elapsed = time.perf_counter() - started
    if counts != {"ok": count}:
        raise SystemExit(f"not all clips were decoded: {counts}")
    return elapsed


def speeds(times: dict[int, list[float]], items: int) -> dict[str, float]:
    """Medians over the repeats, in clips per second.

    Raises:
        SystemExit: if all clips take hardly longer than a quarter of them, so that the start of the workers is all there is.
    """
    few = items // 4
    whole, start = statistics.median(times[items]), statistics.median(times[few])
    if whole < 1.2 * start:
        raise SystemExit(
            f"{items} clips took {whole:.1f} s and {few} took {start:.1f} s, which is the start of the workers; use more clips"
        )
    return {"whole": items / whole, "steady": (items - few) / (whole - start)}


if __name__ == "__main__":  # worker processes import this file again
    main()
