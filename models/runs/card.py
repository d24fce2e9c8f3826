"""The card of a model: `RUN/model/README.md`, what the model is, what it was made from and how good it is.

Every word of it is read from the run and its dataset; what these do not say is left out. Training writes it,
and `evaluate` writes it again with what it has measured.
"""

import re
import statistics
from pathlib import Path
from typing import Any, get_args

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from models.inputs.provenance import describe_towers
from models.parameters import count_trainable
from models.runs.card_usage import caption_sections, tower_sections, usage_sections
from models.runs.files import MODEL, log_lines, read_environment, read_report
from models.runs.identity import INTERACTIONS, ITEMS
from models.runs.markdown import code, plain, table
from models.runs.pretrained import CARD
from models.runs.trained import TrainedRecommender
from toolkit import metrics
from toolkit.atomic import write_atomically
from toolkit.splits import KEPT_BEYOND, MIN_INTERACTIONS, Protocol

LIBRARY = "versa-toolkit"
TASK = "sequential-recommendation"
TAGS = (TASK, "recommendation", "multimodal", "versa")
_UNKNOWN = {"processes": 1, "versions": {}, "python": "?", "device": "?", "mixed_precision": "?"}
_NOT_OF_THE_HUB = re.compile(r"[^A-Za-z0-9_.-]+")  # characters that no name of a dataset there has
MASKED: dict[Protocol, str] = {
    "paper": "the kept history is left out of the ranking, so a target that repeats can never hit",
    "clean": "the whole history but the target is left out of the ranking, so a repeat counts",
    "unmasked": "nothing is left out of the ranking",
}


def write_card(trained: TrainedRecommender, run: str | Path) -> None:
    """Writes the card of a run's model, from all that has been measured so far.

    Args:
        trained: the model, with its dataset.
        run: its folder.
    """
    run = Path(run)
    made_with = describe_towers(
        trained.dataset, trained.config.content, encoders=trained.config.reads["encoders"]
    )
    reports = _reports(run)
    data = _metadata(run, trained, reports)
    sections = [
        _headline(run, trained),
        _results(run, reports),
        _data(run, trained),
        *tower_sections(trained, made_with),
        *caption_sections(made_with),
        _training(run, trained),
        *usage_sections(trained, made_with),
        _limits(trained),
    ]
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")
    write_atomically(run / MODEL / CARD, lambda file: file.write(str(card).encode()))


def _reports(run: Path) -> list[dict[str, Any]]:
    """All that was measured: test before valid, the run's own protocol before others."""
    names = [
        f"{split}{protocol}.json"
        for split in ("test", "valid")
        for protocol in ("", *(f".{other}" for other in get_args(Protocol)))
    ]
    return [read_report(path) for name in names if (path := run / "metrics" / name).exists()]


def _metadata(
    run: Path, trained: TrainedRecommender, reports: list[dict[str, Any]]
) -> ModelCardData:
    """Front matter as the hub reads it, metrics as fractions; licence and languages are not known here."""
    name = trained.dataset.name
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=_NOT_OF_THE_HUB.sub("-", name),
            dataset_name=name,
            dataset_config=report["protocol"],
            dataset_split=report["split"],
            dataset_args={"users": report["users"], "catalogue": report["catalogue"]},
            metric_type=metric,
            metric_name=f"{metric} ({report['split']}, protocol {report['protocol']})",
            metric_value=round(found["value"], 6),
            metric_args={"low_95": round(found["low"], 6), "high_95": round(found["high"], 6)},
        )
        for report in reports
        for metric, found in report["metrics"].items()
    ]
    return ModelCardData(
        library_name=LIBRARY,
        tags=list(TAGS),
        model_name=run.resolve().name,
        eval_results=results or None,
    )


def _headline(run: Path, trained: TrainedRecommender) -> str:
    config, length = trained.config, trained.config.sequence.max_len
    items = config.item_kind.about(config.towers)
    return (
        f"# {plain(run.resolve().name)}\n\nA sequential recommender, trained with Versa on the dataset "
        f"{code(trained.dataset.name)}: it ranks items by what a user may take next, given the last {length} "
        f"that the user took. {items}"
    )


def _results(run: Path, reports: list[dict[str, Any]]) -> str:
    cutoffs = metrics.CUTOFFS
    head = ["split", "protocol", "users", "catalogue", "k"]
    rows = [
        [report["split"], report["protocol"], f"{report['users']:,}", f"{report['catalogue']:,}", str(k)]
        + [_percent(report["metrics"][f"{name}@{k}"]) for name in metrics.METRICS]
        for report in reports
        for k in cutoffs
    ]  # fmt: skip
    used = dict.fromkeys(report["protocol"] for report in reports)
    return "\n\n".join(
        [
            "## Results",
            table([*head, *(f"{name}@k" for name in metrics.METRICS)], rows),
            "In percent, with 95 % intervals over users. One item is to be found for each user, among the whole "
            "catalogue; items that score alike share their ranks.",
            "\n".join(f"- Protocol {code(name)}: {MASKED[name]}." for name in used),
            *_chosen(run),
        ]
    )


