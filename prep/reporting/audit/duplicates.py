"""Exact duplicates (user, item and time repeated), and repeats of an item at another time.

In KuaiRec one (user, item, time) comes up to 2,224 times (issue 2); that is not a user who returns to an item.
"""

from collections.abc import Iterator

from prep.reporting.finding import Facts, Finding, percent
from prep.reporting.measures import share
from toolkit.measures import number

SHARE = 0.01  # of the interactions; above it, duplicates need a word in a paper


def exact_and_repeats(repetitions: Facts, interactions: int, *, timed: bool) -> tuple[Facts, Facts]:
    """The figures of `duplicates` and `repeats` from those of `prep.reporting.repetitions`.

    Args:
        repetitions: facts of the repetitions.
        interactions: number of all interactions.
        timed: whether every interaction has a time. Without times, a duplicate cannot be told from a repeat.

    Returns:
        exact: surplus rows, which repeat the user, item and time of an earlier one. interactions: repeats of an item
        by the same user at another time.
    """
    exact, repeats = repetitions["exact_duplicates"], repetitions["repeats_at_other_times"]
    counted = exact if timed else None
    duplicates = {"exact": counted, "share": share(exact, interactions) if timed else None}
    users = repetitions["repeated_items"]["users"]
    return duplicates, {
        "interactions": repeats,
        "share": share(repeats, interactions),
        "users": users,
    }


def find_duplicates(audit: Facts) -> Iterator[Finding]:
    """Findings about exact duplicates and repeats."""
    surplus = audit["duplicates"]["exact"]
    if surplus:
        yield Finding(
            "warning",
            "identical_interactions",
            f"{number(surplus, 'interaction')} with the user, item and time of an earlier one, all kept",
            "if they are copies rather than second clicks, ingest with --duplicates drop",
            "a copy of the last input is an easy target, or one that protocol paper can never hit, and popularity counts it "
            "twice",
            "caution" if audit["duplicates"]["share"] >= SHARE else "fit",
        )
    if audit["repeats"]["interactions"]:
        yield Finding(
            "note",
            "repeated_items",
            f"{number(audit['repeats']['users'], 'user')} with an item more than once",
            "under protocol paper such a target never counts as a hit, so report protocol clean as well",
            f"{percent(audit['repeats']['share'] or 0)} of the interactions return to an item: without a mask they are easy "
            "hits",
        )
