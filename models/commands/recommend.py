"""`python -m models recommend RUN`."""

import argparse

from models.commands.command import Command, best_device
from toolkit.console.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """For whom, out of what, how many and where to."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--users", metavar="FILE", help="user ids, one a line; all users by default"
    )
    parser.add_argument(
        "--histories",
        metavar="FILE",
        help="instead of the dataset's users: .csv or .parquet (user_id, item_id[, timestamp_ms], or user_id, items), or .jsonl",
    )
    parser.add_argument(
        "--data",
        metavar="DATASET",
        help="another dataset with the run's towers; all of its items are recommended, trained on or not",
    )
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="ids of the only items to recommend, one a line; they need not have been trained on",
    )
    parser.add_argument("-k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument(
        "--output", metavar="FILE", help="where to write them: .arrow, .csv, .jsonl or .json"
    )


def run(options: argparse.Namespace) -> Answer:
    """Recommends, on a GPU where there is one."""
    from models.recommend import format_recommendations, read_ids, recommend

    table = recommend(
        options.run,
        users=read_ids(options.users, kind="user") if options.users else None,
        histories=options.histories,
        data=options.data,
        items=read_ids(options.items, kind="item") if options.items else None,
        k=options.k,
        output=options.output,
        device=best_device(),
        progress=True,
    )
    kept = f" in {options.output}" if options.output else " (--output FILE.arrow keeps them)"
    text = f"{format_recommendations(table)}\n{table.num_rows:,} rows{kept}"
    return Answer(text, table.to_pylist() if options.json else None)


COMMAND = Command(
    help="the best next items of users",
    about="Shows the first users' items; --output writes those of all users, with titles.",
    examples=(
        "python -m models recommend demo/runs/text-only -k 5",
        "python -m models recommend demo/runs/text-only -k 5 --output recommended.csv",
    ),
    add_options=add_options,
    run=run,
)
