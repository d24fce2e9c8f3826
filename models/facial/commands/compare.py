"""`python -m models.facial compare RUN RUN …`."""

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the runs and the test."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    parser.add_argument(
        "--test",
        metavar="NAME",
        default="test",
        help="which test: `test`, or `cross-NAME` of a test on another dataset",
    )


def run(options: Namespace) -> Answer:
    """Compares the tests of the runs."""
    from models.facial.compare import compare

    comparison = compare(options.runs, name=options.test)
    return Answer(comparison.show(), comparison.as_dict())


COMMAND = PlainCommand(
    help="compares runs, folds and seeds averaged, each method tested against the first over the same subjects",
    about=(
        "Reads the predictions that `evaluate` wrote into the runs. Runs that differ in nothing but fold and seed are one "
        "method. Writes nothing."
    ),
    examples=("python -m models.facial compare runs/full-* runs/stem-*",),
    add_options=add_options,
    run=run,
)
