"""Evaluates a run's best model on a split: metrics with intervals, and the rank of each user's target.

`python -m models evaluate RUN [--split valid|test] [--protocol paper|clean|unmasked]`, also under
`accelerate launch`. Only this module reads the test split.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.inputs.content import describe_content, open_content
from models.machine.parallel import decided_by_first, rank_and_world
from models.ranking.ranks import rank_and_list
from models.runs.card import write_card
from models.runs.run import load_own
from models.runs.trained import TrainedRecommender
from toolkit import beyond_accuracy, metrics, schema
from toolkit.arguments import a_path, one_of
from toolkit.json_files import write_json
from toolkit.splits import Evaluation, Ints, Protocol, Splits
from toolkit.store import write_table

Split = Literal["valid", "test"]


def evaluate(
    run: str | Path,
    *,
    split: Split = "test",
    protocol: Protocol | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluates a run's best model (`measure`).

    Args:
        run: run folder.
        split: `valid` or `test`.
        protocol: selects the masked items; the run's own by default.
        data: the current path of the run's dataset, if it has moved.
        device: device of the computation.
        progress: whether to draw a progress bar.

    Returns:
        The contents of the metrics file.

    Raises:
        UserError: if the run cannot be opened (`models.load`), or its dataset has changed.
    """
    one_of(split, Split, name="split")
    if protocol is not None:
        one_of(protocol, Protocol, name="protocol")
    trained = load_own(run, data=data, device=device)
    return measure(trained, run, split=split, protocol=protocol, progress=progress)


def measure(
    trained: TrainedRecommender,
    run: str | Path,
    *,
    split: Split = "test",
    protocol: Protocol | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Ranks each user's target in the full catalogue, and writes metrics and ranks into the run.

    Under the run's own protocol the files are `metrics/SPLIT.json` and `ranks/SPLIT.arrow`; under other protocols,
    `metrics/SPLIT.PROTOCOL.json` and `ranks/SPLIT.PROTOCOL.arrow`. Also rewrites the model card.

    Args:
        trained: the model, with its dataset.
        run: run folder.
        split: `valid` or `test`.
        protocol: selects the masked items; the run's own by default.
        progress: whether to draw a progress bar.

    Returns:
        The contents of the metrics file.
    """
    run = a_path(run, name="run")
    one_of(split, Split, name="split")  # it becomes part of a file name
    own = trained.config.protocol
    protocol = protocol or own
    splits = trained.splits
    if protocol != own:
        splits = trained.splits_under(protocol)
    evaluation = splits.evaluation(split)
    rank, _ = rank_and_world()
    ranks, lists = rank_and_list(
        trained.model,
        trained.catalogue,
        evaluation,
        k=beyond_accuracy.K,
        progress=progress and rank == 0,
    )
    report = {
        "protocol": protocol,
        "split": split,
        "users": len(evaluation),
        "catalogue": len(splits.catalogue),
        "metrics": metrics.summarise(ranks),
        **decided_by_first(lambda: _beyond_accuracy(trained, splits, evaluation, lists)),
    }
    if rank == 0:
        name = split if protocol == own else f"{split}.{protocol}"
        table = _ranks_table(trained, splits.user_ids, evaluation, ranks)
        write_table(run / "ranks" / f"{name}.arrow", table, compression="zstd")
        write_json(run / "metrics" / f"{name}.json", report)
        write_card(trained, run)
    return report


def format_report(report: dict[str, Any]) -> str:
    """A report as a text table, in percent with 95% intervals."""
    lines = [
        f"{report['split']} · protocol {report['protocol']} · {report['users']:,} users · "
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
    return "\n".join(lines)


def _beyond_accuracy(
    trained: TrainedRecommender, splits: Splits, evaluation: Evaluation, lists: Ints
) -> dict[str, Any]:
    """Metrics of the top-k lists, and the content that their diversity compares."""
    content = open_content(trained.dataset)
    beyond = beyond_accuracy.summarise(
        lists,
        evaluation.targets,
        beyond_accuracy.training_counts(splits.train, items=trained.dataset.items.num_rows),
        catalogue=len(splits.catalogue),
        vectors=None if content is None else content.vectors,
    )
    over = {} if content is None else {"diversity_content": content.provenance}
    return {"beyond": beyond, **over}


def _ranks_table(
    trained: TrainedRecommender,
    user_ids: list[str],
    evaluation: Evaluation,
    ranks: NDArray[np.float64],
) -> pa.Table:
    ids = trained.dataset.items.column("item_id").take(pa.array(evaluation.targets - 1))
    return pa.table([pa.array(user_ids), ids, ranks], schema=schema.RANKS)
