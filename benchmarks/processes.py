"""Speed-up of training, evaluation and preparation by a second process, each with one thread.

    python -m benchmarks.processes [--counts 1 2] [--users 12076] [--clips 1600] [--parts training prep] [--output FILE.json]

`training`: recipe `paper` with two towers of 7 x 384 random states, batch 64 per process, all processes connected by gloo
as `accelerate launch` connects them. Seconds of a training epoch and of an evaluation (catalogue encoded, all users ranked)
after a warm-up of each. `prep`: clips per second of the step `frames` over Ray workers of one cluster, start left out.

Efficiency is speed-up divided by the number of processes. Processes that share their cores with other programs wait for one
another, so a busy machine lowers it. `CPU efficiency` does not depend on that: it is the CPU seconds of one process divided by
those of all processes together, and shows what is computed twice or spent on communication.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu.made import TOWERS, Size, write_step_data
from benchmarks.workers import measure as measure_clips
from benchmarks.workers import speeds
from models.config import parse_run_config
from models.efficiency import time_epoch
from models.machine.launcher import start_accelerator
from models.prepare import prepare, settled
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from prep import MediaConfig, PrepConfig
from prep.synth import write_dump
from toolkit import ray_cluster

Figures = dict[str, dict[str, float]]  # by work: seconds, and CPU seconds of all processes together


def main() -> None:
    """Measures the parts, prints a table for each, and writes JSON if `--output` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 2], help="numbers of processes"
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--users", type=int, default=Size.users)
    parser.add_argument("--items", type=int, default=Size.items)
    parser.add_argument("--width", type=int, default=384, help="of the random states")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs and evaluations")
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            found = PARTS[part](Path(folder), options)
            report[part] = compared(found)
            report["load_average"] = round(os.getloadavg()[0], 1)
            print(table(report[part]), flush=True)
    print(json.dumps(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def training(work: Path, options: argparse.Namespace) -> dict[int, Figures]:
    """By number of processes: seconds of an epoch and of an evaluation."""
    size = Size(users=options.users, items=options.items, width=options.width)
    write_step_data(work, size)
    return {count: together(work, count, options.rounds) for count in options.counts}


def together(work: Path, count: int, rounds: int) -> Figures:
    """Medians of what the processes measure; CPU seconds are added up over the processes."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [(work, rank, count, port, rounds) for rank in range(count)]
    processes = [context.Process(target=one_process, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if failed := [process.exitcode for process in processes if process.exitcode]:
        raise SystemExit(f"{count} processes: exit status {failed}")
    measured = [json.loads((work / f"{count}-{rank}.json").read_text()) for rank in range(count)]
    return {
        what: {
            "seconds": statistics.median(measured[0][what]["seconds"]),
            "cpu_seconds": sum(statistics.median(one[what]["cpu_seconds"]) for one in measured),
        }
        for what in measured[0]
    }


def one_process(work: Path, rank: int, count: int, port: int, rounds: int) -> None:
    """Trains and evaluates as process `rank` of `count`, and writes its seconds into a file."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}  # fmt: skip
    if count > 1:
        os.environ.update({name: str(value) for name, value in launched.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="1")
    torch.set_num_threads(1)
    words = ["--config=paper", f"--data={work / 'data'}", "--output=none", "--train.trackers=[]"]
    config = settled(parse_run_config([*words, f"--towers=[{', '.join(TOWERS)}]"]))
    accelerator = start_accelerator(mixed_precision="no")
    run = prepare(config, accelerator)
    epochs = iter(range(1, rounds + 2))

    def epoch() -> None:
        run.model.train()
        time_epoch(run.step, run.batches, next(epochs), device=accelerator.device)

    def evaluation() -> None:
        test = run.splits.test
        catalogue = encode_catalogue(run.model.eval(), run.features, test.catalogue, device="cpu")
        rank_targets(run.model, catalogue, test)

    found = {"epoch": timed(epoch, rounds), "evaluation": timed(evaluation, rounds)}
    (work / f"{count}-{rank}.json").write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()


def timed(work: Callable[[], None], rounds: int) -> dict[str, list[float]]:
    """Seconds and CPU seconds of this process in each round, after one that is not timed."""
    seconds, cpu_seconds = [], []
    for _ in range(rounds + 1):
        if dist.is_initialized():
            dist.barrier()
        started, computed = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - computed)
    return {"seconds": seconds[1:], "cpu_seconds": cpu_seconds[1:]}


def preparation(work: Path, options: argparse.Namespace) -> dict[int, Figures]:
    """By number of Ray workers: seconds of the step `frames`, as if all workers had started."""
    dump = work / "dump"
    write_dump(dump, items=options.clips, users=20, progress=False)
    cases = {
        str(count): PrepConfig(media=MediaConfig(workers=count), executor="ray")
        for count in options.counts
    }
    with cluster_of(max(options.counts)):
        seconds = measure_clips(dump, options.clips, options.rounds, cases)
    return {
        int(case): {"frames": {"seconds": options.clips / speeds(found, options.clips)["steady"]}}
        for case, found in seconds.items()
    }


@contextmanager
def cluster_of(cores: int) -> Iterator[None]:
    """A cluster of this machine, which the runs share."""
    ray = ray_cluster.import_ray(local=True)
    ray_cluster.start(num_cpus=cores, object_store_memory=100 * 2**20)
    try:
        yield
    finally:
        ray.shutdown()


def compared(found: dict[int, Figures]) -> dict[str, dict[int, dict[str, float]]]:
    """By work and number of processes: the figures, and efficiency against the smallest number of processes."""
    least = min(found)
    report: dict[str, dict[int, dict[str, float]]] = {}
    for count, figures in found.items():
        for what, one in figures.items():
            before = found[least][what]
            row = {**one, "speed_up": before["seconds"] / one["seconds"]}
            row["efficiency"] = row["speed_up"] * least / count
            if "cpu_seconds" in one:
                row["cpu_efficiency"] = before["cpu_seconds"] / one["cpu_seconds"]
            report.setdefault(what, {})[count] = row
    return report


def table(report: dict[str, dict[int, dict[str, float]]]) -> str:
    """A part's figures as a Markdown table."""
    lines = ["| | processes | seconds | CPU seconds | speed-up | efficiency | CPU efficiency |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for what, rows in report.items():
        for count, row in rows.items():
            cpu, cpu_efficiency = (
                f"{row[key]:{form}}" if key in row else "not measured"
                for key, form in {"cpu_seconds": ".2f", "cpu_efficiency": ".0%"}.items()
            )
            lines.append(f"| {what} | {count} | {row['seconds']:.2f} | {cpu} | {row['speed_up']:.2f} | {row['efficiency']:.0%} | {cpu_efficiency} |")  # fmt: skip
    return "\n".join(lines)


PARTS = {"training": training, "prep": preparation}


if __name__ == "__main__":  # worker processes import this file again
    main()
