"""`python -m models`."""

from models.cli import main
from toolkit.errors import run_command


def run() -> None:
    """The process, from its words to its exit status."""
    run_command(main)


if __name__ == "__main__":  # measuring processes import this file again
    run()
