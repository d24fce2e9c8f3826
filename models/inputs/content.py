"""The content vectors that measure how diverse a list is: a property of the dataset, equal for all runs on it."""

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.states import LastState, StateTable

PROVENANCE = ("encoder", "revision", "pooling", "source")


class Content(NamedTuple):
    """The last stored state of one tower.

    Args:
        provenance: `tower`, and the tower's encoder, revision, pooling and source. Diversities are comparable where it
            is equal.
        table: (N + 1, 1, D).
    """

    provenance: dict[str, str]
    table: StateTable

    def vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of (U,) item numbers, (U, D); reads no others."""
        states = self.table.gather(torch.from_numpy(items))
        vectors: NDArray[np.float32] = states[:, -1].float().numpy()
        return vectors


def open_content(dataset: Dataset) -> Content | None:
    """Opens the dataset's first stored tower in the order of names, whatever towers a run reads.

    So lists of runs on one dataset are compared over the same content, those of an ID model too, and no model is measured
    by vectors of its own. None without a stored tower. A tower that cannot be read is reported on stderr, and None is
    returned, because runs that do not read it can be evaluated all the same.
    """
    for name in dataset.towers()[:1]:
        try:
            metadata: dict[str, Any] = dataset.states_metadata(name)
            provenance = {"tower": name, **{key: metadata[key] for key in PROVENANCE}}
            return Content(provenance, LastState(dataset.state_table(name)))
        except UserError as error:
            print(f"the diversity of lists is not measured: {error}", file=sys.stderr)
    return None


def describe_content(provenance: dict[str, str]) -> str:
    """The content in words.

    >>> describe_content({"tower": "title", "encoder": "bert", "source": "title"})
    'tower title (bert over title)'
    """
    return "tower {tower} ({encoder} over {source})".format(**provenance)
