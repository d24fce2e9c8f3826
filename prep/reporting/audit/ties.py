"""Order within users that time does not determine: equal times, and logs without times.

A file that is sorted by item id decides ties by id, which no user followed: NDCG rose by about 20% (yueqirex/LRURec, issue
1). A file without times, sorted by user and item, gave HR@10 0.98 (pmixer/TiSASRec.pytorch, issue 9).
"""

from collections.abc import Iterator

from prep.reporting.finding import Facts, Finding, Fitness, percent

SHARE = 0.1  # of a user's neighbouring pairs; above it, ties in the order of ids make numbers meaningless
_BY_ID = "a model learns the order of ids instead of what users did, and every sequential metric becomes higher without meaning"
_UNKNOWN = "the order that a sequential model learns is not what users did, so its advantage over a model without order is unknown"


def describe_ties(order: Facts) -> Facts:
    """The figures of `ties` from those of `prep.reporting.order`.

    Args:
        order: facts of the order, with the setting `ties`.

    Returns:
        share: share of a user's neighbouring pairs with the same time; null without times. ascending: share of these
        in which item ids ascend, of those that change the item. share_by_file, ascending_by_file: the same for pairs
        whose order is not determined by time, which are all pairs if an interaction has no time.
    """
    untimed = order["untimed"]
    return {
        "share": None if untimed else order["share_tied"],
        "ascending": None if untimed else order["share_ascending"],
        "pairs": order["pairs"],
        "by_file": order["by_file"],
        "share_by_file": order["share_by_file"],
        "ascending_by_file": order["share_ascending"],
        "p_value": order["p_value"],
        "follows_ids": order["follows_ids"],
        "untimed": untimed,
        "some_times": untimed and order["tied"] > 0,
        "broken_by": order["ties"],
    }


def find_ties(audit: Facts) -> Iterator[Finding]:
    """A finding if file or hash decide the order of neighbouring interactions."""
    ties = audit["ties"]
    ascending, hashed = ties["ascending_by_file"], ties["broken_by"] == "hash"
    if not ties["by_file"] or (ascending is None and not ties["untimed"]):
        return  # copies of one interaction have no order to lose
    order = "a hash" if hashed else "the file"
    if ties["untimed"]:
        what = "Not every interaction has a time" if ties["some_times"] else "No times"
        what += f", so the order within users is that of {order}"
        kind = "no_times"
    else:
        what = (
            f"{percent(ties['share_by_file'])} of users' neighbouring interactions have the same time "
            f"({ties['by_file']:,} of {ties['pairs']:,}), and the order of {order}"
        )
        kind = "simultaneous"
    if ascending is not None:
        what += f"; within {'users' if ties['untimed'] else 'them'}, items ascend in {percent(ascending)} of steps"
    if ties["follows_ids"]:
        advice = (
            "from a file sorted by id, a model learns the order of ids instead of time: before you trust any number, "
            "ingest with --ties hash into another folder, or sort the file by time"
        )
        fitness: Fitness = "unfit" if ties["share_by_file"] >= SHARE else "caution"
        yield Finding("warning", kind, what, advice, _BY_ID, fitness)
        return
    advice = "do not rely on their order" + ("" if hashed else ", or compare with --ties hash")
    many = ties["untimed"] or ties["share_by_file"] >= SHARE
    yield Finding("note", kind, what, advice, _UNKNOWN, "caution" if many else "fit")
