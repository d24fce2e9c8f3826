"""`python -m models compare RUN RUN …`."""

import argparse

from models.commands.command import Command, add_evaluation
from toolkit.console.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """The runs, and how the table looks."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, the baseline first")
    add_evaluation(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="METRIC",
        help="HR@K, NDCG@K or MRR@K (default: HR@10 NDCG@10)",
    )
    parser.add_argument(
        "--format",
        choices=["text", "markdown", "latex"],
        default="text",
        help="of the table (default: text)",
    )


def run(options: argparse.Namespace) -> Answer:
    """Compares what the runs' evaluations wrote."""
    from models.compare import COMPARED, compare

    found = compare(
        options.runs,
        split=options.split,
        protocol=options.protocol,
        metrics=options.metrics or COMPARED,
    )
    return Answer(found.show(options.format), found.as_dict())


COMMAND = Command(
    help="runs side by side, each tested against the first over the same users",
    about="Reads what `evaluate` wrote into the runs, and writes nothing.",
    examples=(
        "python -m models compare demo/runs/text-only demo/runs/video-caption",
        "python -m models compare demo/runs/* --metrics NDCG@10 MRR@10 --format latex",
    ),
    add_options=add_options,
    run=run,
)
