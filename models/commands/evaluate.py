"""`python -m models evaluate RUN`."""

from jsonargparse import ArgumentParser, Namespace

from models.commands.evaluation_options import add_evaluation
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the run and the evaluation."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    add_evaluation(parser)
    parser.add_argument("--data", metavar="DATASET", help="the run's dataset, if it has moved")


def run(options: Namespace) -> Answer | None:
    """Evaluates on all processes that the launcher started."""
    from accelerate import Accelerator

    from models.evaluate import evaluate, format_report

    accelerator = Accelerator()
    report = evaluate(
        options.run,
        split=options.split,
        protocol=options.protocol,
        data=options.data,
        device=str(accelerator.device),
    )
    accelerator.end_training()
    return Answer(format_report(report), report) if accelerator.is_main_process else None


COMMAND = PlainCommand(
    help="computes the metrics of a run on a split",
    about=(
        "Ranks every user's target over the whole catalogue. Writes RUN/metrics/SPLIT.json and "
        "RUN/ranks/SPLIT.arrow (SPLIT.PROTOCOL.* if the protocol is not the run's own), and rewrites the model's "
        "card, RUN/model/README.md."
    ),
    examples=(
        "python -m models evaluate demo/runs/text-only --protocol clean",
        "accelerate launch --multi_gpu -m models evaluate demo/runs/text-only",
    ),
    add_options=add_options,
    run=run,
)
