"""`python -m prep`."""

from toolkit.console.door import run_command


def run() -> None:
    """The process, from its words to its exit status."""
    run_command(_main, interrupted="finished shards are kept, run the command again to go on")


def _main() -> int:
    from prep.cli import main  # here, where an interrupted import is answered like everything else

    return main()


if __name__ == "__main__":  # decoding processes import this file again
    run()
