"""Whether what was learned on one platform helps on another: two synthetic platforms with one hidden taste.

    OMP_NUM_THREADS=1 python -m benchmarks.transfer --work FOLDER [--seeds 1 2 3] [--curves]

The platforms have other items and other users; one drawn taste (`prep synth --taste`) says what content means to the
users of both. Towers are the pooled states of the bundled tiny ViT over covers and frames, so nothing but heads, fusion
and sequence encoder is trained, and that is what moves. Sources, all with the settings `COMMON`:

- `pre-trained`: the source platform;
- `shuffled`: the source platform with its items permuted in all interactions, so that content means nothing there; as
  many interactions, sequence lengths and item counts as before;
- `scratch`: no source.

Each method trains on a share of the target's users (`--train.user_share`) and ranks the targets of all of them. A seed
draws initial weights, the order of users and the share; the platforms are the same for all seeds. Every run keeps its best
epoch by validation HR@10. Metric: NDCG@10 on test, protocol `paper`. Tests: `toolkit.significance.paired_test` over users of
a user's mean over seeds, with Holm's correction over the comparisons.

Claims, fixed before the results: at 10% of the target's users, `pre-trained` > `scratch` > `shuffled`; without training on
the target (`zero-shot`), `pre-trained` > popularity. Settings were chosen on seed 0, which is not among the seeds.

`--curves` adds the few-shot curve (1, 50 and 100% of the target's users) and the source-size curve (10 and 33% of the
source's users, at 10% of the target's). Writes FOLDER/design.json before the first run, and FOLDER/transfer.md. A killed
experiment continues with the same command.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import prep
from benchmarks.trials import Floats, fix_design, markdown, show_paired, try_out
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.synth import write_dump
from toolkit import metrics
from toolkit.console.door import run_command
from toolkit.significance import holm, paired_test
from toolkit.store import read_file

TASTE = 7
VIT = "package:prep/synth/tiny_vit"
ENCODE = {
    "cover": EncodeConfig(source="cover", encoder=VIT, pooling="cls", layers="all"),
    "frames": EncodeConfig(source="frames", encoder=VIT, pooling="cls", layers="all"),
}
COMMON = [
    *("--item", "pooled", "--towers", "[cover, frames]", "--items.layers", "1"),
    *("--items.dropout", "0.1", "--side.embedding_dim", "32", "--sequence.dropout", "0.1"),
    *("--train.loss", "full", "--train.batch_size", "64", "--train.rates.base", "2e-3"),
    *("--train.evaluate_every", "3"),
]
EPOCHS = {"source": 15, "target": 24}
PATIENCE = {"source": 3, "target": 3}  # evaluations
SHARES = (0.01, 0.1, 0.5, 1.0)  # of the target's users
SIZES = (0.1, 0.33, 1.0)  # of the source's users
FEW = 0.1  # the share of the claims
CLAIMS = [
    ("scratch 0.1", "pre-trained 0.1"),
    ("shuffled 0.1", "scratch 0.1"),
    ("shuffled 0.1", "pre-trained 0.1"),
    ("popularity", "zero-shot"),
]


class Experiment:
    """The runs of an experiment, in one folder.

    Args:
        work: the folder.
        seeds: of the runs.
    """

    def __init__(self, work: Path, seeds: Sequence[int]) -> None:
        self.work = work
        self.seeds = seeds
        self.data = {name: work / name for name in ("source", "shuffled", "target")}

    def source(self, name: str, seed: int, size: float = 1.0) -> Path:
        """A run on a source."""
        share = [*_share(size, seed), *_epochs("source")]
        run = self.work / "runs" / f"source-{name}-{size:g}-{seed}"
        data = self.data["shuffled" if name == "shuffled" else "source"]
        return try_out(data, run, [*COMMON, *share], seed=seed)

    def target(self, name: str, share: float, *, size: float = 1.0) -> Floats:
        """(seeds, users) ranks of a method on a share of the target's users; 0 for zero-shot."""
        found = []
        for seed in self.seeds:
            words = [*COMMON, *_epochs("target", none=not share), *_share(share or 1.0, seed)]
            if name != "scratch":
                words += ["--init_from", str(self.source(name, seed, size))]
            run = self.work / "runs" / f"target-{name}-{size:g}-{share:g}-{seed}"
            found.append(ranks_of(try_out(self.data["target"], run, words, seed=seed)))
        return np.stack(found)

    def popularity(self) -> Floats:
        """(seeds, users) ranks by popularity among all users of the target, the same for all seeds."""
        words = ["--recommender.kind", "popularity"]
        run = try_out(self.data["target"], self.work / "runs" / "popularity", words, seed=1)
        return np.stack([ranks_of(run)] * len(self.seeds))


