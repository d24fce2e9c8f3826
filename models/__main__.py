"""`python -m models`."""

from models.cli import main
from toolkit.errors import run_command

if __name__ == "__main__":  # measuring processes import this file again
    run_command(main)
