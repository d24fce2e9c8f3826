"""Collects the facts of an audit, and the facts of a report that it reads, in as few passes over the log as they need."""

from functools import partial
from typing import NamedTuple

from prep.config import PrepConfig
from prep.reporting.audit.bots import Bots
from prep.reporting.audit.cold import SPLITS, Cold, cold_by_protocol, cold_counters
from prep.reporting.audit.drift import TENTH, Tenths, no_drift
from prep.reporting.audit.duplicates import exact_and_repeats
from prep.reporting.audit.leakage import LastTimes, Later
from prep.reporting.audit.moments import Times, all_times
from prep.reporting.audit.near import near_duplicates
from prep.reporting.audit.ties import describe_ties
from prep.reporting.audit.times import Clock
from prep.reporting.audit.verdict import conclude
from prep.reporting.chunks import Counter, walk
from prep.reporting.duplicates import describe_duplicates
from prep.reporting.finding import Facts
from prep.reporting.interactions import describe_interactions
from prep.steps.database import Connection
from toolkit import Dataset
from toolkit.cuts import LeaveOneOut, TimeCut
from toolkit.quantiles import Histogram, kth_smallest, quantile_index

ORDER_KEYS = ("ties", "duplicates")
Counters = dict[LeaveOneOut | TimeCut, Cold]


class Collected(NamedTuple):
    """Facts about a dataset.

    Args:
        interactions: facts of `prep.reporting.interactions`, with the settings of the order.
        duplicates: facts of `prep.reporting.duplicates`.
        audit: facts, findings and verdict of the audit.
    """

    interactions: Facts
    duplicates: Facts
    audit: Facts


def collect(data: Dataset, connection: Connection) -> Collected:
    """The facts of an audit and what it reads.

    Args:
        data: the dataset.
        connection: database for queries on items, with the table of items registered as `items`.

    Raises:
        UserError: if a table is missing or broken.
    """
    clock, bots, tests = Clock(), Bots(), LastTimes()
    cold = cold_counters(data.items.num_rows, None)
    counters: list[Counter] = [clock, bots, tests, *cold.values()]
    interactions = describe_interactions(data, counters=counters)
    timestamps, rows = interactions["timestamps"], interactions["sequences"]["interactions"]
    timed = rows > 0 and not interactions["order"]["untimed"]
    times = clock.facts(timestamps)
    by_time = _by_time(data, timestamps, tests, cold) if timed else _ByTime(None, *no_drift())
    ingest = data.manifest.get("steps", {}).get("ingest", {}).get("config", {})
    interactions["order"] = {
        **{key: ingest.get(key, getattr(PrepConfig, key)) for key in ORDER_KEYS},
        **interactions["order"],
        "share_later_than_test": by_time.later,
    }
    duplicates = describe_duplicates(data, connection)
    exact, repeats = exact_and_repeats(interactions["repetitions"], rows, timed=timed)
    facts = {
        "interactions": rows,
        "users": interactions["sequences"]["users"],
        "users_in_splits": interactions["splits"]["users"],
        "ties": describe_ties(interactions["order"]),
        "duplicates": exact,
        "repeats": repeats,
        "times": times,
        "leakage": {
            "later_than_own_test": by_time.later,
            "users": interactions["splits"]["users"],
        },
        "drift": by_time.drift,
        "new_items": by_time.new_items,
        "cold": cold_by_protocol(cold),
        "near_duplicates": near_duplicates(data, duplicates),
        "bots": bots.facts(times["resolution_seconds"]),
    }
    return Collected(interactions, duplicates, facts | conclude(facts))


class _ByTime(NamedTuple):
    later: float | None
    drift: Facts
    new_items: Facts


def _by_time(data: Dataset, timestamps: Facts, tests: LastTimes, cold: Counters) -> _ByTime:
    """Facts that need the time of every interaction; adds the counters of the cuts in time to `cold`."""
    later = Later(tests.ascending())
    coarse = Histogram(timestamps["first_ms"], timestamps["last_ms"] + 1)
    walk(data, [later, Times(coarse)])
    if not coarse.total:
        return _ByTime(later.share(), *no_drift())
    share, times = _time_cut(), partial(all_times, data)
    ends = (quantile_index(end, coarse.total) for end in (TENTH, 1 - share.test_share))
    (first_end, _), (test_at, before) = kth_smallest(times, *ends, coarse=coarse)
    if not before:  # one moment holds the first tenth and the last
        return _ByTime(later.share(), *no_drift())
    valid_index = quantile_index(1 - share.valid_share, before)
    ((valid_at, _),) = kth_smallest(times, valid_index, coarse=coarse)
    tenths = Tenths(data.items.num_rows, first_end, test_at)
    added = cold_counters(data.items.num_rows, (valid_at, test_at))
    in_time = {split: counter for split, counter in added.items() if split not in cold}
    walk(data, [tenths, *in_time.values()])
    cold |= in_time
    return _ByTime(later.share(), *tenths.facts())


def _time_cut() -> TimeCut:
    """The shares of the named protocols with a cut in time."""
    return next(split for split in SPLITS.values() if isinstance(split, TimeCut))
