"""When training an encoder is worth its cost: planted covers, frozen and trained encoders, three seeds, paired tests.

    OMP_NUM_THREADS=1 python -m benchmarks.worth --work FOLDER [--toy] [--pilot] [--seeds 1 2 3]

Users choose items by the colour on the cover, and by nothing else but a mild popularity (`prep.synth.taste` with a
strength of 4 for colour alone). Each seed has its own items, covers, users and initial weights. The truth lies beside the
dump, where prep does not read it, and serves the oracle alone.

Two encoders read the covers. `seeing` is the bundled tiny ViT (6 layers of width 96, 64 px), which was trained on shape,
colour and place: its frozen states contain what decides. `blind` is a ViT of 3 layers of width 64 (32 px) with random
weights that sees grey levels alone: its patch embedding has equal weights for the three channels. Methods:

- `pooled`: two-stage, an MLP over the frozen encoder's last pooled state (`--item pooled`);
- `side`: IISAN-Versa's side network over stored hidden states (`--item side-network`);
- `lora`, `fft`: the encoder trains in the graph (`--item encoders --adapt lora`, `full`);
- `id`: one learned vector per item.

All methods share batch size, epochs, loss, sequence encoder and item order of a seed, and keep the best epoch by
validation HR@10. Metric: NDCG@10 on test, protocol `paper`. Tests: `toolkit.significance.paired_test` over the users of
each seed and over those of all seeds, with Holm's correction over the comparisons of a column.

Learning rates and the layers of the MLP have the best validation NDCG@10 of trials on seed 0, which is not among the
seeds of the result. The trials were made before the experiment had its last size (`benchmarks/LOG.md`); `--pilot` repeats
them at this size. `seeing fft` has the default rate of image encoders and was not tried with another.

Claims, fixed before the results:

- blind: `fft` > `lora` > `pooled`;
- seeing: `side` is within the interval of `fft`, which is: its NDCG@10 is at least the lower end of the 95% interval of
  `fft`; at a tenth of the cost (FLOPs and CPU seconds of an epoch) or less;
- end to end against two-stage (IDvs.MoRec, arXiv 2303.13835): `fft` > `pooled` with either encoder, and `fft` against `id`.

Writes FOLDER/design.json before the first run, FOLDER/worth.json and FOLDER/worth.md. A killed experiment continues with
the same command.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ViTConfig, ViTImageProcessor, ViTModel

import prep
from benchmarks.demo import oracle
from benchmarks.trials import (
    Cost,
    Floats,
    Outcome,
    comparisons,
    fix_design,
    markdown,
    outcome_of,
    show_cost,
    show_interval,
    show_paired,
    summary,
    try_out,
)
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.synth import taste
from prep.synth.dump import write_cover
from prep.synth.scenes import draw_cover
from prep.synth.world import ATTRIBUTES, Item, Purpose, draw_items, draw_words, generator
from toolkit import metrics, open_dataset
from toolkit.console.door import run_command
from toolkit.store import read_file

STRENGTHS = {"colour": 4.0}  # what decides, and how strongly (`prep.synth.taste`)
COVER_PX = 64
SEEING = "package:prep/synth/tiny_vit"
BLIND = {"image_size": 32, "patch_size": 8, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 128}  # fmt: skip
COLOUR_SEEN = 0.3  # factor of the colour part of the blind encoder's first weights
POOLING = {"blind": "mean", "seeing": "cls"}
PILOT_SEED = 0


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Args:
        items: items of a dump.
        users: users of a dump.
        batch: users per step.
        epochs: training epochs of every method.
    """

    items: int
    users: int
    batch: int
    epochs: int


FULL = Size(items=100, users=800, batch=16, epochs=3)
TOY = Size(items=40, users=60, batch=32, epochs=1)


@dataclass(frozen=True)
class Method:
    """A method, with learning rates to choose.

    Args:
        words: options of `models.train`; `{rate}` stands for a chosen value.
        grid: values that `--pilot` tries, by name.
        chosen: those with the best validation NDCG@10 on seed 0.
    """

    words: str
    grid: Mapping[str, Sequence[float]]
    chosen: Mapping[str, float]

    def options(self, values: Mapping[str, float] | None = None) -> list[str]:
        """Options of `models.train`, with the chosen values or others."""
        return self.words.format(**(self.chosen if values is None else values)).split()


