"""Signs that a run learns nothing: a loss of 0, no negatives, item vectors that are all alike.

U items of a step, R distinct items, E embedding.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.training.log import read_log
from toolkit.errors import UserError

ALIKE = 0.999  # mean cosine of distinct items from which their vectors count as nearly equal
COLLAPSED = 0.1  # they have collapsed if 1 - cosine has also fallen below this part of its value at the start
STEPS = 10  # a sign holds once every one of at least so many steps has it


class Alarms:
    """Warns of each sign once, and refuses to call a run a success that ends with one.

    A single step proves nothing: the last batch of an epoch may have one user, whose items have no negatives. So the last
    10 to 19 steps must all have the sign, or all steps of a shorter run, and a sign that has passed is forgotten.

    Vectors that are nearly equal have collapsed only if they were not so at the start: a randomly initialised encoder
    starts with them, and small differences can be enough to rank by. Such a run has a warning, and may be a success.

    Args:
        enabled: whether this process prints.
        write: appends a line to the run's log.
        watch_items: whether to watch item vectors, which collapse where encoders train.
        gather: (1, 3) of each process -> (W, 3).
    """

    def __init__(
        self,
        *,
        enabled: bool,
        write: Callable[..., None],
        watch_items: bool = True,
        gather: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        self.enabled = enabled
        self.write = write
        self.watch_items = watch_items
        self.gather = gather
        self.now: dict[str, str] = {}
        self.first: float | None = None  # mean cosine at the start
        self.warned: set[str] = set()
        # Largest loss, most distinct items and largest negative cosine, (3,), in the current and the previous window.
        self.windows: list[Tensor] = []
        self.steps = 0

    def note_step(self, loss: Tensor, contents: Tensor, vectors: Tensor | None = None) -> None:
        """Notes a step, on the device of its loss, without waiting for it.

        Args:
            loss: of this process.
            contents: (U,) on the CPU, a number for each item of the step, equal where two items have the same content.
            vectors: (U, E) their embeddings; None if the model has none.
        """
        first = torch.from_numpy(np.unique(contents.numpy(), return_index=True)[1])
        cosine = loss.new_zeros(())
        if not self.watch_items:
            vectors = None
        if vectors is not None and len(first) > 1:
            rows = first.to(vectors.device, non_blocking=True)
            cosine = mean_cosine(vectors.index_select(0, rows)).float()
        elif vectors is not None:
            cosine = loss.new_ones(())  # one item tells nothing
        noted = torch.stack([loss.float(), loss.new_full((), len(first)).float(), -cosine])
        if self.steps % STEPS == 0:
            self.windows = [*self.windows[-1:], noted]
        else:
            self.windows[-1] = torch.maximum(self.windows[-1], noted)
        self.steps += 1

    def look(self, *, at_end: bool = False, **where: Any) -> None:
        """Reads what was noted; all processes call it.

        Args:
            at_end: whether this is the end of an epoch, where few steps count too.
            where: step and epoch, for the log.
        """
        if not self.windows or (self.steps < STEPS and not at_end):
            return
        noted = torch.stack(self.windows).amax(dim=0)
        loss, items, minus_cosine = self.gather(noted[None]).amax(dim=0).tolist()
        self._set(
            "negatives",
            items < 2,
            "all items of a step have the same content, so there are no negatives; check the sources of the towers",
            where,
        )
        self._set("loss", loss == 0, "the loss of every step is 0, so nothing is learnt", where)
        if self.watch_items:
            self._set_collapse(-minus_cosine if items > 1 else 0, "distinct items of a step", where)

    def look_at_items(self, vectors: Tensor, **where: Any) -> None:
        """Looks at the vectors of a catalogue's distinct items, (R, E); where: step and epoch, for the log."""
        if not self.watch_items:
            return
        self._set_collapse(float(mean_cosine(vectors)), f"{len(vectors):,} distinct items", where)

    def refuse_success(self) -> None:
        """Ends a run that has an alarm at its end.

        Raises:
            UserError: naming it.
        """
        if self.now:
            raise UserError(
                f"the run is over, and no success: {'; '.join(self.now.values())}. Its model and metrics are kept"
            )

    def _set_collapse(self, cosine: float, which: str, where: dict[str, Any]) -> None:
        if self.first is None:
            self.first = cosine
            self.write(**where, item_cosine=cosine)
        text = f"the mean cosine of {which} is {cosine:.4f}"
        advice = (
            "lower the learning rates of encoders (--train.rates.text_encoder, ...), or warm up "
            "(--train.warmup_updates)"
        )
        alike = cosine >= ALIKE
        collapsed = alike and 1 - cosine < COLLAPSED * (1 - self.first)
        self._set("collapse", collapsed, f"item vectors have collapsed: {text}; {advice}", where)
        if alike and not collapsed:
            self._warn(
                "alike",
                f"item vectors are nearly equal: {text}, and was {self.first:.4f} at the start",
                where,
            )

    def _set(self, kind: str, holds: bool, text: str, where: dict[str, Any]) -> None:
        if not holds:
            self.now.pop(kind, None)
            return
        self.now[kind] = text
        self._warn(kind, text, where)

    def _warn(self, kind: str, text: str, where: dict[str, Any]) -> None:
        if kind in self.warned:
            return
        self.warned.add(kind)
        self.write(**where, alarm=text)
        if self.enabled:
            print(f"warning: {text}", file=sys.stderr)


def mean_cosine(vectors: Tensor) -> Tensor:
    """Mean cosine of all pairs of R vectors, (R, E), a scalar; 0 where there is no pair.

    With unit vectors u: (‖Σ u‖² - R) / (R (R - 1)), so that no R² cosines are needed.
    """
    count = len(vectors)
    if count < 2:
        return vectors.new_zeros((), dtype=torch.float64)
    total = torch.nn.functional.normalize(vectors.double(), dim=1).sum(dim=0)
    return (total.square().sum() - count) / (count * (count - 1))


class Recorded(NamedTuple):
    """What a run's log records of alarms, for a run that is resumed.

    Args:
        first: mean cosine at the start, if it was measured.
        now: the alarms that held at the last evaluation; a finished run that is resumed takes no further step.
    """

    first: float | None
    now: dict[str, str]


def recorded_alarms(run: Path) -> Recorded:
    """Reads the log of a run."""
    entries = read_log(run)
    first = next((entry["item_cosine"] for entry in entries if "item_cosine" in entry), None)
    evaluated = [entry for entry in entries if "valid" in entry]
    held = evaluated[-1].get("alarms", {}) if evaluated else {}
    return Recorded(first, dict(held) if isinstance(held, dict) else {})
