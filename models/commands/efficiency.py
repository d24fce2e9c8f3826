"""`python -m models efficiency RUN …`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from toolkit.arguments import refuse_one_file
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the runs, how long to measure them, and where to write the result."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; their settings are measured"
    )
    parser.add_argument(
        "--states",
        nargs="+",
        choices=["stored", "live"],
        default=[],
        help="measure runs over hidden states with stored or live states; by default with each run's own",
    )
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--warmup", type=int, default=1, help="untimed epochs before them")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="JSON file to write the results to"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png|.svg", help="file to plot them to")
    parser.add_argument("--data", metavar="DATASET", help="the runs' dataset, if it has moved")


def run(options: Namespace) -> Answer:
    """Trains each run's settings from scratch for a few epochs, in a separate process."""
    from models.efficiency import efficiency, format_costs, plot_costs
    from models.results.plots import check_plot
    from toolkit.json_files import write_json

    refuse_one_file({"--output": options.output, "--plot": options.plot})
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


COMMAND = PlainCommand(
    help="measures the cost of runs: seconds per epoch, parameters, memory, TPME",
    about="Trains each run's settings from scratch for a few epochs. Writes nothing into the runs.",
    examples=(
        "python -m models efficiency demo/runs/id demo/runs/text-only --output costs.json",
        "python -m models efficiency demo/runs/text-only --states stored live --plot costs.svg",
    ),
    add_options=add_options,
    run=run,
)
