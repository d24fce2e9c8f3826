"""The figures of an audit as lines, for the page and the command."""

from prep.reporting.finding import Facts, percent
from toolkit.measures import number

UNKNOWN = "unknown"


def figures(audit: Facts) -> dict[str, str]:
    """Label and value of each figure; `unknown` where the log has no times, or the dataset no such table."""
    return {**_order(audit), **_time(audit), **_cold(audit), **_near(audit), **_bots(audit)}


def _order(audit: Facts) -> dict[str, str]:
    ties = audit["ties"]
    return {
        "neighbouring interactions of a user at the same time": _share(ties["share"]),
        "steps among these in which item ids ascend": _share(ties["ascending"]),
        "exact duplicates (user, item, time)": _count(audit["duplicates"]["exact"]),
        "repeats of an item by its user": _share(audit["repeats"]["share"]),
    }


def _time(audit: Facts) -> dict[str, str]:
    times, drift, new = audit["times"], audit["drift"], audit["new_items"]
    step = times["resolution_seconds"]
    variation, chance = drift["total_variation"], drift["by_chance"]
    return {
        "interactions without a time": _share(times["missing"]),
        "step of the clock": UNKNOWN if step is None else f"{step:,g} s",
        "times before 1990 or after 2034": _count(times["implausible"]),
        "times far from all others": _count(times["apart"]),
        "interactions later than a user's own test (leave-one-out)": _share(
            audit["leakage"]["later_than_own_test"]
        ),
        "change of popularity, first to last tenth of time": UNKNOWN
        if variation is None
        else f"{percent(variation)} of the interactions ({percent(chance)} by chance)",
        "items that exist only after the test cut in time": UNKNOWN
        if new["share"] is None
        else f"{new['items']:,} ({percent(new['share'])})",
    }


def _cold(audit: Facts) -> dict[str, str]:
    return {
        f"cold test targets, protocol {name}": _share(facts["share"] if facts else None)
        for name, facts in audit["cold"].items()
    }


def _near(audit: Facts) -> dict[str, str]:
    near = audit["near_duplicates"]
    towers = {f"states of {tower}": facts for tower, facts in near["states"].items()}
    sources = {"titles": near["titles"], "covers": near["covers"], **towers}
    return {f"items with near-equal {name}": _groups(facts) for name, facts in sources.items()}


def _groups(facts: Facts | None) -> str:
    if facts is None or facts["share"] is None:
        return UNKNOWN
    text = f"{facts['items']:,} of {facts['compared']:,}"
    least = "" if facts.get("complete", True) else "at least "
    left_out = facts.get("left_out", 0)
    return least + text + (f" ({number(left_out, 'item')} not compared)" if left_out else "")


def _bots(audit: Facts) -> dict[str, str]:
    bots = audit["bots"]
    bursts = bots["bursts"]
    return {
        "users far outside the distribution of lengths": _count(bots["long"]["users"]),
        "users with many interactions in one second": _count(bursts["users"] if bursts else None),
    }


def _share(share: float | None) -> str:
    return UNKNOWN if share is None else percent(share)


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"
