"""Which items a run reads without a source: those that have none, and those whose source cannot be read."""

from models.inputs.features import Features
from models.machine.parallel import united
from toolkit.dataset import Dataset


def describe_missing(features: Features, dataset: Dataset) -> list[str]:
    """A line per tower of raw content in which items have no source."""
    count = dataset.items.num_rows
    return [
        f"{tower}: {absent:,} of {count:,} items have no source; a learned state stands for it"
        for tower, absent in features.missing().items()
        if absent
    ]


class BrokenSources:
    """Reports the items whose source cannot be decoded, as evaluations and steps find them.

    Args:
        features: of this process.
        dataset: whose items they are.
    """

    def __init__(self, features: Features, dataset: Dataset) -> None:
        self.features = features
        self.dataset = dataset
        self.reported: dict[str, int] = {}

    def describe(self) -> list[str]:
        """A line per tower in which any process found more since the last call; all processes call it."""
        lines = []
        found = {
            tower: set(items) for tower, items in self.features.broken.items()
        }  # a thread adds to them
        for tower, items in united(found).items():
            if len(items) <= self.reported.get(tower, 0):
                continue
            self.reported[tower] = len(items)
            first = self.dataset.item_ids.id(min(items))
            lines.append(
                f"{tower}: the source of {len(items):,} of {self.dataset.items.num_rows:,} items cannot be decoded, such "
                f"as that of {first!r}; a learned state stands for it. python -m prep check names them; replace the "
                "files, and run prep build again with --retry-failed"
            )
        return lines
