"""`python -m models recommend RUN`."""

from jsonargparse import ArgumentParser, Namespace

from models.machine.device import best_device
from toolkit.arguments import refuse_one_file
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the users, the items to recommend from, how many, and where to write them."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--users", metavar="FILE", help="file of user ids, one per line; all users by default"
    )
    parser.add_argument(
        "--histories",
        metavar="FILE",
        help="histories to use instead of the dataset's users: .csv or .parquet (user_id, item_id[, timestamp_ms], or user_id, items), or .jsonl",
    )
    parser.add_argument(
        "--data",
        metavar="DATASET",
        help="another dataset with the run's towers; all of its items can be recommended, including new ones",
    )
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="file of item ids, one per line: recommend only these; they may be new",
    )
    parser.add_argument("-k", type=int, default=10, help="items per user")
    parser.add_argument(
        "--output", metavar="FILE", help="file to write them to: .arrow, .csv, .jsonl or .json"
    )


def run(options: Namespace) -> Answer:
    """Recommends, on a GPU if there is one."""
    from models.recommend import format_recommendations, read_ids, recommend

    items = options["items"]  # as an attribute it is a method of the namespace
    for name in ("users", "items"):
        refuse_one_file({f"--{name}": options[name], "--output": options.output})
    table = recommend(
        options.run,
        users=read_ids(options.users, kind="user") if options.users else None,
        histories=options.histories,
        data=options.data,
        items=read_ids(items, kind="item") if items else None,
        k=options.k,
        output=options.output,
        device=best_device(),
        progress=True,
    )
    kept = f" in {options.output}" if options.output else " (--output FILE.arrow keeps them)"
    text = f"{format_recommendations(table)}\n{table.num_rows:,} rows{kept}"
    return Answer(text, table.to_pylist() if options.json else None)


COMMAND = PlainCommand(
    help="recommends the top-k next items for users",
    about="Prints the items of the first users; --output writes those of all users, with titles.",
    examples=(
        "python -m models recommend demo/runs/text-only -k 5",
        "python -m models recommend demo/runs/text-only -k 5 --output recommended.csv",
    ),
    add_options=add_options,
    run=run,
)
