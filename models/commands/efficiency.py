"""`python -m models efficiency RUN …`."""

import argparse
from pathlib import Path

from models.commands.command import Command
from toolkit.console.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """The runs, how long they are measured, and where to."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, whose settings are measured"
    )
    parser.add_argument(
        "--states",
        nargs="+",
        choices=["stored", "live"],
        default=[],
        help="measure runs over hidden states with these; each run's own by default",
    )
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs (default: 3)")
    parser.add_argument("--warmup", type=int, default=1, help="epochs before them (default: 1)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="where to write the figures"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png|.svg", help="where to draw them")
    parser.add_argument(
        "--data", metavar="DATASET", help="where the runs' dataset lies now, if it has moved"
    )


def run(options: argparse.Namespace) -> Answer:
    """Trains each run afresh for a few epochs, in a process of its own."""
    from models.efficiency import efficiency, format_costs, plot_costs
    from models.results.plots import check_plot
    from toolkit.json_files import write_json

    if options.plot:
        check_plot(options.plot)
    report = efficiency(
        options.runs,
        states=options.states,
        epochs=options.epochs,
        warmup=options.warmup,
        data=options.data,
    )
    if options.output:
        write_json(options.output, report)
    if options.plot:
        plot_costs(report, options.plot)
    return Answer(format_costs(report), report)


COMMAND = Command(
    help="what runs cost: seconds an epoch, parameters, memory, TPME",
    about="Trains each run's settings afresh for a few epochs; nothing is written to the runs.",
    examples=(
        "python -m models efficiency demo/runs/id demo/runs/text-only --output costs.json",
        "python -m models efficiency demo/runs/text-only --states stored live --plot costs.svg",
    ),
    add_options=add_options,
    run=run,
)