BASE = "--train.rates.base {rate}"
SIDE = f"{BASE} --train.rates.side_block {{rate}} --train.rates.image_head {{rate}} --train.rates.image_gate {{rate}}"
METHODS = {
    "id": Method(
        f"--item id {BASE}",
        grid={"rate": (1e-3, 3e-3, 1e-2)},
        chosen={"rate": 3e-3},
    ),
    "blind pooled": Method(
        f"--item pooled --towers [blind] --items.layers {{layers}} {BASE}",
        grid={"rate": (1e-3, 3e-3), "layers": (1, 8)},
        chosen={"rate": 3e-3, "layers": 1},
    ),
    "blind lora": Method(
        f"--item encoders --towers [blind] --adapt lora {BASE} --train.rates.image_adapter {{inner}}",
        grid={"rate": (3e-3,), "inner": (1e-3, 3e-3, 1e-2)},
        chosen={"rate": 3e-3, "inner": 1e-2},
    ),
    "blind fft": Method(
        f"--item encoders --towers [blind] --adapt full {BASE} --train.rates.image_encoder {{inner}}",
        grid={"rate": (3e-3,), "inner": (3e-4, 1e-3, 3e-3)},
        chosen={"rate": 3e-3, "inner": 1e-3},
    ),
    "seeing pooled": Method(
        f"--item pooled --towers [seeing] --items.layers {{layers}} {BASE}",
        grid={"rate": (1e-3, 3e-3), "layers": (1, 8)},
        chosen={"rate": 3e-3, "layers": 1},
    ),
    "seeing side": Method(
        f"--item side-network --towers [seeing] {SIDE}",
        grid={"rate": (1e-3, 3e-3)},
        chosen={"rate": 3e-3},
    ),
    "seeing fft": Method(
        f"--item encoders --towers [seeing] --adapt full {BASE} --train.rates.image_encoder {{inner}}",
        grid={"rate": (3e-3,), "inner": (1e-4, 5e-4)},
        chosen={"rate": 3e-3, "inner": 1e-4},
    ),
}
# (a, b): b - a is tested.
COMPARED = (
    ("blind pooled", "blind lora"),
    ("blind lora", "blind fft"),
    ("seeing fft", "seeing side"),
    ("blind pooled", "blind fft"),
    ("seeing pooled", "seeing fft"),
    ("id", "blind fft"),
    ("id", "seeing fft"),
)
BASELINES = ("popularity", "ease")  # without epochs and content
CHEAPER = ("seeing fft", "seeing side", 10)


def common(size: Size) -> list[str]:
    """Options of every method."""
    words = f"--train.batch_size {size.batch} --train.epochs {size.epochs} --train.loss in-batch"
    return words.split()


def design_of(size: Size, seeds: Sequence[int], methods: Sequence[str]) -> dict[str, Any]:
    """The design, as it is written before the first run."""
    return {
        "size": asdict(size),
        "seeds": list(seeds),
        "cover_px": COVER_PX,
        "strengths": STRENGTHS,
        "encoders": {
            "seeing": SEEING,
            "blind": {**BLIND, "colour seen": COLOUR_SEEN},
            "pooling": POOLING,
        },
        "methods": {name: METHODS[name].words.format(**METHODS[name].chosen) for name in methods},
        "every method": " ".join(common(size)),
        "metric": "NDCG@10, test, protocol paper, best epoch by validation HR@10",
        "test": "toolkit.significance.paired_test over users; Holm over the comparisons of a column",
        "comparisons": [f"{b} - {a}" for a, b in COMPARED],
        "within the interval": "NDCG@10 of seeing side >= lower end of the 95% interval of seeing fft, at <= 1/10 of "
        "its FLOPs and CPU seconds",
    }


def main() -> None:
    """Chooses learning rates, or trains, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--epochs", type=int, help=f"epochs of each method; by default {FULL.epochs}"
    )
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--toy", action="store_true", help="a rehearsal in less than a minute")
    parser.add_argument("--pilot", action="store_true", help="choose learning rates on seed 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, seeds = (TOY, [1]) if options.toy else (FULL, options.seeds)
    size = replace(size, epochs=options.epochs or size.epochs)
    if options.pilot:
        pilot(options.work / "pilot", size)
        return
    fix_design(options.work, design_of(size, seeds, options.methods))
    folders = {seed: options.work / f"seed-{seed}" for seed in seeds}
    places = {seed: prepare(folder, size, seed) for seed, folder in folders.items()}
    best = [oracle_ndcg(*place) for place in places.values()]
    below = {name: [baseline(places[s][0], folders[s], name) for s in seeds] for name in BASELINES}
    found: dict[str, list[Outcome]] = {}
    for name in options.methods:  # the costliest last, and a report after each
        found[name] = []
        for seed, folder in folders.items():
            run = folder / "runs" / name.replace(" ", "-")
            try_out(places[seed][0], run, [*common(size), *METHODS[name].options()], seed=seed)
            found[name].append(outcome_of(run, options.work / "costs"))
            print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
        report = describe(found, seeds) | {"oracle": best, "baselines": below}
        (options.work / "worth.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.work / "worth.md").write_text(show(report) + "\n")
    print(show(report))


def baseline(dataset: Path, folder: Path, name: str) -> list[float]:
    """The rank of each test user's target in a recommender that is computed at once."""
    run = try_out(dataset, folder / "runs" / name, [f"--recommender.kind={name}"], seed=1)
    return read_file(run / "ranks" / "test.arrow").column("rank").to_pylist()  # type: ignore[no-any-return]


