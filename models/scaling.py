"""A scaling study: one scenario over several encoders, metric against encoder size.

accelerate launch -m models.scaling --data DATASET --output FOLDER --over small base large [--beside cover]
    [any option of models.train]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from jsonargparse import ArgumentParser, Namespace

from models.config import parse_run_config
from models.results.plots import Point, can_plot, plot_points
from models.train import train
from toolkit.atomic import write_atomically
from toolkit.console.command_help import listed
from toolkit.console.door import run_command
from toolkit.console.parsing import new_parser, parse, split_arguments
from toolkit.console.terminal import EXIT_STATUSES, Answer, add_answer_options, answer
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.json_files import write_json

METRICS = ("HR@10", "NDCG@10")
PROG = "accelerate launch -m models.scaling"
ABOUT = """A scaling study: one scenario over several encoders, metric against encoder size.

Each tower after --over is trained in turn, together with the towers after
--beside, with the same settings. The output contains a run per tower,
scaling.json, scaling.md and, if matplotlib is installed, scaling.svg. Run the
command again to resume a study. All other options are those of models.train."""
EXAMPLES = (
    "accelerate launch -m models.scaling --data demo/dataset --output scaling \\\n"
    "      --over image_caption video_caption --beside title --config paper --train.epochs 5",
)


def study(
    data: str | Path,
    output: str | Path,
    over: Sequence[str],
    *,
    beside: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains a run per tower of `over`, and compares them by the size of their encoders.

    Args:
        data: dataset with all these towers.
        output: folder of the study.
        over: towers, one per run.
        beside: towers that every run also has.
        arguments: arguments of `models.train`, the same for every run.

    Returns:
        The contents of `scaling.json`: per tower its encoder, the encoder's number of weights (None if the dataset
        does not record it), its width, and test metrics with 95% intervals.

    Raises:
        UserError: if a tower is not stored or appears twice, or a run cannot be trained.
    """
    output, dataset = Path(output), open_dataset(data)
    if len({*over, *beside}) < len([*over, *beside]) or not over:
        raise UserError(f"towers {[*over, *beside]}: name each once, and at least one after --over")
    sizes = [_size(dataset, tower) for tower in over]  # raises for missing towers before training
    rows = []
    for tower, size in zip(over, sizes, strict=True):
        own = [f"--data={data}", f"--output={output / tower}", "--resume"]
        towers = json.dumps([tower, *beside])
        report = train(parse_run_config([*arguments, *own, f"--towers={towers}"]))
        rows.append({**size, **{name: report["metrics"][name] for name in METRICS}})
    result = {"data": str(data), "beside": list(beside), "split": report["split"],
              "protocol": report["protocol"], "towers": rows}  # fmt: skip
    if PartialState().is_main_process:
        write_json(output / "scaling.json", result)
        text = format_study(result)
        write_atomically(output / "scaling.md", lambda file: file.write(f"{text}\n".encode()))
        _plot(output / "scaling.svg", rows)
    return result


def format_study(result: dict[str, Any]) -> str:
    """A Markdown table, ordered by the size of the encoder, with metrics in percent."""
    lines = [
        "| tower | encoder | weights | width | " + " | ".join(METRICS) + " |",
        "|---" * (4 + len(METRICS)) + "|",
    ]
    for row in sorted(result["towers"], key=lambda row: row["weights"] or 0):
        weights = f"{row['weights']:,}" if row["weights"] else "unknown"
        cells = [row["tower"], row["encoder"], weights, str(row["width"])]
        for name in METRICS:
            value, low, high = (100 * row[name][key] for key in ("value", "low", "high"))
            cells.append(f"{value:.2f} [{low:.2f}, {high:.2f}]")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plots NDCG@10 of the encoders of known size. Prints a reason if there is no plot."""
    known = [row for row in rows if row["weights"]]
    if not (can_plot() and known):
        print(
            f"{path.name} not written: no encoder's size is known, or matplotlib is not installed"
        )
        return
    metric = METRICS[-1]
    points = [
        Point(
            row["tower"], row["weights"], *(100 * row[metric][k] for k in ("value", "low", "high"))
        )
        for row in known
    ]
    plot_points(
        path, points, x_name="weights of the encoder", y_name=f"{metric}, test, percent", log_x=True
    )


def _size(dataset: Dataset, tower: str) -> dict[str, Any]:
    metadata = dataset.states_metadata(tower)
    step = dataset.manifest["steps"].get(f"encode:{tower}", {})
    return {
        "tower": tower,
        "encoder": metadata["encoder"],
        "weights": step.get("encoder_parameters"),
        "width": int(metadata["width"]),
    }


def main() -> int:
    """Runs the command line."""
    parser = _parser()
    own, others = split_arguments(parser, sys.argv[1:])
    options = parse(parser, own, command=PROG)
    return answer(lambda: _study(options, others), as_json=options.json, quiet=options.quiet)


def _study(options: Namespace, others: list[str]) -> Answer | None:
    result = study(
        options.data, options.output, options.over, beside=options.beside, arguments=others
    )
    return Answer(format_study(result), result) if PartialState().is_main_process else None


def _parser() -> ArgumentParser:
    parser = new_parser(
        prog=PROG, description=ABOUT, epilog=f"{listed(EXAMPLES)}\n\n{EXIT_STATUSES}"
    )
    parser.add_argument("--data", required=True, metavar="DATASET", help="dataset with all towers")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder of the study")
    parser.add_argument(
        "--over", nargs="+", required=True, metavar="TOWER", help="towers, one per run"
    )
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="TOWER", help="towers that every run also has"
    )
    add_answer_options(parser)
    return parser


if __name__ == "__main__":
    run_command(main, interrupted="run the command again to go on")
