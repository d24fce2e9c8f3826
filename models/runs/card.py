"""The model card, `RUN/model/README.md`: what the model is, its training data, settings and results.

All facts come from the run and its dataset; missing ones are left out. Training writes the card, and `evaluate` rewrites
it with its results.
"""

import re
import statistics
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from models.config import RunConfig
from models.inputs.content import describe_content
from models.inputs.provenance import describe_towers
from models.parameters import count_trainable
from models.runs.card_usage import caption_sections, tower_sections, usage_sections
from models.runs.files import MODEL, log_lines, protocol_of, read_environment, read_report
from models.runs.identity import INTERACTIONS, ITEMS
from models.runs.lineage import Lineage, counted
from models.runs.markdown import code, plain, table
from models.runs.pretrained import CARD
from models.runs.trained import TrainedRecommender
from toolkit import metrics
from toolkit.atomic import write_atomically
from toolkit.beyond_accuracy import describe, head, texts
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.protocols import NAMED

LIBRARY = "versa-toolkit"
TASK = "sequential-recommendation"
TAGS = (TASK, "recommendation", "multimodal", "versa")
_UNKNOWN = {"processes": 1, "versions": {}, "python": "?", "device": "?", "mixed_precision": "?"}
_NOT_IN_HUB_NAMES = re.compile(
    r"[^A-Za-z0-9_.-]+"
)  # characters that the hub's dataset names exclude


def write_card(trained: TrainedRecommender, run: str | Path) -> None:
    """Writes the card of a run's model with all evaluations so far.

    Args:
        trained: the model, with its dataset.
        run: run folder.
    """
    run = Path(run)
    provenance = describe_towers(trained.dataset, trained.config.reads)
    reports = _reports(run)
    data = _metadata(run, trained, reports)
    sections = [
        _headline(run, trained),
        _results(run, reports, select_by=trained.config.train.select_by),
        _data(run, trained),
        *tower_sections(trained, provenance),
        *caption_sections(provenance),
        _training(run, trained),
        *_lineage(run),
        *usage_sections(trained, provenance),
        _limits(trained),
    ]
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")
    write_atomically(run / MODEL / CARD, lambda file: file.write(str(card).encode()))


def _reports(run: Path) -> list[dict[str, Any]]:
    """The reports of all evaluations: test before valid, the run's own protocol before others, named ones before own."""
    order = {name: place for place, name in enumerate(("", *NAMED))}

    def place(path: Path) -> tuple[bool, int, str]:
        split, _, protocol = path.stem.partition(".")
        return split == "valid", order.get(protocol, len(order)), protocol

    return [read_report(path) for path in sorted((run / "metrics").glob("*.json"), key=place)]


def _metadata(
    run: Path, trained: TrainedRecommender, reports: list[dict[str, Any]]
) -> ModelCardData:
    """Front matter for the hub, with metrics as fractions. The run does not record licence and languages."""
    name = trained.dataset.name
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=_NOT_IN_HUB_NAMES.sub("-", name),
            dataset_name=name,
            dataset_config=report["protocol"],
            dataset_split=report["split"],
            dataset_args={"users": report["users"], "catalogue": report["catalogue"]},
            metric_type=metric,
            metric_name=f"{metric} ({report['split']}, protocol {report['protocol']})",
            metric_value=round(result["value"], 6),
            metric_args={"low_95": round(result["low"], 6), "high_95": round(result["high"], 6)},
        )
        for report in reports
        for metric, result in report["metrics"].items()
    ]
    return ModelCardData(
        library_name=LIBRARY,
        tags=list(TAGS),
        model_name=run.resolve().name,
        eval_results=results or None,
    )


def _headline(run: Path, trained: TrainedRecommender) -> str:
    config, length = trained.config, trained.config.sequence.max_len
    sort = "sequential" if config.general_kind is None else "general"
    return (
        f"# {plain(run.resolve().name)}\n\nA {sort} recommender, trained with Versa on the dataset "
        f"{code(trained.dataset.name)}. It ranks items as the next interaction of a user, given "
        f"{_given(config, length)}. {config.about}"
    )


def _given(config: RunConfig, length: int) -> str:
    """What the model reads of a user."""
    kind = config.general_kind
    if kind is not None and kind.needs_user:
        return "the user, who must be one of the training users"
    order = " in order" if kind is None else ""
    return f"the user's last {length} items{order}"


