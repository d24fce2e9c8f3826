"""The report as one page of HTML that needs nothing else: no network, no script.

The tables of each section are made here; `templates/report.html` lays them out, and escapes whatever comes from the dump.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prep.reporting import plots
from prep.reporting.audit.figures import figures
from prep.reporting.findings import difference, headline
from prep.reporting.limits import SHOWN
from prep.reporting.measures import utc
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.measures import number
from toolkit.page import rendering
from toolkit.page.markup import Cell, Code, Percent, Table, date, on_a_line

Facts = dict[str, Any]
PAGES = rendering.environment("prep.reporting", number=number)


class Listing(NamedTuple):
    """A line that opens to a table.

    Args:
        summary: the line.
        total: how many there are in all, at its end.
        table: what opens.
        is_cut: whether report.json lists more.
    """

    summary: str
    total: int
    table: Table
    is_cut: bool = False


def render(facts: Facts) -> str:
    """The page for the facts of a report, as `report.json` holds them."""
    bars, curve = facts["sequences"]["histogram"], facts["popularity"]["curve"]
    return rendering.render(
        PAGES,
        "report.html",
        title=f"{facts['name']}: integrity report",
        facts=facts,
        headline=headline(facts["verdict"]).capitalize(),
        min_interactions=MIN_INTERACTIONS,
        published=_published(facts),
        tables=_tables(facts),
        failures=list(failure_listings(facts)),
        oddities=[*_duplicates(facts), *_repetitions(facts), *_likes(facts)],
        lengths=plots.histogram(bars, quiet_below=MIN_INTERACTIONS) if bars else None,
        curve=plots.popularity(curve) if curve else None,
        spreads=_spreads(
            {
                "interactions of a user": facts["sequences"]["length"],
                "interactions of an item": facts["popularity"]["interactions_per_item"],
            }
        ),
        shares=_shares(facts),
        order=_order(facts),
        audit=_pairs(dict(figures(facts["audit"]))),
        content=_content(facts),
        contents=list(_contents(facts)),
        captions=_captions(facts["captions"]),
        caption_lengths=_spreads(
            {f"characters of {entry['name']}": entry["characters"] for entry in facts["captions"]}
        ),
        caption_texts=list(_caption_texts(facts["captions"])),
        inputs=input_table(facts),
        steps=step_table(facts),
    )


def _published(facts: Facts) -> Table:
    counts = facts["published"]["counts"] if facts["published"] else {}
    rows = [
        [what, entry["found"], entry["published"], difference(entry["difference"])]
        for what, entry in counts.items()
    ]
    return Table(["", "here", "published", "difference"], rows)


def _tables(facts: Facts) -> Table:
    rows: list[list[Cell]] = []
    for entry in facts["tables"]:
        state = entry["skipped"] or ("finished" if entry["finished"] else "not finished")
        ok = None if entry["skipped"] else entry["ok"]
        share = None if entry["skipped"] else Percent(entry["ok"], entry["items"])
        rows.append([entry["table"], ok, share, state])
    return Table(["table", "items ok", "of all", "state"], rows)


def failure_listings(facts: Facts) -> Iterator[Listing]:
    """Yields the first rows of each error class of each step."""
    for entry in facts["failures"]:
        rows = [[Code(row["item_id"]), row["message"]] for row in entry["listed"]]
        summary = f"{entry['step']} · {entry['error_class']}"
        yield first_rows(summary, entry["count"], ["item", "message"], rows)


def first_rows(
    summary: str, total: int, headers: list[str], rows: Sequence[Sequence[Cell]]
) -> Listing:
    """A listing of the first rows."""
    return Listing(summary, total, Table(headers, rows[:SHOWN]), is_cut=len(rows) > SHOWN)


def _duplicates(facts: Facts) -> Iterator[Listing]:
    for name, noun in {"titles": "title", "covers": "cover", "frames": "clip"}.items():
        entry = facts["duplicates"][name]
        if entry is None:
            continue
        rows = [
            [group["items"], group["title"], Code(_ids(group["item_ids"]))]
            for group in entry["listed"]
        ]
        summary = f"Items that share their {noun} ({number(entry['groups'], 'group')})"
        title = "title" if name == "titles" else "title of the first"
        yield first_rows(summary, entry["items"], ["items", title, "ids"], rows)


def _ids(ids: list[str]) -> str:
    return " ".join(ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")


_REPETITIONS = {
    "identical": "Interactions with the same user, item and time",
    "repeated_items": "Interactions of a user with an item that comes again",
    "simultaneous": "Interactions of a user at the same time",
}
_COLUMNS = {"user_id": "user", "item_id": "item", "timestamp_ms": "time (UTC)"}


def _repetitions(facts: Facts) -> Iterator[Listing]:
    for kind, summary in _REPETITIONS.items():
        entry = facts["repetitions"][kind]
        names = [name for name in _COLUMNS if entry["listed"] and name in entry["listed"][0]]
        rows = [
            [*(_repeated(name, row[name]) for name in names), row["interactions"]]
            for row in entry["listed"]
        ]
        headers = [*(_COLUMNS[name] for name in names), "interactions"]
        yield first_rows(summary, entry["interactions"], headers, rows)


def _repeated(name: str, value: str | int) -> Cell:
    return date(utc(int(value))) if name == "timestamp_ms" else Code(value)


_LIKES = {
    "likes_above_views": "Items with more likes than views",
    "negative": "Items with negative counts",
}


def _likes(facts: Facts) -> Iterator[Listing]:
    entry = facts["likes_and_views"]
    for kind, summary in _LIKES.items() if entry else ():
        rows = [[Code(row["item_id"]), row["likes"], row["views"]] for row in entry[kind]["listed"]]
        yield first_rows(summary, entry[kind]["count"], ["item", "likes", "views"], rows)


def _shares(facts: Facts) -> Table:
    popularity, times = facts["popularity"], facts["timestamps"]
    return _pairs(
        {
            "users with fewer than 5 interactions": Percent.of(facts["sequences"]["share_below_5"]),
            "items without any interaction": Percent.of(popularity["share_never_seen"]),
            "interactions held by the top 1 % of items": Percent.of(
                popularity["share_of_top_1_percent"]
            ),
            "interactions held by the top 10 % of items": Percent.of(
                popularity["share_of_top_10_percent"]
            ),
            "Gini coefficient of popularity": popularity["gini"],
            "first interaction (UTC)": date(times["first"]),
            "last interaction (UTC)": date(times["last"]),
            "interactions without a time": Percent.of(times["share_null"]),
        }
    )


_BY = {"file": "the file (--ties file)", "hash": "a hash (--ties hash)"}


def _order(facts: Facts) -> Table:
    """What the audit's table does not say of the order."""
    order = facts["order"]
    return _pairs(
        {
            f"neighbours in the order of {_BY[order['ties']]}": Percent.of(order["share_by_file"]),
            "exact duplicates are": {"keep": "kept", "drop": "dropped"}[order["duplicates"]],
        }
    )


