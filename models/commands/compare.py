"""`python -m models compare RUN RUN …`."""

from jsonargparse import ArgumentParser, Namespace

from models.commands.evaluation_options import add_evaluation
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the runs, the metrics and the format of the table."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    add_evaluation(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="METRIC",
        help="HR@K, NDCG@K or MRR@K; HR@10 and NDCG@10 by default",
    )
    parser.add_argument(
        "--format",
        choices=["text", "markdown", "latex"],
        default="text",
        help="format of the table",
    )


def run(options: Namespace) -> Answer:
    """Compares the evaluations of the runs."""
    from models.compare import COMPARED, compare

    comparison = compare(
        options.runs,
        split=options.split,
        protocol=options.protocol,
        metrics=options.metrics or COMPARED,
    )
    return Answer(comparison.show(options.format), comparison.as_dict())


COMMAND = PlainCommand(
    help="compares runs, each tested against the first over the same users",
    about="Reads the metrics and ranks that `evaluate` wrote into the runs. Writes nothing.",
    examples=(
        "python -m models compare demo/runs/text-only demo/runs/video-caption",
        "python -m models compare demo/runs/* --metrics NDCG@10 MRR@10 --format latex",
    ),
    add_options=add_options,
    run=run,
)
