"""Evaluates a run's best model on a split: metrics with intervals, and the rank of each user's target.

`python -m models evaluate RUN [--split valid|test] [--protocol NAME|FILE.yaml]`, also under `accelerate launch`. Only this
module reads the test split.
"""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.inputs.content import describe_content, open_content
from models.machine.parallel import decided_by_first, rank_and_world
from models.ranking.ranks import rank_and_list
from models.runs.card import write_card
from models.runs.files import protocol_of
from models.runs.run import load_own
from models.runs.trained import TrainedRecommender
from toolkit import beyond_accuracy, metrics, schema
from toolkit.arguments import a_path, one_of
from toolkit.console.command_help import WIDTH
from toolkit.json_files import write_json
from toolkit.own_protocols import ProtocolLike, as_protocol
from toolkit.slices import measure_slices, slices_of
from toolkit.splits import Evaluation, SplitName, Splits
from toolkit.store import write_table

Split = SplitName
SLICED = "HR@10"  # printed for each slice


def evaluate(
    run: str | Path,
    *,
    split: Split = "test",
    protocol: ProtocolLike | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluates a run's best model (`measure`).

    Args:
        run: run folder.
        split: `valid` or `test`.
        protocol: a protocol with the same split as the run's own, which is the default.
        data: the current path of the run's dataset, if it has moved.
        device: device of the computation.
        progress: whether to draw a progress bar.

    Returns:
        The contents of the metrics file.

    Raises:
        UserError: if the run cannot be opened (`models.load`), its dataset has changed, or the protocol trains on other
            data or has no target.
    """
    one_of(split, Split, name="split")
    protocol = None if protocol is None else as_protocol(protocol)
    trained = load_own(run, data=data, device=device)
    return measure(trained, run, split=split, protocol=protocol, progress=progress)


def measure(
    trained: TrainedRecommender,
    run: str | Path,
    *,
    split: Split = "test",
    protocol: ProtocolLike | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Ranks each target in the full catalogue, and writes metrics and ranks into the run.

    Metrics are means over users; a user with several targets (protocol `time-successive`) counts once, with the mean over
    the targets. The table of ranks has a row per target.

    Under the run's own protocol the files are `metrics/SPLIT.json` and `ranks/SPLIT.arrow`; under other protocols,
    `metrics/SPLIT.PROTOCOL.json` and `ranks/SPLIT.PROTOCOL.arrow`. Also rewrites the model card.

    Args:
        trained: the model, with its dataset.
        run: run folder.
        split: `valid` or `test`.
        protocol: a protocol with the same split as the run's own, which is the default.
        progress: whether to draw a progress bar.

    Returns:
        The contents of the metrics file.
    """
    run = a_path(run, name="run")
    one_of(split, Split, name="split")  # it becomes part of a file name
    own = trained.config.evaluation_protocol
    protocol = own if protocol is None else as_protocol(protocol)
    splits = trained.splits if protocol == own else trained.splits_under(protocol)
    evaluation = splits.evaluation(split)
    rank, _ = rank_and_world()
    catalogue = trained.catalogue_of(evaluation)
    ranks, lists = rank_and_list(
        trained.model,
        catalogue,
        evaluation,
        k=beyond_accuracy.K,
        progress=progress and rank == 0,
    )
    report = {
        "protocol": protocol.name,
        "protocol_settings": protocol.settings,
        "split": split,
        "users": len(evaluation.user_ids),
        "targets": len(evaluation),
        "catalogue": evaluation.ranked_items,
        "metrics": metrics.summarise(ranks, users=evaluation.users),
        "slices": measure_slices(
            slices_of(evaluation, splits.train_counts, trained.dataset.timed_histories()),
            ranks,
            evaluation.users,
        ),
        **_without_vector(trained, evaluation),
        **decided_by_first(lambda: _beyond_accuracy(trained, splits, evaluation, lists)),
    }
    if rank == 0:
        name = split if protocol == own else f"{split}.{protocol}"
        table = _ranks_table(trained, evaluation, ranks).replace_schema_metadata(
            {schema.PROTOCOL: json.dumps(protocol.record)}
        )
        write_table(run / "ranks" / f"{name}.arrow", table, compression="zstd")
        write_json(run / "metrics" / f"{name}.json", report)
        write_card(trained, run)
    return report


def format_report(report: dict[str, Any]) -> str:
    """A report as a text table, in percent with 95% intervals."""
    several = f" · {report['targets']:,} targets" if report["targets"] > report["users"] else ""
    lines = [
        f"{report['split']} · protocol {report['protocol']} · {report['users']:,} users{several} · "
        f"{report['catalogue']:,} items"
    ]
    for name, m in report["metrics"].items():
        lines.append(
            f"  {name:<8} {100 * m['value']:6.2f} %   [{100 * m['low']:.2f}, {100 * m['high']:.2f}]"
        )
    for name, result in report.get("beyond", {}).items():
        value, interval = beyond_accuracy.texts(name, result)
        noun = beyond_accuracy.unit(name).noun
        lines.append(f"  {name:<14} {value:>9} {noun:<12} {interval}".rstrip())
    if "diversity_content" in report:
        lines.append(f"  diversity over {describe_content(report['diversity_content'])}")
    if report["slices"]:
        parts = [
            f"{name} {100 * part['metrics'][SLICED]['value']:.2f} % ({part['users']:,} users)"
            for name, part in report["slices"].items()
        ]
        text = f"{SLICED} by slice: {', '.join(parts)}"
        lines.append(fill(text, WIDTH, initial_indent="  ", subsequent_indent="    "))
    if caution := protocol_of(report).catalogue.caution:
        lines.append(
            fill(f"a new target: {caution}", WIDTH, initial_indent="  ", subsequent_indent="    ")
        )
    if "users_without_vector" in report:
        lines.append(
            f"{report['users_without_vector']:,} users were not trained on; the model has a vector per training user, and "
            "ranks for them with a vector of zeros"
        )
    return "\n".join(lines)


def _without_vector(trained: TrainedRecommender, evaluation: Evaluation) -> dict[str, int]:
    """The number of users of whom a model with a vector per training user has none: their vector is zeros."""
    kind = trained.config.general_kind
    users = len(np.unique(evaluation.users[evaluation.rows == 0]))
    needed = kind is not None and kind.needs_user and users
    return {"users_without_vector": users} if needed else {}


def _beyond_accuracy(
    trained: TrainedRecommender,
    splits: Splits,
    evaluation: Evaluation,
    lists: NDArray[np.int32],
) -> dict[str, Any]:
    """Metrics of the top-k lists, and the content that their diversity compares."""
    content = open_content(trained.dataset)
    beyond = beyond_accuracy.summarise(
        lists,
        evaluation.targets,
        beyond_accuracy.training_counts(splits.train, items=trained.dataset.items.num_rows),
        catalogue=evaluation.catalogue,
        users=evaluation.users,
        vectors=None if content is None else content.vectors,
    )
    over = {} if content is None else {"diversity_content": content.provenance}
    return {"beyond": beyond, **over}


def _ranks_table(
    trained: TrainedRecommender, evaluation: Evaluation, ranks: NDArray[np.float64]
) -> pa.Table:
    """A row per target."""
    users = pa.array(evaluation.user_ids, pa.string()).take(pa.array(evaluation.users))
    ids = trained.dataset.items.column("item_id").take(pa.array(evaluation.targets - 1))
    return pa.table([users, ids, ranks], schema=schema.RANKS)
