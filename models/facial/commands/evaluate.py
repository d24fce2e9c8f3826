"""`python -m models.facial evaluate RUN`."""

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the run and the dataset."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--data",
        metavar="DATASET",
        help="the run's dataset, if it has moved; or another one: all of its faces are tested on the AUs that both have",
    )
    parser.add_argument(
        "--other_people",
        action="store_true",
        help="subjects of the other dataset with names of training subjects are other people",
    )
    parser.add_argument(
        "--batch_size", type=int, help="faces at a time; by default that of the training"
    )


def run(options: Namespace) -> Answer | None:
    """Tests on all processes that the launcher started."""
    from accelerate import Accelerator

    from models.facial.evaluate import evaluate
    from models.facial.measure import format_report

    accelerator = Accelerator()
    report = evaluate(
        options.run,
        data=options.data,
        other_people=options.other_people,
        device=str(accelerator.device),
        batch_size=options.batch_size,
    )
    accelerator.end_training()
    return Answer(format_report(report), report) if accelerator.is_main_process else None


COMMAND = PlainCommand(
    help="tests a run on the subjects of its fold, or on another dataset",
    about=(
        "Writes RUN/metrics/test.json with F1 per AU and its interval over subjects, and RUN/faces/test.arrow with the "
        "prediction for each face. With another dataset, the files are called cross-NAME, after the dataset."
    ),
    examples=(
        "python -m models.facial evaluate runs/tiny",
        "python -m models.facial evaluate runs/tiny --data disfa-dataset",
    ),
    add_options=add_options,
    run=run,
)
