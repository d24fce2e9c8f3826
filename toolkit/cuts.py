"""The two ways to cut a log into training, validation and test: leave-one-out, and one global cut in time.

A split is a value that cuts histories itself. U users in the splits, R targets of a period, V interactions, L inputs of
the sequence encoder.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.histories import Indices, UserHistories, blocks, by_ranges, inside
from toolkit.quantiles import kth_smallest, quantile_index

MIN_INTERACTIONS = 5
KEPT_BEYOND = 3  # of a history, leave-one-out keeps L + 3 interactions
MIN_TRAINED = 2  # interactions of a training sequence: an input and its next item
TargetsOfUser = Literal["last", "successive", "random"]


class Period(NamedTuple):
    """The targets of one evaluation.

    Args:
        users: (R,) each target's user among the U users, ascending.
        targets: (R,) index of each target in the flat histories; a user's are in time order.
        stops: (U,) one past each user's last interaction that exists by the end of the period.
    """

    users: Indices
    targets: Indices
    stops: Indices


class Cut(NamedTuple):
    """Histories, cut. All arrays but `eligible` are indices into the flat histories.

    Args:
        eligible: (all users,) whether a user is in the splits; U are.
        starts: (U,) first interaction of each user.
        kept: (U,) first interaction that the split keeps; earlier ones are neither trained on nor in the catalogue.
        train_stops: (U,) one past the last training interaction; training interactions begin at `kept`.
        drawn_stops: (U,) one past the last kept interaction whose item training may draw as a negative.
        valid: targets of validation.
        test: targets of the test.
    """

    eligible: NDArray[np.bool_]
    starts: Indices
    kept: Indices
    train_stops: Indices
    drawn_stops: Indices
    valid: Period
    test: Period


@dataclass(frozen=True)
class LeaveOneOut:
    """Train on all but the last two interactions of each user, validate on the second to last, test on the last.

    Of each user, the last L + 3 interactions are kept (arXiv 2404.02059).

    Args:
        kind: name of the split.
    """

    kind: Literal["leave-one-out"] = "leave-one-out"
    needs_times: ClassVar[bool] = False
    trained_users: ClassVar[str] = f"users with at least {MIN_INTERACTIONS} interactions"
    trained_on: ClassVar[str] = "all except the last two of each user"
    targets_are: ClassVar[dict[str, str]] = {
        "valid": "the second to last interaction of each user",
        "test": "the last interaction of each user",
    }

    @property
    def training(self) -> "LeaveOneOut":
        """The part of the value that determines the training data."""
        return self

    def kept_are(self, max_len: int) -> str:
        """The kept interactions, in words."""
        return f"the last {max_len + KEPT_BEYOND} of each user"

    def cut(self, histories: UserHistories, max_len: int) -> Cut:
        """Cuts histories.

        Args:
            histories: every user's interactions.
            max_len: L.

        Raises:
            UserError: if no user has enough interactions.
        """
        eligible, starts, stops = _eligible(histories)
        kept = np.maximum(starts, stops - (max_len + KEPT_BEYOND))
        users = np.arange(len(starts))
        return Cut(
            eligible=eligible,
            starts=starts,
            kept=kept,
            train_stops=stops - 2,
            drawn_stops=stops,
            valid=Period(users, stops - 2, stops),
            test=Period(users, stops - 1, stops),
        )


@dataclass(frozen=True)
class TimeCut:
    """Train before one moment of the whole log, test after it (arXiv 2507.16289).

    The test cut is the time at the (1 - test_share) quantile of all interactions of the users in the splits. Validation
    is made in the same way from the interactions before it: its cut is their (1 - valid_share) quantile. A training
    interaction lies before the validation cut, a validation target at or after it and before the test cut, and a test
    target at or after the test cut: train < cut <= target. So interactions at the very moment of a cut are targets.

    The inputs of a target are all earlier interactions of its user, also those after the cut; a target without any is
    left out. Of each user, the last L + 1 interactions before the validation cut and all later ones are kept. Users with
    fewer than two interactions before it are not trained on; their targets count all the same.

    Args:
        kind: name of the split.
        valid_share: share of the interactions before the test cut that lie at or after the validation cut.
        test_share: share of all interactions that lie at or after the test cut.
        target: targets of a user in a period: the `last` interaction; each of them, after the true ones before it
            (`successive`); or one at `random`.
        seed: seed of the random targets.

    Raises:
        UserError: if a share is not between 0 and 1.
    """

    kind: Literal["time"] = "time"
    valid_share: float = 0.1
    test_share: float = 0.1
    target: TargetsOfUser = "last"
    seed: int = 0
    needs_times: ClassVar[bool] = True
    trained_users: ClassVar[str] = (
        f"users with at least {MIN_INTERACTIONS} interactions, {MIN_TRAINED} of them before the validation cut"
    )
    trained_on: ClassVar[str] = "before the validation cut"

    def __post_init__(self) -> None:
        for key in ("valid_share", "test_share"):
            if not 0 < getattr(self, key) < 1:
                raise UserError(
                    f"split.{key} is {getattr(self, key)}; it must be above 0 and below 1"
                )

    @property
    def training(self) -> "TimeCut":
        """The part of the value that determines the training data."""
        return replace(self, target="last", seed=0)

    def kept_are(self, max_len: int) -> str:
        """The kept interactions, in words."""
        return f"of each user, the last {max_len + 1} before the validation cut and all later ones"

    @property
    def targets_are(self) -> dict[str, str]:
        """The targets of validation and test, in words."""
        each = _IN_WORDS[self.target]
        return {
            "valid": f"{each} from the validation cut to the test cut",
            "test": f"{each} from the test cut on",
        }

    def cut(self, histories: UserHistories, max_len: int) -> Cut:
        """Cuts histories, whose times must have been read.

        Args:
            histories: every user's interactions.
            max_len: L.

        Raises:
            UserError: if no user has enough interactions, there are no times, or they are not in order.
        """
        times = _times_in_order(histories)
        _, starts, stops = _eligible(histories)

        def own() -> Iterator[Indices]:
            """The times of the users in the splits, in parts."""
            for part, firsts, ends in by_ranges(times, starts, stops):
                yield part[inside(len(part), firsts, ends)]

        total = int((stops - starts).sum())
        ((test_at, earlier),) = kth_smallest(own, quantile_index(1 - self.test_share, total))
        if not earlier:
            raise UserError(
                f"no interaction is earlier than the test cut, because {self.test_share:.0%} or more of the interactions "
                "share the first moment of the log; use a log with finer times, or a leave-one-out protocol"
            )
        ((valid_at, _),) = kth_smallest(own, quantile_index(1 - self.valid_share, earlier))
        return self.cut_at(histories, max_len, valid_at=valid_at, test_at=test_at)

    def cut_at(self, histories: UserHistories, max_len: int, *, valid_at: int, test_at: int) -> Cut:
        """Cuts histories of some users at moments of the whole log.

        Args:
            histories: interactions of complete users, with times.
            max_len: L.
            valid_at: validation cut in milliseconds.
            test_at: test cut in milliseconds.

        Raises:
            UserError: if no user has enough interactions, there are no times, or they are not in order.
        """
        times = _times_in_order(histories)
        eligible, starts, stops = _eligible(histories)
        first_valid = starts + _earlier(times, valid_at, starts, stops)
        first_test = starts + _earlier(times, test_at, starts, stops)
        return Cut(
            eligible=eligible,
            starts=starts,
            kept=np.maximum(starts, first_valid - (max_len + 1)),
            train_stops=first_valid,
            drawn_stops=first_valid,
            valid=self._period(starts, first_valid, first_test, stream=0),
            test=self._period(starts, first_test, stops, stream=1),
        )

    def _period(self, starts: Indices, firsts: Indices, stops: Indices, *, stream: int) -> Period:
        firsts = np.maximum(firsts, starts + 1)  # a target needs an input
        users = np.flatnonzero(stops > firsts)
        rng = np.random.default_rng([self.seed, stream])
        rows, targets = _TARGETS[self.target](firsts[users], stops[users], rng)
        return Period(users[rows], targets, stops)


Split = LeaveOneOut | TimeCut
SPLITS: dict[str, type[LeaveOneOut] | type[TimeCut]] = {
    LeaveOneOut.kind: LeaveOneOut,
    TimeCut.kind: TimeCut,
}


def _last(
    firsts: Indices, stops: Indices, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Indices]:
    return np.arange(len(stops)), stops - 1


def _successive(
    firsts: Indices, stops: Indices, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Indices]:
    lengths = stops - firsts
    rows = np.repeat(np.arange(len(stops)), lengths)
    begins = np.cumsum(lengths) - lengths
    return rows, np.arange(len(rows)) + (firsts - begins)[rows]


def _random(
    firsts: Indices, stops: Indices, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Indices]:
    return np.arange(len(stops)), firsts + rng.integers(stops - firsts)


# By name, the targets in [firsts[u], stops[u]) of users who have some: the user of each, and its index.
_TARGETS: dict[str, Callable[..., tuple[NDArray[np.intp], Indices]]] = {
    "last": _last,
    "successive": _successive,
    "random": _random,
}
_IN_WORDS = {
    "last": "the last interaction of each user",
    "successive": "every interaction of each user, after the true ones before it,",
    "random": "one interaction of each user, drawn at random,",
}


def _eligible(histories: UserHistories) -> tuple[NDArray[np.bool_], Indices, Indices]:
    """(all users,) who is in the splits; first index and one past the last of each of the U users."""
    bounds = histories.bounds
    lengths = np.diff(bounds)
    enough = lengths >= MIN_INTERACTIONS
    if not enough.any():
        raise UserError(
            f"no user has {MIN_INTERACTIONS} interactions or more (users: {len(lengths)}, "
            f"longest: {lengths.max(initial=0)}); nothing can be trained on this dataset"
        )
    if enough.all():
        return enough, bounds[:-1], bounds[1:]  # views: the indices of a large log need no copy
    return enough, bounds[:-1][enough], bounds[1:][enough]


def _earlier(times: Indices, moment: int, starts: Indices, stops: Indices) -> Indices:
    """(U,) how many interactions of each user are earlier than a moment."""
    earlier = [np.zeros(0, dtype=np.int64)]
    for part, firsts, ends in by_ranges(times, starts, stops):
        counts = np.concatenate([[0], np.cumsum(part < moment)])
        earlier.append(counts[ends] - counts[firsts])
    return np.concatenate(earlier)


def _times_in_order(histories: UserHistories) -> Indices:
    """The times of the histories.

    Raises:
        UserError: if there are none, or they are not in order.
    """
    if histories.times is None:
        raise UserError(
            "a cut in time requires the time of each interaction, and the histories have none"
        )
    _refuse_disorder(histories, histories.times)
    return histories.times


def _refuse_disorder(histories: UserHistories, times: Indices) -> None:
    """Refuses times that decrease within a user's history."""
    bounds = histories.bounds
    for users in blocks(len(bounds) - 1):
        own = bounds[users.start : users.stop + 1]
        back = np.diff(times[own[0] : own[-1]]) < 0
        back[own[1:-1] - 1 - own[0]] = False  # from one user to the next
        if not back.any():
            continue
        user = int(np.searchsorted(bounds, own[0] + np.argmax(back), side="right")) - 1
        raise UserError(
            f"the interactions of user {histories.user_ids[user]!r} are not in the order of their times; write them again "
            "with prep ingest"
        )
