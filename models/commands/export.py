"""`python -m models export RUN OUT.npy`."""

from jsonargparse import ArgumentParser, Namespace

from models.commands.command import Command, best_device
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the run and the files to write."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("file", metavar="OUT.npy", help="file to write; the ids go to OUT.ids.txt")
    parser.add_argument(
        "--index", metavar="OUT.faiss", help="also write a FAISS index of the catalogue"
    )
    parser.add_argument(
        "--kind",
        choices=["flat", "hnsw"],
        default="flat",
        help="kind of index: exact (flat), or approximate and faster (hnsw)",
    )
    parser.add_argument(
        "--users", metavar="USERS.npy", help="also write the states of the dataset's users"
    )
    parser.add_argument("--data", metavar="DATASET", help="another dataset with the run's towers")


def run(options: Namespace) -> Answer:
    """Encodes the items, on a GPU if there is one."""
    from models.export import export_items

    written = export_items(
        options.run,
        options.file,
        index=options.index,
        kind=options.kind,
        users=options.users,
        data=options.data,
        device=best_device(),
    )
    text = "\n".join(f"{what}: {file}" for what, file in written.items())
    return Answer(text, {what: str(file) for what, file in written.items()})


COMMAND = Command(
    help="writes item embeddings as a NumPy file, and as a FAISS index",
    about=(
        "Writes one vector per item (row r belongs to the id on line r of OUT.ids.txt); its dot product with a "
        "user's state is the score. An index holds the items that `recommend` ranks, and returns rows of OUT.npy."
    ),
    examples=(
        "python -m models export demo/runs/text-only items.npy",
        "python -m models export demo/runs/text-only items.npy --index items.faiss --users users.npy",
    ),
    add_options=add_options,
    run=run,
)
