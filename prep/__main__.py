"""`python -m prep`."""

from toolkit.console.door import run_command


def run() -> None:
    """Runs the command line as a process, up to its exit status."""
    run_command(_main, interrupted="finished shards are kept; run the command again to resume")


def _main() -> int:
    from prep.cli import main  # here, so that an interrupted import ends in one line too

    return main()


if __name__ == "__main__":  # decoding processes import this file again
    run()
