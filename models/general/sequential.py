"""The recommender that is no general one: it reads the order of a history with a sequence encoder."""

from dataclasses import dataclass


@dataclass
class SequentialSettings:
    """The recommender: an item encoder and a sequence encoder, with the settings of `fusion` and `sequence`.

    Args:
        kind: name of the recommender.
    """

    kind: str = "sequential"


@dataclass(frozen=True)
class SequentialKind:
    """The declaration of sequential recommenders, whose parts are declared by `ITEMS`, `FUSIONS` and `SEQUENCES`."""

    settings: type = SequentialSettings


SEQUENTIAL = SequentialKind()
