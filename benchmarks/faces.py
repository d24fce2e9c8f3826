"""VL-FAU on procedural faces: F1 of each ablation, controls, another dataset, and agreement of texts with predictions.

    python -m benchmarks.faces --work FOLDER                          # 3 folds, 2 seeds: about 10 minutes a run on 2 cores
    python -m benchmarks.faces --work FOLDER --folds 1 --seeds 1      # one fold
    python -m benchmarks.faces --work FOLDER --only full shuffled     # some rows of the table

Resumes: a run whose test exists is not trained again, and one that was stopped is continued. Prints, and writes to
FOLDER/faces.json, a line per method with its mean F1 over AUs, folds and seeds, its interval over subjects, and the paired
test against the full network; the identity probe; the F1 on a dataset like DISFA; and the agreement of texts. The full network
and the one that was trained with an identity shortcut are also tested on other people, who have none: the price of a shortcut.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from models.facial.compare import compare

OFF = ("--network.au_texts", "false", "--network.face_texts", "false")
# Options of each method, and the dataset that it is trained on. The texts of "untold" depend on the image alone, as in the paper.
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "full": ("bp4d", ()),
    "local": ("bp4d", ("--network.face_texts", "false")),
    "refinement": ("bp4d", OFF),
    "stem": ("bp4d", (*OFF, "--network.refine", "false")),
    "untold": ("bp4d", ("--network.told_states", "0")),
    "shuffled": ("bp4d", ("--train.shuffle_labels", "true")),
    "shortcut": ("shortcut", ()),
}
# Also tested on other people, whose labels nobody can tell from who they are.
OTHERS = ("full", "shortcut")
OF_DISFA, OF_OTHERS = "cross-DISFA-synth", "cross-BP4D-synth"  # tests
ABLATIONS = ("full", "local", "refinement", "stem", "untold")


def command(*words: str) -> None:
    """Runs `python -m` in a process of its own, whose memory ends with it.

    Raises:
        CalledProcessError: if it fails.
    """
    print("python -m", *words, flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)


def write_datasets(work: Path, subjects: int, frames: int, size_px: int) -> None:
    """Faces like BP4D, the same with an identity shortcut, faces like BP4D of other people, and faces like DISFA."""
    size = ("--subjects", str(subjects), "--frames", str(frames), "--size_px", str(size_px))
    for name, options in {
        "bp4d": (),
        "shortcut": ("--shortcut", "1"),
        "disfa": ("--like", "disfa"),
        "others": ("--seed", "1"),
    }.items():
        if not (work / name / "dataset.json").exists():
            dump = work / f"{name}-dump"
            if not dump.exists():
                command("prep", "synth-faces", str(dump), *size, *options)
            command("prep", "faces", str(dump), str(work / name))


def run_of(work: Path, method: str, fold: int, seed: int) -> Path:
    """The folder of a run."""
    return work / "runs" / f"{method}-fold{fold}-seed{seed}"


def train(work: Path, method: str, fold: int, seed: int, options: list[str]) -> None:
    """Trains a run and tests it, and the full network also on the other dataset, unless that has been done."""
    run, (data, own) = run_of(work, method, fold, seed), METHODS[method]
    if not (run / "metrics" / "test.json").exists():
        resume = ["--resume"] if (run / "environment.json").exists() else []
        command(
            "models.facial.train", "--config", "vl-fau-tiny", "--data", str(work / data), "--fold", str(fold),
            "--output", str(run), "--train.seed", str(seed), *own, *options, *resume,
        )  # fmt: skip
    if method in ABLATIONS and not (run / "metrics" / f"{OF_DISFA}.json").exists():
        command("models.facial", "evaluate", str(run), "--data", str(work / "disfa"))
    if method in OTHERS and not (run / "metrics" / f"{OF_OTHERS}.json").exists():
        command(
            "models.facial", "evaluate", str(run), "--data", str(work / "others"), "--other_people"
        )


def report_of(run: Path, name: str) -> dict:
    """A report of a run."""
    (path,) = (run / "metrics").glob(f"{name}.json")
    return json.loads(path.read_text())


def of_others(runs: list[Path]) -> float:
    """Mean F1 of runs on other people without a shortcut."""
    return float(np.mean([report_of(run, OF_OTHERS)["F1"]["value"] for run in runs]))


def chance(run: Path) -> float:
    """F1 of guessing each AU with its rate r among training subjects, whatever the face: 2 r q / (r + q) with the test's q."""
    per_au = report_of(run, "test")["per_au"].values()
    return float(
        np.mean(
            [2 * a["training_rate"] * a["rate"] / (a["training_rate"] + a["rate"]) for a in per_au]
        )
    )


