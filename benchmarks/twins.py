"""A twin of each paper's main table: the same rows on generated data, with tiny encoders and few epochs, in less than half an hour of one core.

    OMP_NUM_THREADS=1 python -m benchmarks.twins [PAPER …] [--output build/twins] [--epochs N]

Every command is one that you could type; it is printed, then run. A twin is the paper's study with one dataset, one protocol, one
seed, few epochs, popularity and EASE, and in each row what `benchmarks.smaller` makes small. It is written to
OUTPUT/PAPER/study.yaml before it runs, and its report to OUTPUT/PAPER/study/report.html. VL-FAU trains one fold and has F1 per AU.

All papers but VL-FAU share one dump (`prep synth`) whose content is planted: users choose by colour, shape and motion; titles name
the colour, covers show colour and shape, clips show all three. A second dump with other items and users is the source platform
of NineRec and Adapter4Rec. A twin tests the path and orders what is planted; it reproduces no published figure.

A command continues where it was stopped, and a finished paper is printed again without a run. The status is 1 if a row failed.
"""

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml
from transformers.utils.logging import disable_progress_bar

from benchmarks.demo import oracle
from benchmarks.smaller import small, source_of, write_small
from benchmarks.trials import fix_design, markdown, show_interval
from models.study.plan import Method, Plan
from models.study.reading import read_plan
from prep.synth.dump import NAME
from toolkit import open_dataset
from toolkit.console.door import run_command
from toolkit.errors import UserError
from toolkit.json_files import read_json_object, write_json

STUDIES = {
    "iisan-versa": "versa-scenarios",
    "iisan": "iisan",
    "microlens": "microlens",
    "ninerec": "ninerec",
    "mmsr": "mmsr",
    "adapter4rec": "adapter4rec-titles",
    "idvs-morec": "morec-covers",
}
# All rows of these compare each target with one sampled negative, from which few updates learn nothing.
IN_BATCH = ("ninerec", "mmsr", "adapter4rec")
FACES = "vl-fau"
PAPERS = (*STUDIES, FACES)
PLANTED = {"titles": ("colour",), "covers": ("colour", "shape"), "clips": ("colour", "shape", "motion")}  # fmt: skip
METRICS = ("HR@10", "NDCG@10")
GIB = 2**30
COSTS = ("seconds", "cpu_seconds", "peak_bytes")
FACE_SIZE, FACE_EPOCHS = ("--subjects", "24", "--frames", "24"), 20
DATASET = "synthetic"  # the name of the target in a study


@dataclass
class Twin:
    """What a paper's twin led to.

    Args:
        folder: of its files.
        rows: of the table.
        failed: what failed, with its message.
        seconds: of all calls; `cpu_seconds` likewise, which other work on the machine changes less.
        peak_bytes: resident memory of a command and its descendants; shared pages count more than once.
        report: its page.
    """

    folder: Path
    rows: list[list[str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    report: Path | None = None

    def run(self, *words: object) -> bool:
        """Runs `python -m WORDS`, whose output goes to FOLDER/log.txt, and adds its cost; whether it succeeded."""
        command = ["python", "-m", *map(str, words)]
        print("$", shlex.join(command), flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        log_file = self.folder / "log.txt"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command[1:]], stdout=log, stderr=subprocess.STDOUT
            )
            self._watch(process)
        if process.returncode:
            (last, *_) = log_file.read_text(errors="replace").strip().splitlines()[-1:] or [""]
            self.failed.append(f"{words[0]} ended with {process.returncode}: {last}")
        return not process.returncode

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for a process, and adds its cost and that of its descendants to FOLDER/cost.json."""
        started, cpu_seconds, root = time.perf_counter(), {}, psutil.Process(process.pid)
        try:
            while process.poll() is None:
                resident = 0
                with suppress(psutil.Error):  # a process has just ended
                    for one in [root, *root.children(recursive=True)]:
                        cpu_seconds[one.pid] = sum(one.cpu_times()[:2])
                        resident += one.memory_info().rss
                self.peak_bytes = max(self.peak_bytes, resident)
                time.sleep(0.2)
        finally:
            self.seconds += time.perf_counter() - started
            self.cpu_seconds += sum(cpu_seconds.values())
            write_json(self._cost, {key: getattr(self, key) for key in COSTS})

    @property
    def _cost(self) -> Path:
        return self.folder / "cost.json"

    def __post_init__(self) -> None:
        """Begins with the cost of earlier calls."""
        if self._cost.exists():
            vars(self).update(read_json_object(self._cost))

    def shown(self, head: list[str]) -> "Twin":
        """Prints the table with its cost, and returns itself."""
        cost = f"{self.seconds:.0f} s, {self.cpu_seconds:.0f} CPU-s, at most {self.peak_bytes / GIB:.1f} GiB"
        print(f"\n{markdown(head, self.rows)}\n\n{cost}; {self.report}", flush=True)
        return self


def main() -> int:
    """Builds the data, runs the twins and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "papers", nargs="*", metavar="PAPER", help=f"all by default: {', '.join(PAPERS)}"
    )
    parser.add_argument("--output", type=Path, default=Path("build/twins"))
    parser.add_argument("--epochs", type=int, default=6, help="of the studies")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--users", type=int, default=800)
    options = parser.parse_args()
    unknown = set(options.papers) - set(PAPERS)
    if unknown:
        parser.error(f"no paper {', '.join(sorted(unknown))}; known: {', '.join(PAPERS)}")
    disable_progress_bar()  # of saving encoders
    fix_design(options.output, {k: getattr(options, k) for k in ("epochs", "items", "users")})
    papers = options.papers or PAPERS
    twins: dict[str, Twin] = {}
    if set(papers) & set(STUDIES):
        twins["data"] = write_data(options)
        print(f"\nwhat the data hold, in percent\n\n{planted(options)}", flush=True)
    for paper in papers:
        twins[paper] = faces(options) if paper == FACES else twin(paper, options)
    print(f"\n{table_of(twins)}")
    failed = [f"{paper}: {what}" for paper, of in twins.items() for what in of.failed]
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


