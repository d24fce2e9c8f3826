"""Times that cannot be right, or are too coarse to order interactions."""

from collections.abc import Iterator
from math import gcd

import numpy as np

from prep.reporting.chunks import Chunk
from prep.reporting.finding import Facts, Finding, percent
from prep.reporting.measures import Ints, share
from toolkit.measures import number

DAY_MS = 86_400_000
HOUR_S = 3600
FIRST_DAY, LAST_DAY = (
    7305,
    23741,
)  # 1990-01-01 to 2035-01-01 in days since 1970, as `interactions.PLAUSIBLE_MS`
TAIL = 0.01  # share of the interactions on either side of the body of the times
MARGIN_DAYS = 365  # least distance from the body of a time that lies apart
MIDNIGHT = 0.99  # share of times at 00:00 UTC from which the clock counts days


class Clock:
    """Counts the resolution of the times and their distribution over days."""

    def __init__(self) -> None:
        self._base: int | None = None
        self._step = 0
        self._midnight = self._dated = 0
        self._days = np.zeros(LAST_DAY - FIRST_DAY, np.int64)

    def add(self, chunk: Chunk) -> None:
        """Counts the times of further users."""
        times = chunk.time[chunk.dated]
        if not len(times):
            return
        if self._base is None:
            self._base = int(times[0])
        if self._step != 1:
            self._step = gcd(self._step, int(np.gcd.reduce(times - self._base)))
        self._dated += len(times)
        self._midnight += int(np.count_nonzero(times % DAY_MS == 0))
        days = times // DAY_MS - FIRST_DAY
        inside = days[(days >= 0) & (days < len(self._days))]
        self._days += np.bincount(inside, minlength=len(self._days))

    def facts(self, timestamps: Facts) -> Facts:
        """The figures of `times`; null without times.

        Args:
            timestamps: facts of the first and last time.
        """
        some = self._dated > 0
        return {
            "missing": timestamps["share_null"],
            "first": timestamps["first"],
            "last": timestamps["last"],
            "implausible": timestamps["implausible"] if some else None,
            "all_equal": timestamps["first_ms"] == timestamps["last_ms"] if some else None,
            "resolution_seconds": self._step / 1000 if some and self._step else None,
            "at_midnight": share(self._midnight, self._dated),
            "apart": int(apart(self._days).sum()) if some else None,
        }


def apart(days: Ints) -> Ints:
    """The interactions of each day that lies apart from the rest; 0 for the other days.

    The body of the times reaches from the 1st to the 99th percentile. A day lies apart if its distance from the body
    exceeds the length of the body and a year.

    Args:
        days: number of interactions of consecutive days.
    """
    total = int(days.sum())
    if total == 0:
        return days
    reached = np.cumsum(days)
    first, last = (int(np.searchsorted(reached, part * total)) for part in (TAIL, 1 - TAIL))
    margin = max(last - first, MARGIN_DAYS)
    outside = np.ones(len(days), bool)
    outside[max(first - margin, 0) : last + margin + 1] = False
    return np.where(outside, days, 0)


def find_times(audit: Facts) -> Iterator[Finding]:
    """Findings about impossible, missing, equal and coarse times."""
    times = audit["times"]
    if times["implausible"]:
        yield Finding(
            "warning",
            "implausible_time",
            f"{number(times['implausible'], 'timestamp')} before 1990 or after 2034 "
            f"(first {times['first']}, last {times['last']}), so their unit is probably wrong",
            "ingest again with another --time_unit (ms or s), or fix the file if its layout has a fixed unit",
            "order, cuts in time and leakage are computed from these times",
            "caution",
        )
    if times["missing"] and times["missing"] < 1:
        yield Finding(
            "warning",
            "some_times_missing",
            f"{times['missing']:.1%} of the interactions have no timestamp, so all interactions follow the "
            "file's order instead of the time",
            "add the missing times",
            "no sequence is in the order of time, and no cut in time exists",
            "caution",
        )
    if times["all_equal"] and audit["interactions"] > 1:
        yield Finding(
            "warning",
            "one_time",
            f"All interactions have the time {times['first']}",
            "find the column of the real times, or treat the log as one without times",
            "the order within users is that of the file, and no cut in time exists",
            "caution",
        )
    elif _is_coarse(times):
        yield Finding(
            "note",
            "coarse_clock",
            f"The clock of the times counts {_unit(times)}",
            "report the share of ties with the results, and compare with --ties hash",
            "interactions within one step of the clock have no known order",
            "caution",
        )
    if times["apart"]:
        yield Finding(
            "warning",
            "times_apart",
            f"{number(times['apart'], 'interaction')} lie far before or after all others (first {times['first']}, last "
            f"{times['last']})",
            "check their clock, or leave them out before you ingest",
            "the last target of a user may be such an interaction, and a cut in time may fall between it and the rest",
            "caution",
        )


def _is_coarse(times: Facts) -> bool:
    resolution = times["resolution_seconds"]
    midnight = times["at_midnight"]
    return bool(resolution and resolution >= HOUR_S) or bool(midnight and midnight >= MIDNIGHT)


def _unit(times: Facts) -> str:
    if times["at_midnight"] >= MIDNIGHT:
        return f"days: {percent(times['at_midnight'])} of the times are 00:00 UTC"
    return f"steps of {times['resolution_seconds'] / HOUR_S:g} hours"