def _pairs(values: Mapping[str, Cell]) -> Table:
    return Table(None, list(values.items()))


def _spreads(rows: Mapping[str, dict[str, Any] | None]) -> Table:
    names = ("min", "median", "mean", "p95", "max")
    present = [[what, *(entry[n] for n in names)] for what, entry in rows.items() if entry]
    return Table(["", *names], present)


def _content(facts: Facts) -> Table:
    frames = facts["frames"] or {}
    return _spreads(
        {
            "characters of a title": facts["titles"]["characters"],
            "frames of a clip": frames.get("frames"),
            "duration of a clip (s)": frames.get("duration_seconds"),
            "frame rate of a clip (1/s)": frames.get("fps"),
        }
    )


def _contents(facts: Facts) -> Iterator[Listing]:
    for noun in ("covers", "frames"):
        if sizes := (facts[noun] or {}).get("sizes"):
            rows = [
                [f"{s['width_px']} × {s['height_px']}", s["items"]] for s in sizes["most_common"]
            ]
            table = Table(["width × height", "items"], rows)
            yield Listing(f"Sizes of stored {noun}, in pixels", sizes["distinct"], table)
    if tags := facts["tags"]:
        rows = [[tag["tag"], tag["items"]] for tag in tags["most_common"]]
        yield Listing("Distinct tags", tags["distinct"], Table(["tag", "items"], rows))


def _captions(captions: list[Facts]) -> Table:
    rows: list[list[Cell]] = [
        [e["name"], e["model"], Code(e["revision"]), e["prompt"], e["ok"], e["distinct"]]
        for e in captions
    ]
    headers = ["captions", "model", "revision", "prompt", "items ok", "distinct texts"]
    return Table(headers, rows)


def _caption_texts(captions: list[Facts]) -> Iterator[Listing]:
    for entry in captions:
        rows = [[row["items"], row["text"]] for row in entry["most_common"]]
        summary = f"Distinct texts of {entry['name']}; the most frequent ones"
        yield Listing(summary, entry["distinct"], Table(["items", "text"], rows))


def input_table(facts: Facts) -> Table:
    """The files of the dump that were read."""
    rows = [
        [Code(name), e["bytes"], Code(e["sha256"])] for name, e in sorted(facts["inputs"].items())
    ]
    return Table(["file", "bytes", "SHA-256"], rows)


def step_table(facts: Facts) -> Table:
    """The steps and their configurations."""
    rows = [
        [name, Code(on_a_line(step["config"])), Code(on_a_line(step.get("versions", {})))]
        for name, step in facts["steps"].items()
    ]
    return Table(["step", "configuration", "versions"], rows)
