"""The splits of a dataset under a protocol: training sequences, and the evaluations of validation and test.

By default data as in IISAN and IISAN-Versa (arXiv 2404.02059, 2411.02992): users with at least five interactions, the last
L + 3 of each kept; train on all but the last two of those, validate on the second to last, test on the last. Items that
occur only before the kept part leave the catalogue. `toolkit.protocols` describes the other protocols.

S training users, R targets, L inputs, N items.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.arguments import one_of, whole_number
from toolkit.cuts import MIN_TRAINED, Cut, Period
from toolkit.errors import UserError
from toolkit.histories import (
    Indices,
    Ints,
    UserHistories,
    counts_in,
    cut,
    occurring,
    pairs,
    refuse_no_interactions,
    user_histories,
)
from toolkit.own_protocols import ProtocolLike, as_protocol
from toolkit.protocols import Protocol, Targets
from toolkit.user_ids import UserIds

MAX_LEN = 1 << 16  # of inputs; attention over more fits into no memory
SplitName = Literal["valid", "test"]


@dataclass(frozen=True)
class Evaluation:
    """What one split asks of a model: continue `inputs`, rank `targets`, leaving `masked` out.

    Args:
        inputs: (R, L) item numbers, left-padded with 0.
        targets: (R,) item numbers; of a user with several, in time order.
        history: flat item numbers of all users, which `starts` and `stops` cut.
        starts: (R,) first masked entry of each target's user in `history`.
        stops: (R,) one past the last.
        target_can_repeat: whether a target that stands among its own user's masked items is
            ranked all the same (`clean`) or can never hit, its rank being infinite (`paper`).
        times: flat times of `history` in milliseconds; None if they were not read.
        input_times: (R, L) times of `inputs`, 0 at padding; None if they were not read.
        user_ids: ids of the users with a target.
        users: (R,) index of each target's user in `user_ids`, ascending.
        rows: (R,) row of each target's user among the training users, from 1; 0 for a user who was not trained on.
        catalogue: (C,) item numbers among which targets are ranked, ascending. A target outside of it is added to its own
            ranking alone.
    """

    inputs: Ints
    targets: Ints
    history: Ints
    starts: Indices
    stops: Indices
    target_can_repeat: bool
    user_ids: Sequence[str]
    users: Indices
    rows: Indices
    catalogue: Ints
    times: Indices | None = None
    input_times: Indices | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def ranked_items(self) -> int:
        """Number of items in each ranking."""
        return len(self.catalogue) + bool(len(self.new_targets))

    @cached_property
    def new_targets(self) -> Ints:
        """Item numbers of the targets outside the catalogue, ascending."""
        largest = max(self.targets.max(initial=0), self.catalogue.max(initial=0))
        ranked = np.zeros(largest + 1, dtype=bool)
        ranked[self.catalogue] = True
        return np.unique(self.targets[~ranked[self.targets]])

    def select(self, rows: NDArray[np.int64]) -> "Evaluation":
        """The evaluation of some of the targets, in ascending order of `rows`."""
        rows = np.sort(rows)
        users, own = np.unique(self.users[rows], return_inverse=True)
        return replace(
            self,
            inputs=self.inputs[rows],
            targets=self.targets[rows],
            starts=self.starts[rows],
            stops=self.stops[rows],
            user_ids=UserIds(self.user_ids).take(users),
            users=own,
            rows=self.rows[rows],
            input_times=None if self.input_times is None else self.input_times[rows],
        )

    def masked(self, rows: NDArray[np.int64]) -> Ints:
        """(rows, H) item numbers left out of each ranking, 0 where there are fewer than H.

        A matrix as wide as the longest of these histories: for a few targets. `masked_pairs` is for many.
        """
        return cut(self.history, self.starts[rows], self.stops[rows])

    def masked_pairs(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Ints]:
        """What is left out of these rankings, each item once a ranking, in as much memory as there are pairs.

        Returns:
            (P,) indices into `rows`, ascending, and (P,) item numbers.
        """
        users, items = pairs(self.history, self.starts[rows], self.stops[rows])
        width = int(items.max(initial=0)) + 1
        keys = np.unique(users * width + items)
        return keys // width, (keys % width).astype(np.int32)


@dataclass(frozen=True)
class Splits:
    """One dataset, cut into train, valid and test under a protocol.

    Args:
        protocol: the protocol.
        user_ids: S ids of the training users.
        train: (S, L + 1) item numbers, left-padded with 0: inputs and next items.
        valid: the targets of validation; may be empty (`evaluation` refuses it).
        test: the targets of the test; may be empty.
        catalogue: (C,) item numbers that a training loss may rank or draw, ascending. Under leave-one-out all items of
            the kept data, under a cut in time those that occur before it.
        known: item numbers of all kept interactions, ascending: the items that can be recommended.
        train_counts: (N + 1,) how often each item occurs in `train`; index 0 is 0.
        interactions: how many interactions are kept.
        train_times: (S, L + 1) times of `train` in milliseconds, 0 at padding; None if they were not read.
    """

    protocol: Protocol
    user_ids: Sequence[str]
    train: Ints
    valid: Evaluation
    test: Evaluation
    catalogue: Ints
    known: Ints
    train_counts: Indices
    interactions: int
    train_times: Indices | None = None

    def __repr__(self) -> str:
        return (
            f"Splits({self.protocol.name!r}, users={len(self.user_ids)}, catalogue={len(self.catalogue)}, "
            f"interactions={self.interactions}, max_len={self.train.shape[1] - 1})"
        )

    def evaluation(self, split: SplitName) -> Evaluation:
        """The evaluation of one split by name.

        Raises:
            UserError: if there is no split of that name, or it has no target.
        """
        one_of(split, SplitName, name="split")
        chosen = {"valid": self.valid, "test": self.test}[split]
        if not len(chosen):
            reason = self.protocol.targets.about or self.protocol.split.targets_are[split]
            raise UserError(
                f"protocol {self.protocol}: the {split} split has no target ({reason}); choose another protocol"
            )
        return chosen


def make_splits(
    interactions: pa.Table | Iterable[pa.RecordBatch],
    *,
    items: int,
    protocol: ProtocolLike = "paper",
    max_len: int = 10,
) -> Splits:
    """Cuts an interactions table (`toolkit.schema.INTERACTIONS`, sorted by user and position).

    Args:
        interactions: the whole table, or its batches in order, of which one at a time is held;
            `user_id`, `user` and `item` are read. Users with fewer than five rows are left out.
        items: N, how many items the dataset has.
        protocol: a protocol without times (`toolkit.own_protocols.as_protocol`). Of the leave-one-out ones, `paper`
            masks the kept history, so that a repeated target can never hit; `clean` masks the whole history but the
            target; `unmasked` masks nothing.
        max_len: L, inputs of the sequence encoder.

    Raises:
        UserError: if the protocol is unknown or reads times, max_len is no whole number or out of range, or no user is
            left.
    """
    checked_cut(protocol, max_len)
    return split_histories(
        user_histories(interactions), items=items, protocol=protocol, max_len=max_len
    )


def checked_cut(protocol: ProtocolLike, max_len: int) -> tuple[Protocol, int]:
    """The protocol and the number of inputs, before anything is read.

    Raises:
        UserError: if the protocol is unknown, or max_len is no whole number or out of range.
    """
    protocol = as_protocol(protocol)
    max_len = whole_number(max_len, name="max_len")
    if max_len > MAX_LEN:
        raise UserError(
            f"max_len is {max_len:,}; sequences of more than {MAX_LEN:,} items do not fit"
        )
    return protocol, max_len


def split_histories(
    histories: UserHistories,
    *,
    items: int,
    protocol: ProtocolLike = "paper",
    max_len: int = 10,
    times: bool | None = None,
) -> Splits:
    """Cuts histories. Arguments and errors are those of `make_splits`.

    Args:
        histories: every user's interactions, with times if the protocol cuts in time.
        items: N.
        protocol: the protocol.
        max_len: L.
        times: whether the splits have the times of their items; by default if the histories have them.
    """
    protocol, max_len = checked_cut(protocol, max_len)
    refuse_no_interactions(histories)
    made = protocol.split.cut(histories, max_len)
    is_trained = made.train_stops - made.kept >= MIN_TRAINED
    if not is_trained.any():
        raise UserError(
            f"protocol {protocol}: nothing can be trained on, because the split trains on {protocol.split.trained_users}, "
            "and there are none; choose another protocol"
        )
    moments = None if times is False else histories.times
    each = slice(None) if is_trained.all() else is_trained  # a view needs no copy
    trained = made.kept[each], made.train_stops[each]
    train = cut(histories.items, *trained, width=max_len + 1)
    parts = _Parts(
        histories._replace(times=moments),
        made,
        protocol,
        max_len=max_len,
        names=_user_ids(histories).where(made.eligible),
        rows=np.where(is_trained, np.cumsum(is_trained), 0),
        train_counts=counts_in(train, items=items),
    )
    return Splits(
        protocol=protocol,
        user_ids=parts.names.where(is_trained),
        train=train,
        valid=parts.evaluation(made.valid),
        test=parts.evaluation(made.test),
        catalogue=_numbers(parts.occurring(made.drawn_stops)),
        known=_numbers(parts.occurring(made.test.stops)),
        train_counts=parts.train_counts,
        interactions=int((made.test.stops - made.kept).sum()),
        train_times=None if moments is None else cut(moments, *trained, width=max_len + 1),
    )


@dataclass(frozen=True)
class _Parts:
    """What the evaluations of a cut share.

    Args:
        histories: every user's interactions, with times if the splits have them.
        made: the cut.
        protocol: the protocol.
        max_len: L.
        names: U ids of the users in the splits.
        rows: (U,) their rows among the training users, from 1; 0 for none.
        train_counts: (N + 1,) occurrences in the training sequences.
        seen: results of `occurring`, each with its stops.
    """

    histories: UserHistories
    made: Cut
    protocol: Protocol
    max_len: int
    names: UserIds
    rows: Indices
    train_counts: Indices
    seen: list[tuple[Indices, NDArray[np.bool_]]] = field(default_factory=list)

    def occurring(self, stops: Indices) -> NDArray[np.bool_]:
        """(N + 1,) whether an item occurs in the kept interactions before each user's stop; one pass per array."""
        for known, flags in self.seen:
            if known is stops:
                return flags
        items = len(self.train_counts) - 1
        flags = occurring(self.histories.items, self.made.kept, stops, items=items)
        self.seen.append((stops, flags))
        return flags

    def evaluation(self, period: Period) -> Evaluation:
        """The targets of a period that count under the protocol."""
        history, _, _, times = self.histories
        users, targets, _ = period
        if self.protocol.targets != Targets():
            counts = self.protocol.targets.counted(self.train_counts[history[targets]])
            users, targets = users[counts], targets[counts]
        is_first = np.diff(users, prepend=-1) > 0  # of its user, as users ascend
        own: Indices | slice = users
        names, indices = self.names, users
        if len(users) == len(names) and is_first.all():
            own = slice(None)  # every user has one target: views instead of copies
        else:
            names, indices = names.take(users[is_first]), np.cumsum(is_first) - 1
        starts, kept = self.made.starts[own], self.made.kept[own]
        inputs = np.maximum(starts, targets - self.max_len), targets
        return Evaluation(
            inputs=cut(history, *inputs, width=self.max_len),
            targets=history[targets],
            history=history,
            starts=self.protocol.mask.first(starts=starts, kept=kept, targets=targets),
            stops=targets,
            target_can_repeat=self.protocol.mask.repeats,
            user_ids=names,
            users=indices,
            rows=self.rows[own],
            catalogue=self.protocol.catalogue.items(
                occurring=self.occurring(period.stops),
                trained=self.train_counts > 0,
                targets=history[targets],
            ),
            times=times,
            input_times=None if times is None else cut(times, *inputs, width=self.max_len),
        )


def _user_ids(histories: UserHistories) -> UserIds:
    """The ids of all users."""
    ids = histories.user_ids
    return ids if isinstance(ids, UserIds) else UserIds(ids)


def _numbers(flags: NDArray[np.bool_]) -> Ints:
    """The item numbers whose flag is set."""
    return np.flatnonzero(flags).astype(np.int32)