def _epochs(where: str, *, none: bool = False) -> list[str]:
    epochs = 0 if none else EPOCHS[where]
    return ["--train.epochs", str(epochs), "--train.patience", str(PATIENCE[where])]


def _share(share: float, seed: int) -> list[str]:
    return ["--train.user_share", str(share), "--train.user_seed", str(seed)]


def ranks_of(run: Path) -> Floats:
    """Rank of each test user's target, (users,), ordered by user id."""
    table = read_file(run / "ranks" / "test.arrow").sort_by("user_id")
    ranks: Floats = table.column("rank").to_numpy()
    return ranks


def build(work: Path, *, items: Sequence[int], users: Sequence[int]) -> None:
    """The source, the target and the shuffled source, with their towers; existing ones are reused.

    Args:
        work: folder of the datasets.
        items: number of items of the source and of the target.
        users: likewise of users.
    """
    built = work / "built"
    if built.exists():
        return
    for row, name in enumerate(("source", "target")):
        dump = work / f"dump-{name}"
        if not dump.exists():
            write_dump(
                dump, items=items[row], users=users[row], seed=row + 1, taste=TASTE, progress=False
            )
        prep.build(dump, work / name, PrepConfig(encode=ENCODE, media=MediaConfig(workers=1)))
    if not (work / "shuffled").exists():
        prep.permute_items(work / "source", work / "shuffled")
    built.touch()


def main() -> None:
    """Builds, trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--items", type=int, nargs=2, default=[400, 300], help="source, target")
    parser.add_argument("--users", type=int, nargs=2, default=[3000, 2000], help="source, target")
    parser.add_argument("--curves", action="store_true", help="few-shot and source-size curves")
    options = parser.parse_args()
    design = {key: value for key, value in vars(options).items() if key not in ("work", "curves")}
    constants = {"taste": TASTE, "common": COMMON, "epochs": EPOCHS, "patience": PATIENCE}
    fix_design(options.work, {**design, **constants})
    build(options.work, items=options.items, users=options.users)
    experiment = Experiment(options.work, options.seeds)
    ranks = {"popularity": experiment.popularity()}
    ranks["zero-shot"] = experiment.target("pre-trained", 0)
    for name in ("pre-trained", "scratch", "shuffled"):
        ranks[f"{name} {FEW:g}"] = experiment.target(name, FEW)
    report(options.work, ranks)
    if options.curves:
        for share in [share for share in SHARES if share != FEW]:
            for name in ("pre-trained", "scratch"):
                ranks[f"{name} {share:g}"] = experiment.target(name, share)
                report(options.work, ranks)
        for size in SIZES[:-1]:
            ranks[f"source size {size:g}"] = experiment.target("pre-trained", FEW, size=size)
            report(options.work, ranks)


def report(work: Path, ranks: dict[str, Floats]) -> None:
    """Writes and prints the metrics of all methods so far, and the tests of the claims."""
    rows = []
    for name, found in ranks.items():
        gains = metrics.ndcg(found, 10)
        users = 100 * gains.mean(axis=0)
        half = metrics.Z_95 * users.std(ddof=1) / len(users) ** 0.5
        each = ", ".join(f"{100 * value:.2f}" for value in gains.mean(axis=1))
        hits = 100 * metrics.hit_rate(found, 10).mean()
        rows.append([name, f"{users.mean():.2f} ± {half:.2f}", each, f"{hits:.2f}"])
    text = "\n\n".join(
        [
            markdown(["method, share", "NDCG@10", "of each seed", "HR@10"], rows),
            markdown(["comparison", "NDCG@10, p after Holm"], tests_of(ranks)),
        ]
    )
    (work / "transfer.md").write_text(text + "\n")
    print(text, flush=True)


def tests_of(ranks: dict[str, Floats]) -> list[list[str]]:
    """Paired tests of the claims over users of a user's mean NDCG@10 over seeds, with Holm's correction."""
    gains = {name: metrics.ndcg(found, 10).mean(axis=0) for name, found in ranks.items()}
    tests = [paired_test(gains[first], gains[second])._asdict() for first, second in CLAIMS]
    corrected = holm([test["p_value"] for test in tests])
    return [
        [f"{second} - {first}", show_paired({**test, "corrected": p_value})]
        for (first, second), test, p_value in zip(CLAIMS, tests, corrected, strict=True)
    ]


if __name__ == "__main__":
    run_command(main)