def table_of(twins: Mapping[str, Twin]) -> str:
    """The papers with rows, cost and report."""
    rows = [
        [
            paper,
            str(len(of.rows) or ""),
            f"{of.seconds:.0f}",
            f"{of.cpu_seconds:.0f}",
            f"{of.peak_bytes / GIB:.1f}",
            str(of.report or ""),
        ]
        for paper, of in twins.items()
    ]
    return markdown(["paper", "rows", "seconds", "CPU-s", "peak GiB", "report"], rows)


def write_data(options: argparse.Namespace) -> Twin:
    """The shared dataset, the source platform and the tiny encoders; existing ones are reused."""
    data = Twin(options.output)
    size = ("--items", options.items, "--users", options.users)
    # Source: encoders that train read it alone, so it needs no states. Target: all that a row may read.
    for seed, (name, step, last) in enumerate(
        (("target", "build", "report.json"), ("source", "ingest", "dataset.json"))
    ):
        dump, dataset = options.output / f"{name}-dump", options.output / name
        if (dataset / last).exists():
            continue
        if not dump.exists():
            data.run("prep", "synth", dump, *size, "--seed", seed)
        if not data.failed:
            titles = name_colours(dump)
            if name == "target":
                write_small(options.output, words_of(titles))
            data.run("prep", step, dump, dataset)
        if data.failed:
            raise UserError("; ".join(data.failed))
    return data


def name_colours(dump: Path) -> list[str]:
    """Shortens each title of a dump to its first word, which hardly tells anything, after the item's colour; returns them.

    More items with one title would tie, and a tie of twenty shares a middle rank that may count as a hit.
    """
    path = dump / f"{NAME}_titles.csv"
    with path.open(encoding="utf-8", newline="") as file:
        titles = {row["item"]: row["title"] for row in csv.DictReader(file)}
    for item in read_json_object(dump / "truth.json")["items"]:
        lead = f"{item['colour']} "
        titles[item["id"]] = lead + titles[item["id"]].removeprefix(lead).split()[0]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("item", "title"), *titles.items()])
    return list(titles.values())


def words_of(titles: Sequence[str]) -> list[str]:
    """The words and signs of titles in lower case, sorted."""
    return sorted({word for title in titles for word in re.findall(r"\w+|[^\w\s]", title.lower())})


def planted(options: argparse.Namespace) -> str:
    """What the best recommender that sees titles, covers or clips alone would reach on the target, as a table."""
    dump, dataset = options.output / "target-dump", options.output / "target"
    splits = open_dataset(dataset).splits()
    found = {name: oracle(dump, dataset, splits, *seen) for name, seen in PLANTED.items()}
    rows = [
        [name, *(show_interval(of[metric]) for metric in METRICS)] for name, of in found.items()
    ]
    chance = f"{1000 / len(splits.catalogue):.2f}"
    return markdown(["knows", *METRICS], [*rows, ["nothing (chance)", chance, ""]])


def adapted(paper: str, plan: Plan, options: argparse.Namespace, source: Path) -> Plan:
    """A paper's study with one dataset, protocol and seed, few epochs, small methods, popularity and EASE.

    Args:
        paper: a key of `STUDIES`.
        plan: the paper's study.
        options: output folder and epochs.
        source: run that methods with `init_from` begin with.
    """
    more = settings_of(paper)
    methods = {name: small(method, options.output, more) for name, method in plan.methods.items()}
    for method in methods.values():
        if method.settings.get("init_from"):
            method.settings["init_from"] = str(source)
    baselines = {name: Method([name]) for name in ("popularity", "ease")}
    return replace(
        plan,
        datasets={DATASET: str(options.output / "target")},
        protocols=plan.protocols[:1],
        seeds=[1],
        epochs=options.epochs,
        patience=options.epochs,
        methods=methods | {name: own for name, own in baselines.items() if name not in methods},
    )


