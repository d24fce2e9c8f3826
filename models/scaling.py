"""A scaling study: one scenario over several encoders, metric against encoder size.

accelerate launch -m models.scaling --data DATASET --output STUDY --over small base large [--beside cover]
    [any option of models.train]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from models.config import parse_run_config
from models.machine.parallel import rank_and_world
from models.study import Method, Plan
from models.study.reading import SET_BY_STUDY
from models.study.study import MARKDOWN, PAGE, study
from toolkit.console.command_help import listed
from toolkit.console.door import run_command
from toolkit.console.parsing import new_parser, parse, split_arguments
from toolkit.console.terminal import EXIT_STATUSES, Answer, add_answer_options, answer
from toolkit.dataset import open_dataset
from toolkit.errors import UserError
from toolkit.settings import split_files

_OF_THE_STUDY = ("towers", "train.evaluate_every", "train.test")
PROG = "accelerate launch -m models.scaling"
ABOUT = """A scaling study: one scenario over several encoders, metric against encoder size.

A study (python -m models study) whose methods are the towers after --over. Each
is trained in turn, together with the towers after --beside, with the same
settings and every seed. The output contains the runs, results.json, results.md
and report.html, which draws the metric by the number of weights. Run the command
again to continue a study. All other options are those of models.train."""
EXAMPLES = (
    "accelerate launch -m models.scaling --data demo/dataset --output scaling \\\n"
    "      --over image_caption video_caption --beside title --config paper --train.epochs 5",
)


def scaling_plan(
    data: str | Path,
    over: Sequence[str],
    *,
    beside: Sequence[str] = (),
    seeds: Sequence[int] = (),
    arguments: Sequence[str] = (),
) -> Plan:
    """The plan of a study with a method per tower.

    Args:
        data: dataset with all these towers.
        over: towers, one per method.
        beside: towers that every method also has.
        seeds: seeds of the runs; `train.seed` by default.
        arguments: arguments of `models.train`, the same for every run.

    Raises:
        UserError: if a tower is not stored or appears twice, or an argument is invalid.
    """
    dataset = open_dataset(data)
    if len({*over, *beside}) < len([*over, *beside]) or not over:
        raise UserError(f"towers {[*over, *beside]}: name each once, and at least one after --over")
    for tower in (*over, *beside):
        dataset.states_metadata(tower)  # raises for a missing tower before any training
    files, options = split_files([word for word in arguments if word != "--resume"])
    config = parse_run_config([*arguments, f"--data={data}", "--output=RUN", f"--towers=[{over[0]}]"])  # fmt: skip
    given = _settings(options)
    needless = [key for key in _OF_THE_STUDY if key in given]
    needless += ["train.seed"] if seeds and "train.seed" in given else []
    if needless:
        raise UserError(
            f"--{needless[0]} has no effect: the study sets it for each of its runs; leave it out"
        )
    settings = {k: v for k, v in given.items() if k not in SET_BY_STUDY}
    return Plan(
        datasets={dataset.path.resolve().name: str(data)},
        protocols=[config.protocol],
        methods={tower: Method(files, {**settings, "towers": [tower, *beside]}) for tower in over},
        metric=config.train.select_by,
        seeds=list(seeds) or [config.train.seed],
        epochs=config.train.epochs,
        seconds=config.train.max_seconds,
        patience=config.train.patience,
    )


def _settings(options: Sequence[str]) -> dict[str, str]:
    """Options, `--KEY VALUE` or `--KEY=VALUE`, as text by key."""
    found, rest = {}, iter(options)
    for option in rest:
        key, equals, value = option.removeprefix("--").partition("=")
        found[key] = value if equals else next(rest, "")
    return found


def main() -> int:
    """Runs the command line."""
    parser = _parser()
    own, others = split_arguments(parser, sys.argv[1:])
    options = parse(parser, own, command=PROG)
    return answer(lambda: _study(options, others), as_json=options.json, quiet=options.quiet)


def _study(options: Namespace, others: list[str]) -> Answer | None:
    plan = scaling_plan(
        options.data, options.over, beside=options.beside, seeds=options.seeds, arguments=others
    )
    results: dict[str, Any] = study(
        plan, options.output, jobs=options.jobs, report=lambda line: print(line, flush=True)
    )
    if rank_and_world()[0]:
        return None
    folder = Path(options.output)
    return Answer(f"{(folder / MARKDOWN).read_text(encoding='utf-8')}\n{folder / PAGE}", results)


def _parser() -> ArgumentParser:
    parser = new_parser(
        prog=PROG, description=ABOUT, epilog=f"{listed(EXAMPLES)}\n\n{EXIT_STATUSES}"
    )
    parser.add_argument("--data", required=True, metavar="DATASET", help="dataset with all towers")
    parser.add_argument("--output", required=True, metavar="STUDY", help="folder of the study")
    parser.add_argument(
        "--over", nargs="+", required=True, metavar="TOWER", help="towers, one per method"
    )
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="TOWER", help="towers that every method also has"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[], metavar="SEED", help="seeds of the runs"
    )
    parser.add_argument("--jobs", type=int, default=0, help="runs at the same time; 1 by default")
    add_answer_options(parser)
    return parser


def run() -> None:
    """The process, from its arguments to its exit status."""
    run_command(main, interrupted="run the command again to continue")


if __name__ == "__main__":
    run()
