"""Ingest of 1, 10 and 100 million interactions: rows per second, and peak memory of the process tree.

    python benchmarks/ingest.py [--rows 1000000 10000000 100000000] [--folder build/ingest]

Every dump is synthetic, in the MicroLens layout: ten interactions per user, at most 1 million items with skewed
popularity, times in random order. Three commands are measured, each in its own process: `prep ingest`,
`prep ingest --k_core 5`, and the splits of the resulting dataset. The baseline does the same in pandas (read, number,
sort, write), up to `--pandas-up-to` rows.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1024**2
PAGE_BYTES = 4096

PANDAS = """
import sys
import pandas as pd
pairs, titles, out = sys.argv[1:]
log = pd.read_csv(pairs, dtype={"user": str, "item": str})
items = pd.read_csv(titles, dtype=str)
log["number"] = pd.Index(items["item"]).get_indexer(log["item"]) + 1
log["code"] = pd.factorize(log["user"])[0] + 1
log = log.sort_values(["code", "timestamp"], kind="stable")
log["position"] = log.groupby("code").cumcount()
log.reset_index(drop=True).to_feather(out)
"""
SPLITS = """
import sys, toolkit
print(toolkit.open_dataset(sys.argv[1]).splits())
"""


def make_dump(folder: Path, rows: int) -> None:
    """Writes a dump with the given number of interactions."""
    import duckdb

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    users, items = rows // 10, min(1_000_000, rows // 10)
    database = duckdb.connect(config={"memory_limit": "2GiB", "temp_directory": str(folder / "t")})
    database.sql("SELECT setseed(0.5)").fetchall()
    database.execute(
        f"COPY (SELECT range + 1 AS item, 'title of item ' || range AS title FROM range({items})) "
        f"TO '{folder}/M_titles.csv' (HEADER)"
    ).fetchall()
    database.execute(
        f'COPY (SELECT 1 + floor({users} * random())::BIGINT AS "user", '
        f"1 + floor({items} * pow(random(), 3))::BIGINT AS item, "
        f"1600000000000 + floor(1e11 * random())::BIGINT AS timestamp FROM range({rows})) "
        f"TO '{folder}/M_pairs.csv' (HEADER)"
    ).fetchall()


def measure(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory, in MiB, of a process and its descendants."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(resident_bytes(pid) for pid in tree(process.pid)))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {"seconds": time.perf_counter() - started, "peak_mib": peak / MIB}


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return [pid]
    return [pid, *(below for child in children for below in tree(int(child)))]


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def main() -> None:
    """Measures and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**7, 10**8])
    parser.add_argument(
        "--repeats", type=int, default=1, help="number of runs; the table has their medians"
    )
    parser.add_argument(
        "--pandas-up-to",
        type=int,
        default=10**7,
        help="largest number of rows for the pandas baseline",
    )
    parser.add_argument("--folder", type=Path, default=Path("build/ingest"))
    options = parser.parse_args()
    results = []
    print(
        f"{'rows':>11} {'what':<10} {'seconds':>8} {'us a row':>8} {'rows/s':>11} {'peak MiB':>9}"
    )
    for rows in options.rows:
        dump, out = options.folder / "dump", options.folder / "out"
        make_dump(dump, rows)
        ingest = [sys.executable, "-m", "prep", "ingest", str(dump), str(out)]
        pandas = [sys.executable, "-c", PANDAS, f"{dump}/M_pairs.csv", f"{dump}/M_titles.csv"]
        commands = {
            "k_core 5": [*ingest, "--k_core", "5"],
            "ingest": ingest,
            "splits": [sys.executable, "-c", SPLITS, str(out)],
        }
        if rows <= options.pandas_up_to:
            commands["pandas"] = [*pandas, str(options.folder / "pandas.arrow")]
        for what, command in commands.items():
            runs = []
            for _ in range(options.repeats):
                if what != "splits":
                    shutil.rmtree(out, ignore_errors=True)
                runs.append(measure(command))
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = max(run["peak_mib"] for run in runs)
            results.append({"rows": rows, "what": what, "seconds": seconds, "peak_mib": peak})
            print(
                f"{rows:>11,} {what:<10} {seconds:>8.1f} {1e6 * seconds / rows:>8.2f} "
                f"{rows / seconds:>11,.0f} {peak:>9,.0f}",
                flush=True,
            )
    shutil.rmtree(options.folder)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
