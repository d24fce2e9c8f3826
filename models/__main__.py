"""`python -m models`."""

from toolkit.console.door import run_command


def run() -> None:
    """The process, from its words to its exit status."""
    run_command(_main)


def _main() -> int:
    from models.cli import (
        main,
    )  # here, where an interrupted import is answered like everything else

    return main()


if __name__ == "__main__":  # measuring processes import this file again
    run()
