"""Evaluation protocols as values: split × mask × catalogue × targets, with names for the usual ones.

Each dimension is a small frozen value that does what it declares. R targets, N items.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.arguments import whole_number
from toolkit.console.command_help import did_you_mean
from toolkit.cuts import LeaveOneOut, Split, TimeCut
from toolkit.errors import UserError
from toolkit.histories import Indices, Ints

Flags = NDArray[np.bool_]
_WARM = re.compile(r"warm-([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Mask:
    """What of a user's own history ranking leaves out.

    Args:
        kind: `history` for all interactions before the target; `kept` for those that the split keeps; `none`.
        repeats: whether a target that occurs in the masked interactions is ranked all the same. Otherwise it can never
            hit: its rank is infinite.
    """

    kind: Literal["history", "kept", "none"] = "history"
    repeats: bool = True

    def first(self, *, starts: Indices, kept: Indices, targets: Indices) -> Indices:
        """(R,) index of the first masked interaction; the last one is the interaction before the target.

        Args:
            starts: (R,) index of the first interaction of the target's user.
            kept: (R,) index of the first that the split keeps.
            targets: (R,) index of the target.
        """
        return {"history": starts, "kept": kept, "none": targets}[self.kind]

    @property
    def about(self) -> str:
        """A clause for cards and reports."""
        if self.kind == "none":
            return "the ranking excludes nothing"
        masked = {"history": "the whole history", "kept": "the kept history"}[self.kind]
        if not self.repeats:
            return f"the ranking excludes {masked}, so a target that repeats an item of it is never a hit"
        return f"the ranking excludes {masked} except the target, so a repeated target can be a hit"


@dataclass(frozen=True)
class Ranked:
    """The items among which targets are ranked.

    Args:
        kind: `occurring` for all items that occur in the kept interactions by the end of the evaluation; `trained` for
            the items of the training sequences and all targets; `alone` for the items of the training sequences, to
            which the target of each ranking is added alone if it is new.
    """

    kind: Literal["occurring", "trained", "alone"] = "occurring"

    def items(self, *, occurring: Flags, trained: Flags, targets: Ints) -> Ints:
        """The item numbers of the catalogue, ascending. A target outside of it is added to its own ranking alone.

        Args:
            occurring: (N + 1,) whether an item occurs in the kept interactions by the end of the evaluation.
            trained: (N + 1,) whether it occurs in the training sequences.
            targets: (R,) item numbers.
        """
        return np.flatnonzero(_RANKED[self.kind](occurring, trained, targets)).astype(np.int32)

    @property
    def about(self) -> str:
        """A clause for cards and reports."""
        return {
            "occurring": "the catalogue has all items that occur by the end of the evaluation",
            "trained": "the catalogue has the items of the training sequences and all targets",
            "alone": (
                "the catalogue has the items of the training sequences, and a new target is added to its own ranking alone: "
                f"{self.caution}"
            ),
        }[self.kind]

    @property
    def caution(self) -> str:
        """What to keep in mind with a result, for reports; empty for nothing."""
        alone = "it has no other new item to compete with, which is optimistic (report new-item-joint beside it)"
        return alone if self.kind == "alone" else ""


@dataclass(frozen=True)
class Targets:
    """Which targets count, by their occurrences in the training sequences.

    Args:
        least: fewest occurrences.
        most: most occurrences; None for no limit. 0 selects cold targets.

    Raises:
        UserError: if the range is empty.
    """

    least: int = 0
    most: int | None = None

    def __post_init__(self) -> None:
        whole_number(self.least, name="targets.least", least=0)
        if self.most is not None:
            whole_number(self.most, name="targets.most", least=self.least)

    def counted(self, occurrences: Indices) -> Flags:
        """Which targets count, from their numbers of training occurrences."""
        most = np.inf if self.most is None else self.most
        return (occurrences >= self.least) & (occurrences <= most)

    @property
    def about(self) -> str:
        """A clause for cards and reports; empty if all targets count."""
        if self == Targets():
            return ""
        if self.most == 0:
            return "only targets that never occur in the training sequences count"
        least, most = f"at least {self.least:,} times", f"at most {self.most or 0:,} times"
        limits = [least] * (self.least > 0) + [most] * (self.most is not None)
        return f"only targets that occur {' and '.join(limits)} in the training sequences count"


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    Args:
        name: name in messages and file names.
        split: training data, and the targets of validation and test.
        mask: what ranking leaves out.
        catalogue: the items among which targets are ranked.
        targets: which targets count.

    >>> named_protocol("cold").targets
    Targets(least=0, most=0)
    """

    name: str
    split: Split = field(default_factory=LeaveOneOut)
    mask: Mask = field(default_factory=Mask)
    catalogue: Ranked = field(default_factory=Ranked)
    targets: Targets = field(default_factory=Targets)

    def __str__(self) -> str:
        return self.name

    @property
    def settings(self) -> dict[str, Any]:
        """The value without its name, JSON-serialisable: protocols with equal settings measure the same."""
        return {key: part for key, part in asdict(self).items() if key != "name"}

    @property
    def record(self) -> "str | dict[str, Any]":
        """What a run records: the name of a named protocol, and the name and settings of a user's own."""
        return self.name if is_named(self.name) else {"name": self.name, **self.settings}

    @property
    def about(self) -> str:
        """What distinguishes the protocol, in one sentence without a full stop."""
        clauses = [
            self.mask.about,
            *([self.catalogue.about] if self.catalogue != Ranked() else []),
            *([self.targets.about] if self.targets != Targets() else []),
            *([f"a target is {self.split.targets_are['test']}"] if self.split.needs_times else []),
        ]
        return "; ".join(clauses)


NAMED = {
    protocol.name: protocol
    for protocol in (
        Protocol("paper", mask=Mask("kept", repeats=False)),
        Protocol("clean"),
        Protocol("unmasked", mask=Mask("none")),
        Protocol("cold", targets=Targets(most=0)),
        Protocol("new-item", catalogue=Ranked("alone"), targets=Targets(most=0)),
        Protocol("new-item-joint", catalogue=Ranked("trained"), targets=Targets(most=0)),
        Protocol("time", split=TimeCut()),
        Protocol("time-successive", split=TimeCut(target="successive")),
        Protocol("time-random", split=TimeCut(target="random")),
    )
}
CHOICES = f"{', '.join(NAMED)}, warm-K (such as warm-5), or the path of a YAML file"


def named_protocol(name: str) -> Protocol:
    """One of `NAMED`, or `warm-K`: `clean` for targets with at least K training interactions.

    Raises:
        UserError: if no protocol has that name.
    """
    if not isinstance(name, str) or not is_named(name):
        near = did_you_mean(name, NAMED) if isinstance(name, str) else ""
        raise UserError(f"protocol {name!r} is unknown{near}; choose from {CHOICES}")
    warm = _WARM.fullmatch(name)
    return Protocol(name, targets=Targets(least=int(warm[1]))) if warm else NAMED[name]


def is_named(name: str) -> bool:
    """Whether a protocol of Versa has the name."""
    return name in NAMED or _WARM.fullmatch(name) is not None


_RANKED: dict[str, Callable[[Flags, Flags, Ints], Flags]] = {
    "occurring": lambda occurring, trained, targets: occurring,
    "trained": lambda occurring, trained, targets: _with(trained, targets),
    "alone": lambda occurring, trained, targets: trained,
}


def _with(flags: Flags, items: Ints) -> Flags:
    more = flags.copy()
    more[items] = True
    return more
