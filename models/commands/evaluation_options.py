"""Options that several commands of `python -m models` share."""

from jsonargparse import ArgumentParser


def add_evaluation(parser: ArgumentParser) -> None:
    """Adds the options that select an evaluation of a run."""
    parser.add_argument(
        "--split",
        choices=["valid", "test"],
        default="test",
        help="which interactions are the targets: under leave-one-out, the last but one of each user (valid) or the last (test)",
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME|FILE.yaml",
        help="how to measure: a protocol with the run's own split, such as clean, unmasked, cold, warm-5 or new-item for leave-one-out, or a YAML file; by default the run's own protocol",
    )
