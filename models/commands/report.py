"""`python -m models report RUN …`."""

import argparse
from pathlib import Path

from models.commands.command import Command, add_evaluation, best_device
from toolkit.console.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """The runs, what of them is shown, and where to."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    add_evaluation(parser)
    parser.add_argument(
        "--costs",
        type=Path,
        metavar="FILE.json",
        help="what `efficiency --output` wrote of the runs",
    )
    parser.add_argument(
        "--users", type=int, default=12, help="how many to show with covers and lists (default: 12)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE.html",
        help="where to write the page (default: report.html)",
    )
    parser.add_argument(
        "--data", metavar="DATASET", help="where the runs' dataset lies now, if it has moved"
    )


def run(options: argparse.Namespace) -> Answer:
    """Gathers what the runs tell, and writes the page."""
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


COMMAND = Command(
    help="one page about runs, for people",
    about=(
        "Learning curves, metrics with intervals and tests, gates, costs, warm and cold items, coverage and "
        "popularity, and users to look at. Reads what `evaluate` wrote and recommends for every user. Writes one "
        "HTML file that needs no network."
    ),
    examples=(
        "python -m models report demo/runs/* --output report.html",
        "python -m models report demo/runs/id demo/runs/text-only --costs costs.json --users 20",
    ),
    add_options=add_options,
    run=run,
)
