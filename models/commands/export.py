"""`python -m models export RUN [OUT.npy] [--merged FOLDER]`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from models.machine.device import best_device
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer
from toolkit.errors import UserError


def add_options(parser: ArgumentParser) -> None:
    """Adds the run and the files to write."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "file",
        metavar="OUT.npy",
        nargs="?",
        help="file of item embeddings; the ids go to OUT.ids.txt",
    )
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
    parser.add_argument(
        "--merged",
        metavar="FOLDER",
        help="also write an encoder that the run trained, adapters merged into its weights; transformers opens the folder, and prep encodes with it",
    )
    parser.add_argument(
        "--tower", metavar="NAME", help="whose encoder --merged writes, if the run trains several"
    )


def run(options: Namespace) -> Answer:
    """Encodes the items, on a GPU if there is one, and writes the encoder."""
    from models.export import export_items
    from models.runs.export_merged import export_encoder

    _check(options)
    written: dict[str, Path] = {}
    if options.merged:
        written |= export_encoder(options.run, options.merged, tower=options.tower)
    if options.file:
        written |= export_items(
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


def _check(options: Namespace) -> None:
    if not options.file and not options.merged:
        raise UserError("nothing to write: expected OUT.npy, --merged FOLDER, or both")
    needless = [name for name in ("index", "users", "data") if options[name] and not options.file]
    needless += ["tower"] if options.tower and not options.merged else []
    if needless:
        needed = "--merged FOLDER" if needless == ["tower"] else "OUT.npy"
        raise UserError(f"--{needless[0]} requires {needed}; add it, or leave out --{needless[0]}")


COMMAND = PlainCommand(
    help="writes item embeddings as a NumPy file or FAISS index, and encoders that a run trained",
    about=(
        "Writes one vector per item (row r belongs to the id on line r of OUT.ids.txt); its dot product with a "
        "user's state is the score. An index holds the items that `recommend` ranks, and returns rows of OUT.npy. --merged writes an encoder that was trained with "
        "the run (--item encoders), for transformers and for `prep encode --encode.TOWER.encoder FOLDER`."
    ),
    examples=(
        "python -m models export demo/runs/text-only items.npy",
        "python -m models export demo/runs/text-only items.npy --index items.faiss --users users.npy",
        "python -m models export demo/runs/lora --merged title-encoder --tower title",
    ),
    add_options=add_options,
    run=run,
)
