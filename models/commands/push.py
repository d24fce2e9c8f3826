"""`python -m models push RUN OWNER/NAME`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer


def add_options(parser: ArgumentParser) -> None:
    """Adds the run, its name on the hub, and who can see it."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("name", metavar="OWNER/NAME", help="name of the model on the hub")
    parser.add_argument(
        "--public", action="store_true", help="make the model public; it is private by default"
    )


def run(options: Namespace) -> Answer:
    """Uploads the weights, adapters, the configuration and the card, and nothing else of the run."""
    from models.runs.files import CONFIG, MODEL, read_run_config
    from models.runs.pretrained import base_of, push_to_hub

    run = Path(options.run)
    base = base_of(read_run_config(run)) if (run / CONFIG).is_file() else {}
    address = push_to_hub(
        run / MODEL,
        options.name,
        private=not options.public,
        encoders=base.get("encoders"),
        trust_remote_code=base.get("trust_remote_code", False),
    )
    return Answer(address, {"address": address})


COMMAND = PlainCommand(
    help="uploads a run's model to the Hugging Face hub: weights, config and card",
    about="Uploads RUN/model; its README.md is the card. Nothing else of the run leaves this machine.",
    examples=(
        "python -m models push demo/runs/text-only OWNER/NAME",
        "python -m models push demo/runs/text-only OWNER/NAME --public",
    ),
    add_options=add_options,
    run=run,
)
