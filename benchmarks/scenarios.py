"""The value of captions: text-only, image captions and video captions on synthetic dumps, with paired tests.

    python benchmarks/scenarios.py --work FOLDER [--seeds 1 2 3]

Each seed has its own dump, whose truth is removed and whose items are renamed before prep reads it, a dataset, and a
run of each scenario. The control trains on video captions that were shuffled over the items. Prints NDCG@10 on the test
split with that of the oracle, the paired test of each step over the users of each seed and of all seeds, and the share
of the gain of video captions that the control recovers.
Existing files are reused.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import prep
from prep import EncodeConfig, PrepConfig
from prep.steps import manifest
from toolkit import metrics, open_dataset
from toolkit.console.door import run_command
from toolkit.significance import paired_test
from toolkit.store import Table, read_file

sys.path.append(str(Path(__file__).parent))
from demo import oracle  # after the path that leads to it

SETTINGS = Path(__file__).parent / "demo.yaml"
SHUFFLED = "shuffled_caption"
SCENARIOS = {
    "popularity": ["--config", "popularity"],
    "ease": ["--config", "ease"],
    "text-only": ["--config", "text-only"],
    "shuffled": ["--towers", f"[title, {SHUFFLED}]"],
    "image-caption": ["--config", "image-caption"],
    "video-caption": ["--config", "video-caption"],
}
STEPS = [
    ("text-only", "image-caption"),
    ("image-caption", "video-caption"),
    ("text-only", "video-caption"),
    ("text-only", "shuffled"),
]
ORACLES = {"oracle, motion unseen": ("shape", "colour"), "oracle": ("shape", "colour", "motion")}


def main() -> None:
    """Prepares, trains, compares and prints; writes FOLDER/scenarios.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--users", type=int, default=1000)
    options = parser.parse_args()
    found = {}
    for seed in options.seeds:
        started = time.perf_counter()
        work = options.work / f"seed-{seed}"
        dataset = prepare(work, seed, items=options.items, users=options.users)
        for name, words in SCENARIOS.items():
            train(dataset, work / "runs" / name, [*words, "--train.seed", str(seed)])
        found[seed] = {name: gains(work / "runs" / name) for name in SCENARIOS}
        found[seed] |= {name: oracle_gain(work, dataset, seen) for name, seen in ORACLES.items()}
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    report = {"items": options.items, "users": options.users, **describe(found)}
    print(show(report))
    (options.work / "scenarios.json").write_text(json.dumps(report, indent=1) + "\n")


def prepare(work: Path, seed: int, *, items: int, users: int) -> Path:
    """A dataset of a dump without its truth (moved to WORK/truth), with shuffled captions added."""
    dump, dataset = work / "dump", work / "dataset"
    if not (work / "truth").exists():
        shutil.rmtree(work, ignore_errors=True)
        prep_command("synth", dump, "--items", items, "--users", users, "--seed", seed)
        hide_truth(dump, work / "truth", seed)
    prep_command("build", dump, dataset)
    shuffle_captions(dataset, seed)
    tower = PrepConfig(encode={SHUFFLED: caption_tower(dataset)})
    prep.encode(dataset, tower)
    return dataset


def prep_command(*words: object) -> None:
    """Runs a command of prep. A failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "prep", *map(str, words)], check=True)


def hide_truth(dump: Path, truth: Path, seed: int) -> None:
    """Renames every item at random in all files of a dump, and moves its truth to another folder."""
    (titles,) = dump.glob("*_titles.csv")
    with titles.open(newline="", encoding="utf-8") as file:
        old = [row["item"] for row in csv.DictReader(file)]
    drawn = np.random.default_rng(seed).choice(10**6, size=len(old), replace=False)
    new = {item: str(1_000_000 + number) for item, number in zip(old, drawn.tolist(), strict=True)}
    for folder in ("covers", "videos"):
        for path in list((dump / folder).iterdir()):
            path.rename(path.with_stem(new[path.stem]))
    for pattern, place, separator in (
        ("*_titles.csv", 0, ","),
        ("*_pairs.csv", 1, ","),
        ("*_likes_and_views.txt", 0, "\t"),
    ):
        (path,) = dump.glob(pattern)
        rename_column(path, place, separator, new)
    (pairs,) = dump.glob("*_pairs.tsv")
    lines = (line.split("\t") for line in pairs.read_text().splitlines())
    renamed = [
        f"{user}\t{' '.join(new[item] for item in items.split())}\n" for user, items in lines
    ]
    pairs.write_text("".join(renamed))
    told = json.loads((dump / "truth.json").read_text())
    for item in told["items"]:
        item["id"] = new[item["id"]]
    (dump / "truth.json").unlink()
    truth.mkdir()
    (truth / "truth.json").write_text(json.dumps(told))


def rename_column(path: Path, place: int, separator: str, new: dict[str, str]) -> None:
    """Renames the items in one column; a header is kept."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter=separator))
    for row in rows:
        row[place] = new.get(row[place], row[place])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)


