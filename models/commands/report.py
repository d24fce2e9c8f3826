"""`python -m models report RUN …`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from models.commands.evaluation_options import add_evaluation
from models.machine.device import best_device
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the runs, what to show of them, and the page to write."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    add_evaluation(parser)
    parser.add_argument(
        "--costs",
        type=Path,
        metavar="FILE.json",
        help="file that `efficiency --output` wrote for these runs",
    )
    parser.add_argument(
        "--users", type=int, default=12, help="how many users to show with covers and lists"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE.html",
        help="page to write",
    )
    parser.add_argument("--data", metavar="DATASET", help="the runs' dataset, if it has moved")


def run(options: Namespace) -> Answer:
    """Collects the results of the runs, and writes the page."""
    from models.report import report
    from models.reporting.findings import find

    facts = report(
        options.runs,
        output=options.output,
        split=options.split,
        protocol=options.protocol,
        costs=options.costs,
        users=options.users,
        data=options.data,
        device=best_device(),
    )
    return Answer("\n".join([*find(facts), f"{options.output}"]), facts)


COMMAND = PlainCommand(
    help="writes a page about runs: curves, metrics, costs, users to look at",
    about=(
        "Shows learning curves, metrics with intervals and tests, gates, costs, warm and cold items, coverage and "
        "popularity, and a gallery of users. Reads what `evaluate` wrote, and recommends for every user. Writes one "
        "HTML file that needs no network."
    ),
    examples=(
        "python -m models report demo/runs/* --output report.html",
        "python -m models report demo/runs/id demo/runs/text-only --costs costs.json --users 20",
    ),
    add_options=add_options,
    run=run,
)
