"""`python -m models.facial`."""

from toolkit.console.door import run_command


def run() -> None:
    """Runs the command line as a process, up to its exit status."""
    run_command(_main)


def _main() -> int:
    from models.facial.cli import main  # here, so that an interrupted import ends in one line too

    return main()


if __name__ == "__main__":
    run()