def shuffle_captions(dataset: Path, seed: int) -> None:
    """Writes captions/shuffled_caption: the video captions, permuted over the items."""
    table = Table(dataset / "captions" / SHUFFLED)
    if table.exists():
        return
    captions = open_dataset(dataset).captions("video_caption")
    order = np.random.default_rng([seed, 1]).permutation(captions.num_rows)
    texts = captions.column("text").take(pa.array(order))
    place = captions.schema.get_field_index("text")
    table.append(captions.set_column(place, "text", texts))
    manifest.record_step(dataset, f"caption:{SHUFFLED}", {"shuffled_with": seed})


def caption_tower(dataset: Path) -> EncodeConfig:
    """The encoder settings of video captions, for the shuffled captions."""
    towers = manifest.recorded_config(dataset).encode
    return EncodeConfig(**{**asdict(towers["video_caption"]), "source": SHUFFLED})


def train(dataset: Path, run: Path, words: list[str]) -> None:
    """Trains a run; an existing run is reused."""
    if (run / "metrics" / "test.json").exists():
        return
    shutil.rmtree(run, ignore_errors=True)
    command = ["-m", "models.train", *words, "--config", str(SETTINGS)]
    command += ["--data", str(dataset), "--output", str(run)]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ}
    )
    if done.returncode:
        sys.exit(done.stderr)


def gains(run: Path) -> list[float]:
    """NDCG@10 of each test user, ordered by user id."""
    ranks = read_file(run / "ranks" / "test.arrow").sort_by("user_id")
    return metrics.ndcg(ranks.column("rank").to_numpy(), 10).tolist()


def oracle_gain(work: Path, dataset: Path, seen: tuple[str, ...]) -> float:
    """NDCG@10 of the generator's own preferences over the attributes in `seen`."""
    splits = open_dataset(dataset).splits()
    return float(oracle(work / "truth", dataset, splits, *seen)["NDCG@10"]["value"])


def describe(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Means and paired tests, for each seed and over the users of all seeds."""
    seeds = {str(seed): of for seed, of in found.items()}
    pooled = {name: [g for of in found.values() for g in of[name]] for name in SCENARIOS}
    pooled |= {name: float(np.mean([of[name] for of in found.values()])) for name in ORACLES}
    return {name: describe_one(of) for name, of in {**seeds, "all": pooled}.items()}


def describe_one(of: dict[str, Any]) -> dict[str, Any]:
    """NDCG@10 of some users by scenario, the steps between scenarios, and the control's share of the gain."""
    value = {name: float(np.mean(of[name])) for name in (*SCENARIOS, *ORACLES)}
    gain = value["video-caption"] - value["text-only"]
    steps = {f"{b} - {a}": paired_test(of[a], of[b])._asdict() for a, b in STEPS}
    share = (value["shuffled"] - value["text-only"]) / gain
    return {"NDCG@10": value, "steps": steps, "share_recovered_by_shuffled": share}


def show(report: dict[str, Any]) -> str:
    """Two tables in Markdown, in percent."""
    columns = [name for name in report if name not in ("items", "users")]
    head = "| | " + " | ".join(f"seed {c}" if c != "all" else "all" for c in columns) + " |"
    lines = ["", "NDCG@10, test, percent", "", head, "|---" * (len(columns) + 1) + "|"]
    for name in (*SCENARIOS, *ORACLES):
        cells = [f"{100 * report[column]['NDCG@10'][name]:.2f}" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Difference [95 %], p", "", head, "|---" * (len(columns) + 1) + "|"]
    for a, b in STEPS:
        name = f"{b} - {a}"
        cells = [show_step(report[column]["steps"][name]) for column in columns]
        lines.append(f"| {b} − {a} | " + " | ".join(cells) + " |")
    shares = [f"{100 * report[column]['share_recovered_by_shuffled']:.0f} %" for column in columns]
    lines.append("| shuffled recovers | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def show_step(step: dict[str, float]) -> str:
    """One paired test."""
    low, high = 100 * step["low"], 100 * step["high"]
    return f"{100 * step['difference']:+.2f} [{low:.2f}, {high:.2f}], {step['p_value']:.4f}"


if __name__ == "__main__":
    run_command(main)
