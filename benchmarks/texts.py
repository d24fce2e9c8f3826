"""Encoders that train on real texts: MiniLM on Amazon Scientific, two-stage to full fine-tuning, at equal epochs.

    OMP_NUM_THREADS=1 python -m benchmarks.texts --work FOLDER [--toy] [--every 3] [--epochs 1]

Scientific is reduced to its 5-core (users and items with at least five interactions: 4,115 users, 1,937 items), and of
that to every third user in the order of the file, for all methods alike, because a full fine-tuning epoch over all
12,076 users takes about an hour on one core. Titles are cut at 30 tokens. Methods:

- `two-stage`: an MLP over MiniLM's last pooled state (`--item pooled`);
- `side network`: IISAN-Versa over all stored hidden states (`--item side-network`);
- `top-2`: the two highest of MiniLM's six layers train on the stored states of the tokens below them;
- `LoRA`, `FFT`: MiniLM trains in the graph (`--item encoders --adapt lora`, `full`);
- `two-stage, longer` and `side network, longer`: the first two for as many epochs as fit into the seconds of about one
  epoch of `FFT` or less, with patience 5.

Batch 16, one seed, Adam. Rates were fixed before the first run and not tuned: 1e-3 outside encoders (recipe `modern`),
1e-4 for encoder weights, 1e-3 for LoRA. Each run keeps its best epoch by validation HR@10. Prints the time of one step
of FFT with the epoch that follows from it first, then NDCG@10 and HR@10 on test (protocol `paper`) with 95% intervals over
users, paired tests and costs. Writes FOLDER/design.json before the first run, FOLDER/texts.json and FOLDER/texts.md. A
killed experiment continues with the same command.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

import prep
from benchmarks.scientific import DUMP, MINILM
from benchmarks.trials import (
    Outcome,
    comparisons,
    fix_design,
    markdown,
    outcome_of,
    show_cost,
    show_interval,
    show_paired,
    step_seconds,
    summary,
    try_out,
)
from prep import EncodeConfig, PrepConfig
from toolkit.console.door import run_command

CORE = 5
SEED = 1
ITEMS, USERS = "Industrial_and_Scientific_items.tsv", "am_Industrial_and_Scientific_users.tsv"
TOWER = EncodeConfig(source="title", encoder=MINILM, pooling="mean", max_tokens=30, tokens=4)
BASE = "--towers [title] --train.rates.base 1e-3"
LONGER = "--train.epochs 60 --train.patience 5 --train.evaluate_every 3"
METHODS = {
    "two-stage": f"--item pooled --items.layers 1 {BASE}",
    "side network": f"--item side-network {BASE} --train.rates.side_block 1e-3 --train.rates.text_head 1e-3",
    "top-2": f"--item encoders --adapt top-2 --encoders.title.from_layer stored {BASE} --train.rates.text_encoder 1e-4",
    "LoRA": f"--item encoders --adapt lora {BASE} --train.rates.text_adapter 1e-3",
    "FFT": f"--item encoders --adapt full {BASE} --train.rates.text_encoder 1e-4",
}
METHODS |= {f"{name}, longer": f"{METHODS[name]} {LONGER}" for name in ("two-stage", "side network")}  # fmt: skip
# (a, b): b - a is tested.
COMPARED = (
    ("two-stage", "FFT"),
    ("two-stage", "side network"),
    ("side network", "FFT"),
    ("LoRA", "FFT"),
    ("top-2", "FFT"),
    ("FFT", "side network, longer"),
    ("FFT", "two-stage, longer"),
)


def main() -> None:
    """Prepares, estimates, trains, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3, help="keep every N-th user of the 5-core")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each method")
    parser.add_argument("--toy", action="store_true", help="a rehearsal with every 60th user")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = 60 if options.toy else options.every
    common = f"--train.batch_size 16 --train.epochs {options.epochs}".split()
    design = {"core": CORE, "every": every, "seed": SEED, "every method": common, "methods": METHODS,
              "tower": asdict(TOWER), "metrics": "NDCG@10 and HR@10, test, protocol paper", "compared": [f"{b} - {a}" for a, b in COMPARED]}  # fmt: skip
    fix_design(options.work, design)
    dataset = prepare(options.work, every)
    seconds, steps = step_seconds(dataset, [*common, *METHODS["FFT"].split()])
    print(f"FFT: a step takes {seconds:.2f} s, so an epoch of {steps} steps {seconds * steps:.0f} s", flush=True)  # fmt: skip
    found = {}
    for name, words in METHODS.items():
        run = options.work / "runs" / name.replace(", ", "-").replace(" ", "-")
        try_out(dataset, run, [*common, *words.split()], seed=SEED)
        found[name] = outcome_of(run, options.work / "costs")
        print(f"{name}: {found[name]}", flush=True)
    tests = comparisons({name: outcome.ranks for name, outcome in found.items()}, COMPARED)
    report = {"methods": {name: describe(outcome) for name, outcome in found.items()}, "comparisons of NDCG@10": tests}  # fmt: skip
    (options.work / "texts.json").write_text(json.dumps(report, indent=1) + "\n")
    text = show(found, tests)
    (options.work / "texts.md").write_text(text + "\n")
    print(text)


