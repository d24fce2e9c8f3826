"""Command line over trained runs: `python -m models evaluate|recommend|compare|efficiency RUN …`."""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator

from models.compare import FORMATS, compare
from models.efficiency import efficiency, format_costs, plot_costs
from models.evaluate import evaluate, format_report
from models.plots import check_plot
from models.recommend import format_recommendations, read_users, recommend
from toolkit.errors import run_command
from toolkit.store import write_json

EXAMPLES = """examples:
  python -m models evaluate runs/text-only --protocol clean
  python -m models recommend runs/text-only -k 5 --output recommended.arrow
  python -m models compare runs/text-only runs/video-caption --format latex
  python -m models efficiency runs/text-only runs/id --states stored live --output costs.json
training has a command of its own:
  accelerate launch -m models.train --help"""


def main() -> None:
    """Parses the arguments and runs the command."""
    options = _parser().parse_args()
    options.go(options)


def _evaluate(options: argparse.Namespace) -> None:
    accelerator = Accelerator()
    report = evaluate(
        options.run,
        split=options.split,
        protocol=options.protocol,
        device=str(accelerator.device),
    )
    accelerator.print(format_report(report))
    accelerator.end_training()


def _recommend(options: argparse.Namespace) -> None:
    users = read_users(options.users) if options.users else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table = recommend(options.run, users=users, k=options.k, output=options.output, device=device)
    print(format_recommendations(table))
    print(
        f"{table.num_rows:,} rows"
        + (f" in {options.output}" if options.output else " (--output FILE.arrow keeps them)")
    )


def _compare(options: argparse.Namespace) -> None:
    found = compare(options.runs, split=options.split, protocol=options.protocol)
    print(found.show(options.format))


def _efficiency(options: argparse.Namespace) -> None:
    if options.plot:
        check_plot(options.plot)
    report = efficiency(
        options.runs, states=options.states, epochs=options.epochs, warmup=options.warmup
    )
    print(format_costs(report))
    if options.output:
        write_json(options.output, report)
    if options.plot:
        plot_costs(report, options.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Evaluates and uses trained recommenders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("evaluate", help="metrics of a run on a split, into RUN/metrics")
    measure.set_defaults(go=_evaluate)
    measure.add_argument("run", help="run folder")
    _add_evaluation(measure)
    suggest = commands.add_parser("recommend", help="the best next items of the dataset's users")
    suggest.set_defaults(go=_recommend)
    suggest.add_argument("run", help="run folder")
    suggest.add_argument(
        "--users", metavar="FILE", help="user ids, one a line; all users by default"
    )
    suggest.add_argument("-k", type=int, default=10, help="items a user (default: 10)")
    suggest.add_argument("--output", metavar="FILE.arrow", help="where to write them")
    side = commands.add_parser(
        "compare", help="runs side by side, each tested against the first over the same users"
    )
    side.set_defaults(go=_compare)
    side.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    _add_evaluation(side)
    side.add_argument("--format", choices=FORMATS, default="text")
    cost = commands.add_parser(
        "efficiency", help="what runs cost: seconds an epoch, parameters, memory, TPME"
    )
    cost.set_defaults(go=_efficiency)
    cost.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, whose settings are measured"
    )
    cost.add_argument(
        "--states",
        nargs="+",
        choices=["stored", "live"],
        default=[],
        help="measure runs over hidden states with these; each run's own by default",
    )
    cost.add_argument("--epochs", type=int, default=3, help="timed epochs (default: 3)")
    cost.add_argument("--warmup", type=int, default=1, help="epochs before them (default: 1)")
    cost.add_argument("--output", type=Path, metavar="FILE.json", help="where to write the figures")
    cost.add_argument("--plot", type=Path, metavar="FILE.png|.svg", help="where to draw them")
    return parser


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=["valid", "test"], default="test")
    parser.add_argument(
        "--protocol",
        choices=["paper", "clean", "unmasked"],
        help="what ranking masks: the kept history (paper), the whole history but the target (clean), nothing (unmasked); the run's own by default",
    )


if __name__ == "__main__":
    run_command(main)