def always(run: Path) -> float:
    """F1 of calling every AU active, which is the highest F1 of a constant: 2 q / (1 + q)."""
    per_au = report_of(run, "test")["per_au"].values()
    return float(np.mean([2 * a["rate"] / (1 + a["rate"]) for a in per_au]))


def summary(work: Path, methods: list[str], folds: list[int], seeds: list[int]) -> dict:
    """The figures of all methods, as JSON."""
    runs = {
        method: [run_of(work, method, fold, seed) for fold in folds for seed in seeds]
        for method in methods
    }
    ablations = [run for method in methods if method in ABLATIONS for run in runs[method]]
    found: dict = {"ablations": compare(ablations).as_dict() if ablations else None}
    if ablations:
        found["cross"] = compare(ablations, name=OF_DISFA).as_dict()
    for method in methods:
        reports = [report_of(run, "test") for run in runs[method]]

        def mean(*keys: str, reports: list[dict] = reports) -> float | None:
            values = []
            for report in reports:
                value = report
                for key in keys:
                    value = (value or {}).get(key)
                values.append(value)
            known = [value for value in values if value is not None]
            return float(np.mean(known)) if known else None

        found[method] = {
            "F1": mean("F1", "value"),
            "F1_fitted": mean("F1_fitted", "value"),
            "F1 of guessing by rate": float(np.mean([chance(run) for run in runs[method]])),
            "F1 of always active": float(np.mean([always(run) for run in runs[method]])),
            "AUC": mean("AUC"),
            "ECE": mean("ECE"),
            "ECE_calibrated": mean("ECE_calibrated"),
            "F1 on others": of_others(runs[method]) if method in OTHERS else None,
            "identity": mean("identity", "accuracy"),
            "identity chance": mean("identity", "chance"),
            "au_texts agreement": mean("texts", "au_texts", "agreement"),
            "face_texts agreement": mean("texts", "face_texts", "agreement"),
            "face_texts named precision": mean("texts", "face_texts", "named_precision"),
            "face_texts named recall": mean("texts", "face_texts", "named_recall"),
            "au_texts BLEU": mean("texts", "au_texts", "BLEU"),
            "face_texts BLEU": mean("texts", "face_texts", "BLEU"),
        }
    return found


def main() -> None:
    """Command line; options after `--` are passed to training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--subjects", type=int, default=120)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size_px", type=int, default=112)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("options", nargs="*", help="options of models.facial.train, after --")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    write_datasets(arguments.work, arguments.subjects, arguments.frames, arguments.size_px)
    folds, seeds = range(1, arguments.folds + 1), range(1, arguments.seeds + 1)
    for seed in seeds:
        for fold in folds:
            for method in arguments.only:
                train(arguments.work, method, fold, seed, arguments.options)
    figures = summary(arguments.work, arguments.only, list(folds), list(seeds))
    (arguments.work / "faces.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    ablations = [m for m in arguments.only if m in ABLATIONS]
    if ablations:
        runs = [run_of(arguments.work, m, fold, seed) for m in ablations for fold in folds for seed in seeds]  # fmt: skip
        print(compare(runs).show())


if __name__ == "__main__":
    main()