def prepare(work: Path, every: int) -> Path:
    """The dataset of every N-th user of the 5-core, with MiniLM's states of all layers."""
    dump, dataset = work / "dump", work / "dataset"
    if not (dump / USERS).exists():
        dump.mkdir(parents=True, exist_ok=True)
        write_dump(dump, every)
    prep.build(dump, dataset, PrepConfig(layout="amazon", encode={"title": TOWER}))
    return dataset


def write_dump(dump: Path, every: int) -> None:
    """Writes the users and the titles of their items, users last."""
    lines = (DUMP / USERS).read_text(encoding="utf-8").splitlines()
    histories = {user: items.split() for user, items in (line.split("\t") for line in lines)}
    kept = dict(list(core(histories, CORE).items())[::every])
    items = {item for history in kept.values() for item in history}
    titles = (DUMP / ITEMS).read_text(encoding="utf-8").splitlines(keepends=True)
    (dump / ITEMS).write_text("".join(line for line in titles if line.split("\t")[0] in items))
    (dump / USERS).write_text("".join(f"{user}\t{' '.join(kept[user])}\n" for user in kept))


def core(histories: dict[str, list[str]], k: int) -> dict[str, list[str]]:
    """The k-core: histories without users and items of fewer than k interactions, repeats counted.

    >>> core({"u": ["a", "a", "b"], "v": ["b"]}, 2)
    {'u': ['a', 'a']}
    """
    while True:
        counts = Counter(item for history in histories.values() for item in history)
        fewer = {user: [item for item in items if counts[item] >= k] for user, items in histories.items()}  # fmt: skip
        fewer = {user: items for user, items in fewer.items() if len(items) >= k}
        if fewer == histories:
            return histories
        histories = fewer


def describe(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON holds it."""
    return {
        **summary(outcome.ranks),
        "kept epoch": outcome.best_epoch,
        "alarms": outcome.alarms,
        "cost": asdict(outcome.cost),
    }


def show(found: Mapping[str, Outcome], tests: Mapping[str, Mapping[str, float]]) -> str:
    """Two tables in Markdown: metrics in percent with costs, and comparisons."""
    head = ["", "NDCG@10", "HR@10", "kept epoch", "seconds per epoch", "CPU s", "GFLOPs", "trainable parameters"]  # fmt: skip
    rows = [
        [name, *map(show_interval, summary(one.ranks).values()), str(one.best_epoch), *show_cost(one.cost)]
        for name, one in found.items()
    ]  # fmt: skip
    compared = [[name, show_paired(test)] for name, test in tests.items()]
    return "\n\n".join(
        [markdown(head, rows), markdown(["NDCG@10, difference [95 %], p", ""], compared)]
    )


if __name__ == "__main__":
    run_command(main)
