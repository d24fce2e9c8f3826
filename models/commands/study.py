"""`python -m models study STUDY.yaml --output STUDY`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the plan, the folder, and how runs are executed."""
    parser.add_argument(
        "plan",
        metavar="STUDY.yaml",
        help="file of the study, or the name of one that comes with Versa",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="STUDY", help="folder of the study"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        help="runs at the same time; 1 by default, or all that fit into a cluster",
    )
    parser.add_argument(
        "--executor",
        choices=["processes", "ray"],
        default="processes",
        help="where runs are executed",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="running Ray cluster; by default one is started on this machine",
    )
    parser.add_argument(
        "--gpus-per-trial",
        type=float,
        default=0.0,
        help="GPUs per run of a Ray cluster, such as 1 or 0.5",
    )
    parser.add_argument(
        "--amend",
        action="store_true",
        help="continue although the plan has changed after the first result; the report states what changed",
    )


def run(options: Namespace) -> Answer | None:
    """Runs what the study lacks, and writes its results; None in all processes of a launcher but the first."""
    from models.machine.parallel import rank_and_world
    from models.study.study import MARKDOWN, PAGE, study

    results = study(
        options.plan,
        options.output,
        jobs=options.jobs,
        executor=options.executor,
        address=options.address,
        gpus_per_trial=options.gpus_per_trial,
        amend=options.amend,
        report=lambda line: print(line, flush=True),
    )
    if rank_and_world()[0]:
        return None
    text = (options.output / MARKDOWN).read_text(encoding="utf-8")
    return Answer(f"{text}\n{options.output / PAGE}", results)


COMMAND = PlainCommand(
    help="compares methods with equal budgets, as one file fixes them before the first result",
    about=(
        "Searches the settings of each method, trains the selected settings with every seed, and tests them under every "
        "protocol. Writes STUDY/results.json, results.md, results.tex, report.html and the runs. Run the command again to "
        "continue a study that was interrupted."
    ),
    examples=(
        "python -m models study demo --output demo/study",
        "python -m models study demo --output demo/study --jobs 4",
    ),
    add_options=add_options,
    run=run,
)