def settings_of(paper: str) -> dict[str, Any]:
    """Settings of all rows of a paper beside those of `benchmarks.smaller`."""
    return {"train.loss": "in-batch"} if paper in IN_BATCH else {}


def written(plan: Plan, lead: str) -> str:
    """A plan as its file."""
    methods = {
        name: {key: value for key, value in vars(method).items() if value}
        for name, method in plan.methods.items()
    }
    text = yaml.safe_dump(
        {**vars(plan), "methods": methods}, sort_keys=False, default_flow_style=None, width=120
    )
    return f"# {lead}\n{text}"


def twin(paper: str, options: argparse.Namespace) -> Twin:
    """Runs a paper's study at small size, and prints its table."""
    found = Twin(options.output / paper)
    source, file, out = (found.folder / name for name in ("source", "study.yaml", "study"))
    whole = read_plan(STUDIES[paper])
    plan = adapted(paper, whole, options, source)
    found.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(written(plan, f"The study {STUDIES[paper]}, made small by benchmarks.twins."))
    print(f"\n{paper}: {STUDIES[paper]}", flush=True)
    started = next((one for one in whole.methods.values() if one.settings.get("init_from")), None)
    if started is not None and not (source / "metrics" / "test.json").exists():
        words = options_of(small(source_of(started), options.output, settings_of(paper)))
        resume = ["--resume"] if (source / "environment.json").exists() else []
        where = ("--data", options.output / "source", "--output", source)
        found.run("models.train", *words, "--train.epochs", options.epochs, *where, *resume)
    if not found.failed and not (out / "report.html").exists():
        found.run("models", "study", file, "--output", out)
    if (out / "results.json").exists():
        results = read_json_object(out / "results.json")
        found.rows, failed = rows_of(results, plan.protocol_names[0])
        found.failed += failed
    found.report = out / "report.html"
    return found.shown(["method", *METRICS])


def options_of(method: Method) -> list[str]:
    """A method as options of `models.train`."""
    presets = [word for name in method.config for word in ("--config", name)]
    return [*presets, *(f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
                        for key, value in method.settings.items())]  # fmt: skip


def rows_of(results: Mapping[str, Any], protocol: str) -> tuple[list[list[str]], list[str]]:
    """The rows of a study's table in percent with 95 % intervals over users, and what failed, with its message.

    Args:
        results: contents of `results.json`.
        protocol: name of the protocol.
    """
    rows, failed = [], []
    for name, method in results["methods"].items():
        found = method["metrics"].get(protocol)
        cells = [show_interval(found[metric]) if found else "failed" for metric in METRICS]
        rows.append([name, *cells])
        if not found:
            told = [one["message"] for one in method["trials"]]
            told += [why for one in method["seeds"] for why in one["untestable"].values()]
            failed.append(f"{name}: {next(filter(None, told), 'no result')}")
    return rows, failed


def faces(options: argparse.Namespace) -> Twin:
    """Trains VL-FAU on one fold of procedural faces, and prints F1 per AU."""
    found = Twin(options.output / FACES)
    dump, dataset, run = (found.folder / name for name in ("dump", "dataset", "run"))
    found.report = found.folder / "report.html"
    print(f"\n{FACES}", flush=True)
    resume = ["--resume"] if (run / "environment.json").exists() else []
    own = ("--config", "vl-fau-tiny", "--train.epochs", FACE_EPOCHS)
    train = (*own, "--data", dataset, "--fold", 1, "--output", run)
    steps = {
        dump: ("prep", "synth-faces", dump, *FACE_SIZE),
        dataset / "dataset.json": ("prep", "faces", dump, dataset),
        run / "metrics" / "test.json": ("models.facial.train", *train, *resume),
        found.report: ("models.facial", "report", run, "--output", found.report),
    }
    for product, words in steps.items():
        if not product.exists() and not found.run(*words):
            break
    else:
        found.rows = au_rows(read_json_object(run / "metrics" / "test.json"))
    return found.shown(["AU", "F1", "F1 of always active"])


def au_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """F1 of each AU and of their mean in percent, beside that of calling it active in all faces, 2 q / (1 + q) for its rate q."""
    always = {name: 2 * one["rate"] / (1 + one["rate"]) for name, one in report["per_au"].items()}
    rows = [
        [name, show_interval(one["F1"]), f"{100 * always[name]:.2f}"]
        for name, one in report["per_au"].items()
    ]
    mean = sum(always.values()) / len(always)
    return [*rows, ["mean", show_interval(report["F1"]), f"{100 * mean:.2f}"]]


if __name__ == "__main__":
    run_command(main)
