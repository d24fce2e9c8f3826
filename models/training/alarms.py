"""Signs that a run learns nothing: a loss of 0, no negatives, item vectors that are all alike.

R distinct items, E embedding.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from toolkit.errors import UserError

COLLAPSED = 0.999  # mean cosine of distinct items from which their vectors count as one


class Alarms:
    """Warns of each sign once, and refuses to call a run a success that ends with one.

    Args:
        enabled: whether this process prints.
        write: appends a line to the run's log.
    """

    def __init__(self, *, enabled: bool, write: Callable[..., None]) -> None:
        self.enabled = enabled
        self.write = write
        self.now: dict[str, str] = {}
        self.told: set[str] = set()

    def look_at_step(self, loss: float, columns: int, **where: Any) -> None:
        """Looks at a step.

        Args:
            loss: mean over processes.
            columns: items that its positions choose among.
            where: step and epoch, for the log.
        """
        self._set("negatives", columns < 2, f"a step has {columns} item, so no negatives", where)
        self._set("loss", loss == 0, "the loss of a step is 0, so nothing is learnt", where)

    def look_at_items(self, vectors: Tensor, **where: Any) -> None:
        """Looks at the vectors of distinct items, (R, E); where: step and epoch, for the log."""
        cosine = mean_cosine(vectors)
        told = (
            f"item vectors have collapsed: the mean cosine of {len(vectors):,} distinct items is {cosine:.4f}; lower "
            "the learning rates of encoders (--train.rates.text_encoder, ...), or warm up (--train.warmup_updates)"
        )
        self._set("collapse", cosine >= COLLAPSED, told, where)

    def refuse_success(self) -> None:
        """Ends a run that has an alarm at its end.

        Raises:
            UserError: naming it.
        """
        if self.now:
            raise UserError(
                f"the run is over, and no success: {'; '.join(self.now.values())}. Its model and metrics are kept"
            )

    def _set(self, kind: str, holds: bool, text: str, where: dict[str, Any]) -> None:
        if not holds:
            self.now.pop(kind, None)
            return
        self.now[kind] = text
        if kind in self.told:
            return
        self.told.add(kind)
        self.write(**where, alarm=text)
        if self.enabled:
            print(f"warning: {text}", file=sys.stderr)


def mean_cosine(vectors: Tensor) -> float:
    """Mean cosine of all pairs of R vectors, (R, E); 0 where there is no pair.

    With unit vectors u: (‖Σ u‖² - R) / (R (R - 1)), so that no R² cosines are needed.
    """
    count = len(vectors)
    if count < 2:
        return 0.0
    total = torch.nn.functional.normalize(vectors.double(), dim=1).sum(dim=0)
    return float((total.square().sum() - count) / (count * (count - 1)))
