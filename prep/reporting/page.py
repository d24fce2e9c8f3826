"""The report as one page of HTML that needs nothing else: no network, no script.

Whatever comes from the dump passes `html.escape` in `prep.reporting.markup`.
"""

from collections.abc import Sequence
from typing import Any

from prep.reporting import plots
from prep.reporting.findings import difference, headline
from prep.reporting.limits import SHOWN
from prep.reporting.measures import utc
from toolkit.measures import number
from toolkit.page.markup import (
    Cell,
    Code,
    Html,
    Percent,
    date,
    details,
    document,
    header,
    section,
    table,
    text,
    words,
)
from toolkit.splits import MIN_INTERACTIONS

Facts = dict[str, Any]


def render(facts: Facts) -> str:
    """The page for the facts of a report, as `report.json` holds them."""
    parts = [
        header(f"Integrity report · layout {facts['layout']}", facts["name"], facts["counts"]),
        section("Verdict", _verdict(facts)),
        section("Counts", _published(facts), _splits(facts)),
        section("Problems", _tables(facts), _failures(facts)),
        section("Duplicates and oddities", _duplicates(facts), _repetitions(facts), _likes(facts)),
        section("Sequences and popularity", _plots(facts), _interactions(facts)),
        section("Content of items", _content(facts)),
        _captions(facts),
        section("Inputs and steps", _inputs(facts), _steps(facts)),
    ]
    return document(f"{facts['name']}: integrity report", parts)


def _verdict(facts: Facts) -> Html:
    lines = "\n".join(
        f'<li class="{finding["severity"]}"><span class="severity">'
        f"{finding['severity'].capitalize()}</span><span>{text(finding['what'])}; "
        f'<span class="soft">{text(finding["advice"])}.</span></span></li>'
        for finding in facts["verdict"]
    )
    found = f'\n<ul class="verdict">\n{lines}\n</ul>' if lines else ""
    return Html(f"<p>{text(headline(facts['verdict']).capitalize())}.</p>{found}")


def _published(facts: Facts) -> Html:
    if not facts["published"]:
        return Html(
            '<p class="soft">The names of the dump\'s files are not those of a release whose counts '
            "are published, so there is nothing to compare with.</p>"
        )
    rows = [
        [what, entry["found"], entry["published"], difference(entry["difference"])]
        for what, entry in facts["published"]["counts"].items()
    ]
    found = table(["", "here", "published", "difference"], rows)
    return Html(
        f"<p>By their names, the files are {text(facts['published']['release'])}.</p>\n{found}"
    )


def _splits(facts: Facts) -> Html:
    splits = facts["splits"]
    kept = splits["max_len"] + 3
    return Html(
        f"<p>Training and evaluation use {number(splits['users'], 'user')}, "
        f"{number(splits['items'], 'item')} and {number(splits['interactions'], 'interaction')}: "
        f"those of users with at least {MIN_INTERACTIONS} interactions, the last {kept} of each "
        f"(protocol {splits['protocol']}, L&nbsp;=&nbsp;{splits['max_len']}).</p>"
    )


def _tables(facts: Facts) -> Html:
    rows: list[list[Cell]] = []
    for entry in facts["tables"]:
        state = entry["skipped"] or ("finished" if entry["finished"] else "not finished")
        ok = None if entry["skipped"] else entry["ok"]
        share = None if entry["skipped"] else Percent(entry["ok"], entry["items"])
        rows.append([entry["table"], ok, share, state])
    return table(["table", "items ok", "of all", "state"], rows)


def _failures(facts: Facts) -> Html:
    found = []
    for entry in facts["failures"]:
        rows = [[Code(row["item_id"]), row["message"]] for row in entry["listed"]]
        what = f"{entry['step']} · {entry['error_class']}"
        found.append(_first(what, entry["count"], ["item", "message"], rows))
    return Html("\n".join(found))


