"""`python -m prep`."""

from prep.cli import main
from toolkit.errors import run_command

if __name__ == "__main__":  # decoding processes import this file again
    run_command(main)