def pilot(work: Path, size: Size) -> None:
    """Trains every combination of each method's grid on seed 0 and prints the best by validation NDCG@10."""
    grids = {name: {key: list(of) for key, of in method.grid.items()} for name, method in METHODS.items()}  # fmt: skip
    fix_design(work, {"size": asdict(size), "grids": grids})
    dataset, _ = prepare(work, size, PILOT_SEED)
    for name, method in METHODS.items():
        tried: dict[str, float] = {}
        for values in product(*method.grid.values()):
            chosen = dict(zip(method.grid, values, strict=True))
            told = ", ".join(f"{key} {value:g}" for key, value in chosen.items())
            run = work / "runs" / f"{name}, {told}".replace(", ", "-").replace(" ", "-")
            try_out(dataset, run, [*common(size), *method.options(chosen)], seed=PILOT_SEED)
            tried[told] = valid_ndcg(run)
            print(f"{name}, {told}: valid NDCG@10 {100 * tried[told]:.2f}", flush=True)
        print(f"{name}: chosen {max(tried, key=lambda told: tried[told])}", flush=True)


def valid_ndcg(run: Path) -> float:
    """NDCG@10 of a run's kept epoch on the validation split."""
    return float(json.loads((run / "metrics" / "valid.json").read_text())["metrics"]["NDCG@10"]["value"])  # fmt: skip


def prepare(work: Path, size: Size, seed: int) -> tuple[Path, Path]:
    """The dataset of a seed with the states of both encoders, and the folder of its truth."""
    dump, truth, dataset, blind = (work / name for name in ("dump", "truth", "dataset", "blind"))
    if not (truth / "truth.json").exists():
        write_dump(dump, truth, size, seed)
    if not (blind / "preprocessor_config.json").exists():
        write_blind(blind, seed)
    encoders = {"blind": str(blind.resolve()), "seeing": SEEING}
    towers = {
        name: EncodeConfig(source="cover", encoder=encoder, pooling=POOLING[name])  # type: ignore[arg-type]
        for name, encoder in encoders.items()
    }
    prep.build(dump, dataset, PrepConfig(encode=towers, media=MediaConfig(workers=1)))
    return dataset, truth


def write_dump(dump: Path, truth: Path, size: Size, seed: int) -> None:
    """Writes titles, interactions and covers in MicroLens' layout, and the truth into another folder, last."""
    (dump / "covers").mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    items = draw_items(size.items, seed)
    users = [draw_user(row, items, seed) for row in range(size.users)]
    for row, item in enumerate(items):
        rng = generator(seed, Purpose.COVER, row)
        cover = draw_cover(item.words["shape"], item.words["colour"], rng, side_px=COVER_PX)
        write_cover(dump / "covers" / f"{item.id}.jpg", cover)
    write_rows(dump / "planted_titles.csv", ["item", "title"], [[item.id, item.title] for item in items])  # fmt: skip
    events = [[user["id"], item, time] for user in users for time, item in enumerate(user.pop("items"), 1)]  # fmt: skip
    write_rows(dump / "planted_pairs.csv", ["user", "item", "timestamp"], events)
    described = [{"id": item.id, **item.words, "log_popularity": item.log_popularity} for item in items]  # fmt: skip
    told = {"strengths": STRENGTHS, "items": described, "users": users}
    (truth / "truth.json").write_text(json.dumps(told))


def draw_user(row: int, items: Sequence[Item], seed: int) -> dict[str, Any]:
    """A user as `prep.synth.world` draws them, without a taste in motion: id, favourites and item ids in order."""
    rng = generator(seed, Purpose.USER, row)
    words = draw_words(rng)
    utilities = taste.log_utilities(
        {name: [item.words[name] for item in items] for name in ATTRIBUTES},
        {name: [word] for name, word in words.items()},
        np.array([item.log_popularity for item in items]),
        STRENGTHS,
    )[0]
    rows = taste.choose(utilities, taste.sequence_length(len(items), rng), rng)
    return {"id": str(1000 + row), **words, "items": [items[row].id for row in rows]}