def _first(what: str, count: int, headers: list[str], rows: Sequence[Sequence[Cell]]) -> Html:
    """A line that opens to a table of the first rows."""
    more = f'<p class="soft">The first {SHOWN}; report.json lists more.</p>'
    shown = table(headers, rows[:SHOWN])
    return details(what, Html(shown + more) if len(rows) > SHOWN else shown, count=count)


def _duplicates(facts: Facts) -> Html:
    found = []
    for name, noun in {"titles": "title", "covers": "cover", "frames": "clip"}.items():
        entry = facts["duplicates"][name]
        if entry is None:
            continue
        rows = [
            [group["items"], group["title"], Code(_ids(group["item_ids"]))]
            for group in entry["listed"]
        ]
        what = f"Items that share their {noun} ({number(entry['groups'], 'group')})"
        title = "title" if name == "titles" else "title of the first"
        found.append(_first(what, entry["items"], ["items", title, "ids"], rows))
    return Html("\n".join(found))


def _ids(ids: list[str]) -> str:
    return " ".join(ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")


_REPETITIONS = {
    "identical": "Interactions with the same user, item and time",
    "repeated_items": "Interactions of a user with an item that comes again",
    "simultaneous": "Interactions of a user at the same time",
}
_COLUMNS = {"user_id": "user", "item_id": "item", "timestamp_ms": "time (UTC)"}


def _repetitions(facts: Facts) -> Html:
    found = []
    for kind, what in _REPETITIONS.items():
        entry = facts["repetitions"][kind]
        names = [name for name in _COLUMNS if entry["listed"] and name in entry["listed"][0]]
        rows = [
            [*(_repeated(name, row[name]) for name in names), row["interactions"]]
            for row in entry["listed"]
        ]
        headers = [*(_COLUMNS[name] for name in names), "interactions"]
        found.append(_first(what, entry["interactions"], headers, rows))
    return Html("\n".join(found))


def _repeated(name: str, value: str | int) -> Cell:
    return date(utc(int(value))) if name == "timestamp_ms" else Code(value)


def _likes(facts: Facts) -> Html:
    entry = facts["likes_and_views"]
    if entry is None:
        return Html("")
    kinds = {
        "likes_above_views": "Items with more likes than views",
        "negative": "Items with negative counts",
    }
    found = []
    for kind, what in kinds.items():
        rows = [[Code(row["item_id"]), row["likes"], row["views"]] for row in entry[kind]["listed"]]
        found.append(_first(what, entry[kind]["count"], ["item", "likes", "views"], rows))
    return Html("\n".join(found))


def _plots(facts: Facts) -> Html:
    bars, curve = facts["sequences"]["histogram"], facts["popularity"]["curve"]
    if not bars or not curve:
        return Html('<p class="soft">There are no interactions to draw.</p>')
    lengths = plots.histogram(bars, quiet_below=MIN_INTERACTIONS)
    return Html(
        '<div class="plots">\n'
        f"<figure>\n<figcaption>Users by sequence length (pale: not used)</figcaption>\n{lengths}\n</figure>\n"
        f"<figure>\n<figcaption>Interactions of items, by rank</figcaption>\n{plots.popularity(curve)}\n</figure>\n"
        "</div>"
    )


def _interactions(facts: Facts) -> Html:
    sequences, popularity = facts["sequences"], facts["popularity"]
    spreads = _spreads(
        {
            "interactions of a user": sequences["length"],
            "interactions of an item": popularity["interactions_per_item"],
        }
    )
    times = facts["timestamps"]
    rows = [
        ["users with fewer than 5 interactions", Percent.of(sequences["share_below_5"])],
        ["items without any interaction", Percent.of(popularity["share_never_seen"])],
        [
            "interactions held by the top 1 % of items",
            Percent.of(popularity["share_of_top_1_percent"]),
        ],
        [
            "interactions held by the top 10 % of items",
            Percent.of(popularity["share_of_top_10_percent"]),
        ],
        ["Gini coefficient of popularity", popularity["gini"]],
        ["first interaction (UTC)", date(times["first"])],
        ["last interaction (UTC)", date(times["last"])],
        ["interactions without a time", Percent.of(times["share_null"])],
    ]
    shares = f"{spreads}\n<h3>Shares and times</h3>\n{table(None, rows)}"
    return Html(f"{shares}\n<h3>Order and repetitions</h3>\n{table(None, _order(facts))}")


def _order(facts: Facts) -> list[list[Cell]]:
    order, repetitions = facts["order"], facts["repetitions"]
    return [
        ["neighbouring interactions of a user at the same time", Percent.of(order["share_tied"])],
        ["neighbours in the order of " + _BY[order["ties"]], Percent.of(order["share_by_file"])],
        ["steps among these in which item ids ascend", Percent.of(order["share_ascending"])],
        ["exact duplicates (user, item, time)", repetitions["exact_duplicates"]],
        ["exact duplicates are", {"keep": "kept", "drop": "dropped"}[order["duplicates"]]],
        ["repeats of an item at another time", repetitions["repeats_at_other_times"]],
        [
            "interactions later than a user's own test (leave-one-out)",
            Percent.of(order["share_later_than_test"]),
        ],
    ]


_BY = {"file": "the file (--ties file)", "hash": "a hash (--ties hash)"}


def _spreads(rows: dict[str, dict[str, Any] | None]) -> Html:
    names = ("min", "median", "mean", "p95", "max")
    present = [[what, *(entry[n] for n in names)] for what, entry in rows.items() if entry]
    return table(["", "min", "median", "mean", "p95", "max"], present)


def _content(facts: Facts) -> Html:
    frames = facts["frames"] or {}
    found = [
        _spreads(
            {
                "characters of a title": facts["titles"]["characters"],
                "frames of a clip": frames.get("frames"),
                "duration of a clip (s)": frames.get("duration_seconds"),
                "frame rate of a clip (1/s)": frames.get("fps"),
            }
        )
    ]
    for noun, entry in {"covers": facts["covers"], "frames": facts["frames"]}.items():
        if entry and "sizes" in entry:
            sizes = entry["sizes"]
            rows = [
                [f"{s['width_px']} × {s['height_px']}", s["items"]] for s in sizes["most_common"]
            ]
            what = f"Sizes of stored {noun}, in pixels"
            found.append(
                details(what, table(["width × height", "items"], rows), count=sizes["distinct"])
            )
    if facts["tags"]:
        rows = [[tag["tag"], tag["items"]] for tag in facts["tags"]["most_common"]]
        found.append(
            details("Distinct tags", table(["tag", "items"], rows), count=facts["tags"]["distinct"])
        )
    return Html("\n".join(found))


def _captions(facts: Facts) -> Html:
    if not facts["captions"]:
        return Html("")
    rows: list[list[Cell]] = []
    common = []
    for entry in facts["captions"]:
        made_by = [entry["model"], Code(entry["revision"]), entry["prompt"]]
        rows.append([entry["name"], *made_by, entry["ok"], entry["distinct"]])
        texts = [[row["items"], row["text"]] for row in entry["most_common"]]
        what = f"Distinct texts of {entry['name']}; the most frequent ones"
        common.append(details(what, table(["items", "text"], texts), count=entry["distinct"]))
    headers = ["captions", "model", "revision", "prompt", "items ok", "distinct texts"]
    lengths = _spreads({f"characters of {e['name']}": e["characters"] for e in facts["captions"]})
    return section("Captions", table(headers, rows), lengths, *common)


def _inputs(facts: Facts) -> Html:
    rows = [
        [Code(name), e["bytes"], Code(e["sha256"])] for name, e in sorted(facts["inputs"].items())
    ]
    return table(["file", "bytes", "SHA-256"], rows)


def _steps(facts: Facts) -> Html:
    rows = [
        [name, Code(words(step["config"])), Code(words(step.get("versions", {})))]
        for name, step in facts["steps"].items()
    ]
    return Html(f"<h3>Steps</h3>\n{table(['step', 'configuration', 'versions'], rows)}")
