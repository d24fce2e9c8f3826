"""`python -m models push RUN OWNER/NAME`."""

import argparse
from pathlib import Path

from models.commands.command import Command
from toolkit.console.terminal import Answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """What, where to and for whom."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("name", metavar="OWNER/NAME", help="of the model on the hub")
    parser.add_argument(
        "--public", action="store_true", help="for everybody to see; private by default"
    )


def run(options: argparse.Namespace) -> Answer:
    """Uploads what `models.from_pretrained` and a reader need, and nothing else of the run."""
    from models.runs.files import MODEL
    from models.runs.pretrained import push_to_hub

    address = push_to_hub(Path(options.run) / MODEL, options.name, private=not options.public)
    return Answer(address, {"address": address})


COMMAND = Command(
    help="a run's model onto the Hugging Face hub: weights, config and card",
    about="Uploads RUN/model, whose README.md is the card; nothing else of the run leaves this machine.",
    examples=(
        "python -m models push demo/runs/text-only OWNER/NAME",
        "python -m models push demo/runs/text-only OWNER/NAME --public",
    ),
    add_options=add_options,
    run=run,
)