def _chosen(run: Path) -> list[str]:
    epochs = _epochs(run)
    if not epochs:
        return []
    best = max(epochs, key=lambda line: line["valid"]["HR@10"])  # of equals the first: training's
    value = 100 * best["valid"]["HR@10"]
    return [
        f"The weights are those of epoch {best['epoch']} of {len(epochs)}, which has the best HR@10 on valid "
        f"({value:.2f} %, under the run's own protocol); training does not look at the test split."
    ]


def _data(run: Path, trained: TrainedRecommender) -> str:
    splits, length = trained.splits, trained.config.sequence.max_len
    counts = trained.dataset.manifest.get("counts", {})
    known = read_environment(run)["dataset"]
    hashes = {"item ids": known.get(ITEMS), "interactions": known.get(INTERACTIONS)}
    facts = [
        ["dataset", code(trained.dataset.name)],
        *([what, f"{count:,}"] for what, count in counts.items()),
        ["users kept", f"{len(splits.user_ids):,}, who have at least {MIN_INTERACTIONS} interactions"],
        ["interactions kept", f"{splits.interactions:,}, the last {length + KEPT_BEYOND} of each of them"],
        ["catalogue", f"{len(splits.catalogue):,} items, all that occur among those"],
        ["train", f"{int((splits.train != 0).sum()):,} interactions: all but each user's last two"],
        ["valid", f"{len(splits.valid):,} interactions: each user's last but one"],
        ["test", f"{len(splits.test):,} interactions: each user's last"],
        *([f"SHA-256 of {what}", code(value)] for what, value in hashes.items() if value),
    ]  # fmt: skip
    return f"## Data\n\n{table(['', ''], facts)}"


def _training(run: Path, trained: TrainedRecommender) -> str:
    config, about = trained.config, {**_UNKNOWN, **read_environment(run)}
    epochs, processes = _epochs(run), about["processes"]
    seconds = [line["train_seconds"] for line in epochs if "train_seconds" in line]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    facts = [
        ["trainable parameters", f"{count_trainable(trained.model):,}"],
        ["item embeddings", f"{config.side.embedding_dim} wide"],
        ["sequence encoder", config.sequence_kind.about(config.sequence)],
        *([["began with the weights of", code(Path(config.init_from).name)]] if config.init_from else []),
        ["loss", f"{config.train.objective}, {config.train.loss}, {config.train.negatives} negatives"],
        ["optimizer", f"{config.train.optimizer}, {config.train.schedule}, base rate {config.train.rates.base:g}"],
        ["batch", f"{config.train.batch_size} users a step{'' if processes == 1 else f', in each of {processes} processes'}"],
        ["seed", str(config.train.seed)],
        *([["epochs", str(len(epochs))]] if epochs else []),
        *([["seconds an epoch", f"{statistics.median(seconds):.2f}, median, training alone"]] if seconds else []),
        ["device", plain(f"{about['device']}, mixed precision {about['mixed_precision']}")],
        ["versions", plain(f"python {about['python']}, {versions}")],
        *([["commit of Versa", code(str(about["git_commit"]))]] if about.get("git_commit") else []),
    ]  # fmt: skip
    return f"## Training\n\n{table(['', ''], facts)}"


def _limits(trained: TrainedRecommender) -> str:
    splits, protocol = trained.splits, trained.config.protocol
    unseen = int((splits.train_counts[splits.catalogue] == 0).sum())
    new = "has a vector that was never trained, and an item that the dataset does not have has none"
    if trained.config.knows_new_items:
        new = "is scored by its content alone; how well that works was not measured apart"
    limits = [
        f"What is masked depends on the protocol: under {code(protocol)}, the run's own, {MASKED[protocol]}. "
        "Numbers under different protocols are not comparable.",
        f"{unseen:,} of the {len(splits.catalogue):,} items of the catalogue occur in no training sequence. What "
        f"nobody took in training {new}.",
        f"It sees a user's last {trained.config.sequence.max_len} items in their order, and no times.",
        f"Users with fewer than {MIN_INTERACTIONS} interactions were neither trained on nor measured.",
        "The numbers are of held-out interactions of the same dataset.",
        "The licences of the dataset, encoders and captioners are not recorded.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _epochs(run: Path) -> list[dict[str, Any]]:
    """What the log says of each epoch."""
    return [entry for entry in log_lines(run) if "valid" in entry]


def _percent(metric: dict[str, float]) -> str:
    value, low, high = (100 * metric[key] for key in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
