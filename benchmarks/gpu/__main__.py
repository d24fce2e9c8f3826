"""All measurements that need a GPU, in one call (`benchmarks/gpu.sh`).

    python -m benchmarks.gpu --output FILE.json [--parts step floor …] [--dataset FOLDER] [--seconds 530] [--toy]

Each part runs in its own process, within its own time limit and the remaining time. If a part fails or hangs, its message is
recorded, the other parts run, and the exit status is 1. The file is rewritten after every part. `--toy` rehearses every part with tiny sizes, also
on a CPU, where CUDA graphs are only simulated. Use it to find mistakes before you use a GPU.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.made import PAPER, TOY
from benchmarks.gpu.parts import ALWAYS, PARTS, compare_losses, guarded, score_ladder, summary
from toolkit.json_files import write_json


def main() -> None:
    """Runs the parts and writes one JSON; exits 1 if one failed."""
    names = sorted({name.split()[0] for name in PARTS} - set(ALWAYS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--dataset", type=Path, help="the demo's dataset, for the part presets; built if absent"
    )
    parser.add_argument(
        "--seconds", type=float, default=530, help="time limit for all parts together"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1,
        help="factor of every part's time limit, for a rehearsal on a busy machine",
    )
    parser.add_argument(
        "--toy", action="store_true", help="rehearse with tiny sizes, also on a CPU"
    )
    options = parser.parse_args()
    report = run(options)
    failed = [n for n, found in report["parts"].items() if found.get("passed") is False]
    if failed:
        sys.exit(f"failed: {failed}")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the requested parts and rewrites the file after each."""
    until = time.monotonic() + options.seconds
    report: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "toy": options.toy, "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.dataset:
            (work / "demo").symlink_to(options.dataset.resolve())
        for name, part in PARTS.items():
            if name.split()[0] not in (*ALWAYS, *options.parts):
                continue
            started = time.monotonic()
            part = part._replace(limit_seconds=options.patience * part.limit_seconds)
            found = guarded(part, work, TOY if options.toy else PAPER, until - started)
            found["part_seconds"] = round(time.monotonic() - started, 1)
            report["parts"][name] = found
            compare_losses(report["parts"])
            score_ladder(report["parts"])
            write_json(options.output, report)
            print(f"{name}: {summary(found)}", flush=True)
            if found.get("device") == "cpu" and not options.toy:
                sys.exit(
                    "no GPU here; benchmarks/gpu.sh is for a machine that has one, --toy for any"
                )
    print(json.dumps(report["parts"]["versions"]))
    return report


if __name__ == "__main__":
    main()
