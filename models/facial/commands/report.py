"""`python -m models.facial report RUN`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from models.machine.device import best_device
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the run, what to show of it, and the page to write."""
    parser.add_argument("run", metavar="RUN", help="run folder with a test")
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), metavar="PAGE", help="page to write"
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=4,
        help="how many faces of each kind, right and wrong, to show; 0 for a page without pictures of people",
    )
    parser.add_argument("--data", metavar="DATASET", help="the run's dataset, if it has moved")


def run(options: Namespace) -> Answer:
    """Collects the results of the run, and writes the page."""
    from models.facial.report import report
    from models.facial.reporting.findings import find

    facts = report(
        options.run,
        output=options.output,
        examples=options.examples,
        data=options.data,
        device=best_device(),
    )
    return Answer("\n".join([*find(facts), f"{options.output}"]), facts)


COMMAND = PlainCommand(
    help="writes a page about a run: F1, curves, calibration, faces with attention and texts, errors",
    about=(
        "Reads what `evaluate` wrote, tests on other datasets included, and runs the network on the faces that are shown. "
        "Writes one HTML file that needs no network."
    ),
    examples=("python -m models.facial report runs/tiny --output faces.html",),
    add_options=add_options,
    run=run,
)