def write_rows(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def write_blind(folder: Path, seed: int) -> None:
    """Writes a ViT with random weights that sees grey levels alone, and its preprocessing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vit = ViTModel(ViTConfig(**BLIND), add_pooling_layer=False)
    with (
        torch.no_grad()
    ):  # the mean over the three channels is grey; its scale restores the variance of the weights
        patches = vit.embeddings.patch_embeddings.projection.weight
        grey = patches.mean(1, keepdim=True)
        patches.copy_(3**0.5 * grey + COLOUR_SEEN * (patches - grey))
    vit.save_pretrained(folder)
    side_px = BLIND["image_size"]
    ViTImageProcessor(size={"height": side_px, "width": side_px}).save_pretrained(folder)


def oracle_ndcg(dataset: Path, truth: Path) -> float:
    """NDCG@10 of the generator's own preferences."""
    best = oracle(truth, dataset, open_dataset(dataset).splits(), *STRENGTHS)
    return best["NDCG@10"]["value"]


def describe(found: dict[str, list[Outcome]], seeds: Sequence[int]) -> dict[str, Any]:
    """Means and comparisons for each seed and over the users of all seeds; costs, measured for the first seed alone."""
    columns = {
        f"seed {seed}": {name: of[row].ranks for name, of in found.items()}
        for row, seed in enumerate(seeds)
    }
    columns["all"] = {name: np.concatenate([one.ranks for one in of]) for name, of in found.items()}
    return {
        "columns": {name: describe_users(of) for name, of in columns.items()},
        "costs": {name: asdict(of[0].cost) for name, of in found.items()},
        "kept epochs": {name: [one.best_epoch for one in of] for name, of in found.items()},
        "alarms": {name: [one.alarms for one in of] for name, of in found.items()},
    }


def describe_users(ranks: dict[str, Floats]) -> dict[str, Any]:
    """Metrics of some users by method, and the comparisons of methods that are there."""
    pairs = [pair for pair in COMPARED if set(pair) <= set(ranks)]
    return {
        "metrics": {name: summary(of) for name, of in ranks.items()},
        "comparisons": comparisons(ranks, pairs),
    }


def show(report: dict[str, Any]) -> str:
    """Three tables in Markdown: NDCG@10 in percent, comparisons and costs."""
    columns = report["columns"]
    values = [
        [method, *(show_interval(of["metrics"][method]["NDCG@10"]) for of in columns.values())]
        for method in report["costs"]
    ]
    for name, of_seeds in report["baselines"].items():
        shown = [*of_seeds, [rank for ranks in of_seeds for rank in ranks]]
        values.append([name, *(show_interval(metrics.summarise(of)["NDCG@10"]) for of in shown)])
    oracle_cells = [f"{100 * value:.2f}" for value in report["oracle"]]
    values.append(["oracle", *oracle_cells, f"{100 * np.mean(report['oracle']):.2f}"])
    steps = [
        [name, *(show_paired(of["comparisons"][name]) for of in columns.values())]
        for name in columns["all"]["comparisons"]
    ]
    costs = {method: Cost(**cost) for method, cost in report["costs"].items()}
    tables = [
        markdown(["NDCG@10, percent", *columns], values),
        markdown(["difference [95 %], p", *columns], steps),
        markdown(
            ["an epoch", "seconds", "CPU s", "GFLOPs", "trainable parameters"],
            [[method, *show_cost(cost)] for method, cost in costs.items()],
        ),
    ]
    return "\n\n".join(
        [*tables, verdict(report, costs)] if set(CHEAPER[:2]) <= set(costs) else tables
    )


def verdict(report: dict[str, Any], costs: dict[str, Cost]) -> str:
    """Whether the cheaper method is within the interval of the other, and at which share of its cost."""
    dear, cheap, times = CHEAPER
    found = report["columns"]["all"]["metrics"]
    within = found[cheap]["NDCG@10"]["value"] >= found[dear]["NDCG@10"]["low"]
    flops, cpu = (
        getattr(costs[dear], name) / getattr(costs[cheap], name)
        for name in ("flops", "cpu_seconds")
    )
    return (
        f"{cheap}: {'within' if within else 'below'} the interval of {dear}; {flops:.1f} times fewer FLOPs and "
        f"{cpu:.1f} times fewer CPU seconds per epoch (claimed: {times})"
    )


if __name__ == "__main__":
    run_command(main)
