"""`python -m models recommend RUN`."""

import argparse

from models.commands.command import Command
from toolkit.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """For whom, how many and where to."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--users", metavar="FILE", help="user ids, one a line; all users by default"
    )
    parser.add_argument("-k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument("--output", metavar="FILE.arrow", help="where to write them")


def run(options: argparse.Namespace) -> Answer:
    """Recommends, on a GPU where there is one."""
    import torch

    from models.recommend import format_recommendations, read_users, recommend

    users = read_users(options.users) if options.users else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table = recommend(options.run, users=users, k=options.k, output=options.output, device=device)
    kept = f" in {options.output}" if options.output else " (--output FILE.arrow keeps them)"
    text = f"{format_recommendations(table)}\n{table.num_rows:,} rows{kept}"
    return Answer(text, table.to_pylist() if options.json else None)


COMMAND = Command(
    help="the best next items of the dataset's users",
    about="Shows the first users' items; --output writes those of all users as an Arrow table.",
    examples=(
        "python -m models recommend demo/runs/text-only -k 5",
        "python -m models recommend demo/runs/text-only -k 5 --output recommended.arrow",
    ),
    add_options=add_options,
    run=run,
)
