"""`python -m prep`."""

from prep.cli import main
from toolkit.errors import run_command


def run() -> None:
    """The process, from its words to its exit status."""
    run_command(main, interrupted="finished shards are kept, run the command again to go on")


if __name__ == "__main__":  # decoding processes import this file again
    run()