def _results(run: Path, reports: list[dict[str, Any]], *, select_by: str) -> str:
    cutoffs = metrics.CUTOFFS
    head = ["split", "protocol", "users", "catalogue", "k"]
    rows = [
        [report["split"], report["protocol"], f"{report['users']:,}", f"{report['catalogue']:,}", str(k)]
        + [_percent(report["metrics"][f"{name}@{k}"]) for name in metrics.METRICS]
        for report in reports
        for k in cutoffs
    ]  # fmt: skip
    used = {report["protocol"]: protocol_of(report) for report in reports}
    several = any(report["targets"] > report["users"] for report in reports)
    each = (
        "A user with several target items counts once, with the mean over them; each"
        if several
        else "Each user has one target item,"
    )
    return "\n\n".join(
        [
            "## Results",
            table([*head, *(f"{name}@k" for name in metrics.METRICS)], rows),
            f"In percent, with 95 % confidence intervals over users. {each} ranked against the whole catalogue; items with "
            "equal scores share the mean of their ranks.",
            "\n".join(f"- Protocol {code(name)}: {used[name].about}." for name in used),
            *_beyond_accuracy(reports),
            *_chosen(run, select_by),
        ]
    )


def _beyond_accuracy(reports: list[dict[str, Any]]) -> list[str]:
    """The metrics beyond accuracy, if a report has them."""
    measured = [report for report in reports if report.get("beyond")]
    if not measured:
        return []
    names = list(dict.fromkeys(name for report in measured for name in report["beyond"]))
    rows = [
        [report["split"], report["protocol"], *(_beyond_cell(report["beyond"], n) for n in names)]
        for report in measured
    ]
    contents = dict.fromkeys(
        describe_content(report["diversity_content"])
        for report in measured
        if "diversity_content" in report
    )
    notes = [f"Beyond accuracy, of the top-k lists of the same rankings: {describe(names)}."]
    if contents:
        towers = " and ".join(map(plain, contents))
        notes.append(f"Diversity compares the stored states of {towers}.")
    return [" ".join(notes), table(["split", "protocol", *map(head, names)], rows)]


def _beyond_cell(beyond: dict[str, Any], name: str) -> str:
    return " ".join(texts(name, beyond[name])).strip() if name in beyond else ""


def _chosen(run: Path, select_by: str) -> list[str]:
    epochs = [line for line in _epochs(run) if select_by in line["valid"]]
    if not epochs:
        return []
    best = max(
        epochs, key=lambda line: line["valid"][select_by]
    )  # the first of equals, as in training
    value = 100 * best["valid"][select_by]
    if best["epoch"] == 0:
        return [
            f"The weights are the initial ones: no epoch improved them. Their {select_by} on the validation split is "
            f"{value:.2f} %."
        ]
    trained = sum(line["epoch"] > 0 for line in epochs)
    return [
        f"The weights are from epoch {best['epoch']} of {trained}, which has the highest {select_by} on the validation "
        f"split ({value:.2f} %, under the run's own protocol). The test split is not used in training."
    ]


def _data(run: Path, trained: TrainedRecommender) -> str:
    splits, length = trained.splits, trained.config.sequence.max_len
    split = splits.protocol.split
    counts = trained.dataset.manifest.get("counts", {})
    recorded = read_environment(run)["dataset"]
    hashes = {"item ids": recorded.get(ITEMS), "interactions": recorded.get(INTERACTIONS)}
    facts = [
        ["dataset", code(trained.dataset.name)],
        *([name, f"{count:,}"] for name, count in counts.items()),
        ["split", f"{split.kind}, protocol {code(splits.protocol.name)}"],
        ["training users", f"{len(splits.user_ids):,}: {split.trained_users}"],
        *_share_of_users(trained),
        ["interactions kept", f"{splits.interactions:,}: {split.kept_are(length)}"],
        ["items kept", f"{len(splits.known):,}: all that occur in the kept interactions"],
        ["train", f"{int((splits.train != 0).sum()):,} interactions: {split.trained_on}"],
        ["valid", f"{len(splits.valid):,} targets: {split.targets_are['valid']}"],
        ["test", f"{len(splits.test):,} targets: {split.targets_are['test']}"],
        *([f"SHA-256 of {name}", code(value)] for name, value in hashes.items() if value),
    ]  # fmt: skip
    return f"## Data\n\n{table(['', ''], facts)}"


def _share_of_users(trained: TrainedRecommender) -> list[list[str]]:
    """The users that were trained on, if those are not all."""
    settings, train = trained.config.train, trained.splits.train
    if settings.user_share == 1:
        return []
    text = f"{int(train.any(axis=1).sum()):,}, a share of {settings.user_share:g} drawn with seed {settings.user_seed}"
    return [["users trained on", f"{text}; all are evaluated"]]


def _training(run: Path, trained: TrainedRecommender) -> str:
    config, environment = trained.config, {**_UNKNOWN, **read_environment(run)}
    epochs, processes = _epochs(run), environment["processes"]
    seconds = [line["train_seconds"] for line in epochs if "train_seconds" in line]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    facts = [
        ["trainable parameters", f"{count_trainable(trained.model):,}"],
        ["width of item embeddings", str(config.side.embedding_dim)],
        *([["sequence encoder", config.sequence_kind.about(config.sequence)]] if config.general_kind is None else []),
        *([["initial weights", code(Path(config.init_from).name)]] if config.init_from else []),
        ["loss", f"{config.train.objective}, {config.train.loss}, {config.train.negatives} negatives"],
        ["optimizer", f"{config.train.optimizer}, {config.train.schedule} schedule, base learning rate {config.train.rates.base:g}"],
        ["batch size", f"{config.train.batch_size} users{'' if processes == 1 else f' in each of {processes} processes'}"],
        ["seed", str(config.train.seed)],
        *([["epochs", str(len(epochs))]] if epochs else []),
        *([["seconds per epoch", f"{statistics.median(seconds):.2f}, median, without evaluation"]] if seconds else []),
        *([["study", _study(environment["study"])]] if environment.get("study") else []),
        ["device", plain(f"{environment['device']}, mixed precision {environment['mixed_precision']}")],
        ["versions", plain(f"python {environment['python']}, {versions}")],
        *([["commit of Versa", code(str(environment["git_commit"]))]] if environment.get("git_commit") else []),
    ]  # fmt: skip
    return f"## Training\n\n{table(['', ''], facts)}"


def _lineage(run: Path) -> list[str]:
    """Where the initial weights come from; nothing for new ones."""
    record = read_environment(run).get("lineage")
    if not isinstance(record, dict):
        return []
    lineage = Lineage.of_record(record)
    rows = [
        ["initial weights of", code(Path(lineage.source).name)],
        ["SHA-256 of these", code(lineage.weights_sha256)],
        ["taken", plain(counted(lineage.taken))],
        ["begins with new weights", plain(counted(lineage.fresh))],
        *([f"refused: {plain(name)}", plain(one.reason)] for name, one in lineage.refused.items()),
        *([f"before that: {plain(key)}", code(value)] for key, value in lineage.ancestors()),
    ]
    text = "Vectors of items and users never move to another dataset."
    return [f"## Lineage\n\n{table(['', ''], rows)}\n\n{text}"]


def _study(study: dict[str, Any]) -> str:
    """The study that a run is part of, as environment.json records it (`models.study`)."""
    return (
        f"{code(str(study.get('hash')))}, method {plain(str(study.get('method')))}: its settings are among "
        f"{study.get('trials')} trials per method"
    )


def _limits(trained: TrainedRecommender) -> str:
    splits, protocol = trained.splits, trained.config.evaluation_protocol
    unseen = int((splits.train_counts[splits.known] == 0).sum())
    new = "Their vectors are untrained, and items outside the dataset have no vector."
    if trained.config.knows_new_items:
        new = "The model scores them by content alone. The quality of these scores was not measured separately."
    moments = "with their times" if trained.model.takes_times else "without timestamps"
    limits = [
        f"Results depend on the protocol: under {code(protocol.name)}, the run's own, {protocol.about}. "
        "Results under different protocols are not comparable.",
        f"{unseen:,} of the {len(splits.known):,} kept items occur in no training sequence. {new}",
        f"The model reads {_given(trained.config, trained.config.sequence.max_len)}, {moments}.",
        f"Users with fewer than {MIN_INTERACTIONS} interactions were excluded from training and evaluation.",
        "The results are measured on held-out interactions of the same dataset.",
        "The licences of the dataset, encoders and captioners are not recorded.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _epochs(run: Path) -> list[dict[str, Any]]:
    """The log entries of the epochs."""
    return [entry for entry in log_lines(run) if "valid" in entry]


def _percent(metric: dict[str, float]) -> str:
    value, low, high = (100 * metric[key] for key in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
