"""What the facts of a report amount to: for each finding, what is so and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from prep.reporting.limits import SHOWN
from toolkit.measures import number
from toolkit.splits import MIN_INTERACTIONS

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Facts = dict[str, Any]

# Both of one text: a share, because any may come twice; a number, because few items have few texts.
SAME_SHARE, SAME_ITEMS = 0.10, 20
# Of all interactions, later than a user's test: less is what every split has, and few users are chance.
LEAKAGE_SHARE, LEAKAGE_USERS = 0.05, 100
FAILED_SHARE = 0.05  # of what a model was shown


class Finding(NamedTuple):
    """One line of the verdict; `what; advice.` is a sentence.

    Args:
        severity: an error makes the dataset, or one of its tables, unfit for training; a warning
            wants a look at the dump; a note is good to know.
        kind: a word for programs.
        what: what is so.
        advice: what to do.
    """

    severity: Severity
    kind: str
    what: str
    advice: str


def find(facts: Facts) -> list[dict[str, str]]:
    """The verdict on the facts of a report, most severe first; empty if nothing is worth a word."""
    found = [finding for look in _LOOKS for finding in look(facts)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return [finding._asdict() for finding in found]


def headline(verdict: list[dict[str, str]]) -> str:
    """How many findings of which severity, as `1 error, 2 notes`."""
    counts = Counter(finding["severity"] for finding in verdict)
    words = [number(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    return ", ".join(words) or "nothing wrong or odd was found"


def _trainable(facts: Facts) -> Iterator[Finding]:
    if facts["splits"]["users"] == 0:
        yield Finding(
            "error",
            "nothing_to_train",
            f"No user has {MIN_INTERACTIONS} interactions with known items, so nothing can be trained",
            "check that the files of interactions and of titles are of the same release",
        )


def _tables(facts: Facts) -> Iterator[Finding]:
    for table in facts["tables"]:
        name, again = table["table"], "run prep build again, it goes on from there"
        if table["skipped"]:
            advice = "put them there and run prep build again if there should be some"
            yield Finding(
                "note", "skipped", f"Table {name} was skipped: {table['skipped']}", advice
            )
        elif not table["finished"] and table["rows"] == 0:
            yield Finding("warning", "not_begun", f"Table {name} is not begun", again)
        elif not table["finished"]:
            what = f"Table {name} is not finished ({table['rows']:,} of {number(table['items'], 'item')})"
            yield Finding("error", "unfinished", what, again)
        elif table["failed"]:
            yield _failed(table)


def _failed(table: dict[str, Any]) -> Finding:
    largest = sorted(table["failed"].items(), key=lambda entry: (-entry[1], entry[0]))
    words = ", ".join(f"{count:,} {word}" for word, count in largest)
    bad, all_ = sum(table["failed"].values()), table["rows"]
    if table["table"].startswith("states/"):
        advice = "such items have zeros there, so mend their sources or add another tower"
    elif table["table"].startswith("captions/"):
        advice = (
            "towers of these captions see nothing of such items, so mend what the list of problems says "
            "and run prep build --retry-failed, or go on without"
        )
    elif "unsupported" in table["failed"]:
        advice = (
            "convert what is unsupported (the list of problems says what such files hold), put good files in the "
            "place of the others and run prep build --retry-failed, or go on without"
        )
    else:
        advice = "put good files in their place and run prep build --retry-failed, or go on without"
    what = f"Table {table['table']}: {bad:,} of {number(all_, 'item')} not ok ({words})"
    return Finding("error" if bad == all_ else "warning", "failed", what, advice)


def _notes(facts: Facts) -> Iterator[Finding]:
    for name, noun in {"covers": "cover", "frames": "clip"}.items():
        for note, count in ((facts[name] or {}).get("notes") or {}).items():
            what = f"{number(count, noun)} with {note}"
            yield Finding("note", "changed_pictures", what, "column note of the table says which")


def _published(facts: Facts) -> Iterator[Finding]:
    if not facts["published"]:
        return
    odd = [
        f"{what} {difference(entry['difference'])}"
        for what, entry in facts["published"]["counts"].items()
        if entry["difference"]
    ]
    if odd:
        yield Finding(
            "warning",
            "not_as_published",
            f"Counts differ from those published of {facts['published']['release']} ({', '.join(odd)})",
            "compare the files with the publisher's, and download again what differs",
        )


def difference(count: int) -> str:
    """A difference from what was published, in words."""
    if count == 0:
        return "equal"
    return f"{abs(count):,} {'missing' if count < 0 else 'too many'}"


def _times(facts: Facts) -> Iterator[Finding]:
    times = facts["timestamps"]
    if times["implausible"]:
        yield Finding(
            "warning",
            "implausible_time",
            f"{number(times['implausible'], 'timestamp')} before 1990 or after 2034 "
            f"(first {times['first']}, last {times['last']}), so their unit is probably wrong",
            "ingest again with another --time_unit (ms or s), or mend the file if its layout takes none",
        )
    if times["share_null"] and times["share_null"] < 1:
        yield Finding(
            "warning",
            "some_times_missing",
            f"{times['share_null']:.1%} of the interactions have no timestamp, so all are in the "
            "file's order instead of that of time",
            "add the missing times",
        )


def _other_steps(facts: Facts) -> Iterator[Finding]:
    """Errors of steps that write no table with a row an item: of ingest, above all."""
    steps = {table["step"] for table in facts["tables"]}
    for entry in facts["failures"]:
        if entry["step"] not in steps:
            word = entry["error_class"]
            known = _INGEST.get(word) if entry["step"] == "ingest" else None
            if entry["step"] == "ingest" and word in _AS_TOLD:
                severity, advice = _AS_TOLD[word]
                yield from (
                    Finding(severity, word, row["message"], advice)
                    for row in entry["listed"][:SHOWN]
                )
                continue
            severity, noun, plural, advice = known or _OTHER
            what = number(entry["count"], noun, plural).format(**entry)
            if word == "unknown_item":
                what += f" ({number(entry['items'], 'item')})"
            yield Finding(severity, word, what, advice)


# Severity, what there is one or many of, and advice, by error class of step ingest.
_INGEST: dict[str, tuple[Severity, str, str, str]] = {
    "unknown_item": (
        "warning",
        "interaction left out, as the dump does not know its item",
        "interactions left out, as the dump does not know their items",
        "titles that are cut off or of another release are the usual cause: see that they fit",
    ),
    "unsafe": (
        "warning",
        "item whose id would lead out of its folder as a file name, left out",
        "items whose ids would lead out of their folder as file names, left out",
        "give such items other ids if you want them",
    ),
    "duplicate_id": (
        "warning",
        "line with an id that stands on an earlier one",
        "lines with an id that stands on an earlier one",
        "of items the first line is kept, of users all: see that no files were joined by mistake",
    ),
    "empty": (
        "note",
        "item with an empty title",
        "items with empty titles",
        "a tower of titles sees nothing of such items, so add another tower",
    ),
    "no_titles": (
        "warning",
        "file of items without any title",
        "files of items without any title",
        "use towers that read other things",
    ),
    "other_title": (
        "note",
        "row with another title for its item than an earlier row",
        "rows with another title for their item than an earlier row",
        "the first one is kept, so move the right one up if it matters",
    ),
    "too_few_interactions": (
        "note",
        f"user with fewer than {MIN_INTERACTIONS} interactions",
        f"users with fewer than {MIN_INTERACTIONS} interactions",
        "the splits leave such users out, and nothing need be done",
    ),
    "outside_core": (
        "note",
        "user or item outside the k-core, left out",
        "users and items outside the k-core, left out",
        "lower k_core to keep more",
    ),
}
# Of what a step says once about a whole file: severity and advice; the message is the finding.
_AS_TOLD: dict[str, tuple[Severity, str]] = {
    "most_unknown": (
        "error",
        "write both files' ids alike, or see that they are of one release, and ingest again",
    ),
    "ids_differ": ("warning", "write both files' ids alike if they are the same items"),
    "dropped_duplicates": ("note", "leave --duplicates drop out to keep them"),
    "joined_splits": ("note", "compare with numbers of that split only what was trained on it"),
    "not_read": ("note", "nothing need be done"),
    "title_column": ("note", "titles feed the tower of that name"),
}
_OTHER: tuple[Severity, str, str, str] = (
    "warning",
    "row with {error_class} at step {step}",
    "rows with {error_class} at step {step}",
    "read its message in the list of problems",
)


def _counts(facts: Facts) -> Iterator[Finding]:
    if not facts["likes_and_views"]:
        return
    negative, above = (
        facts["likes_and_views"][kind]["count"] for kind in ("negative", "likes_above_views")
    )
    if negative:
        what = f"{number(negative, 'item')} with negative likes or views"
        yield Finding("warning", "negative_counts", what, "take those numbers for unknown")
    if above:
        what = (
            f"{number(above, 'item')} with more likes than views, as older copies of MicroLens have"
        )
        yield Finding("note", "likes_above_views", what, "do not divide the one by the other")


def _repetitions(facts: Facts) -> Iterator[Finding]:
    identical, repeated = (facts["repetitions"][kind] for kind in ("identical", "repeated_items"))
    surplus = identical["interactions"] - identical["groups"]
    if surplus:
        yield Finding(
            "warning",
            "identical_interactions",
            f"{number(surplus, 'interaction')} with user, item and time of an earlier one, all kept",
            "if they are copies and no second clicks, ingest with --duplicates drop",
        )
    if repeated["users"]:
        yield Finding(
            "note",
            "repeated_items",
            f"{number(repeated['users'], 'user')} with an item more than once",
            "under protocol paper such a target can never hit, so report protocol clean beside it",
        )


def _order(facts: Facts) -> Iterator[Finding]:
    """Which share of the order within users is no order of time, and whether it follows the ids."""
    order = facts["order"]
    if not order["by_file"]:
        return
    share, hashed = order["share_ascending"], order["ties"] == "hash"
    if order["untimed"]:
        what = "Not every interaction has a time" if order["tied"] else "No times"
        what += ", so the order within users is that of " + ("a hash" if hashed else "the file")
        kind = "no_times"
    else:
        what = (
            f"{_percent(order['share_by_file'])} of users' neighbouring interactions have the same time "
            f"({order['by_file']:,} of {order['pairs']:,}), and the order of "
            + ("a hash" if hashed else "the file")
        )
        kind = "simultaneous"
    if share is not None:
        what += f"; within {'users' if order['untimed'] else 'them'}, items ascend in {_percent(share)} of steps"
    if order["follows_ids"]:
        advice = (
            "a file sorted by id teaches the order of ids instead of that of time: ingest with --ties hash into another "
            "folder, or sort the file by time, before any number is trusted"
        )
        yield Finding("warning", kind, what, advice)
    else:
        advice = "build nothing on their order" + (
            "" if hashed else ", or see what --ties hash changes"
        )
        yield Finding("note", kind, what, advice)


def _percent(share: float) -> str:
    """A share in percent; 100 % and 0 % only where it is all or nothing."""
    return (
        f"{100 * share:.4g}%" if share in (0, 1) else f"{min(max(100 * share, 0.01), 99.99):.1f}%"
    )


def _leakage(facts: Facts) -> Iterator[Finding]:
    share = facts["order"]["share_later_than_test"]
    many = facts["splits"]["users"] >= LEAKAGE_USERS
    if many and share is not None and share >= LEAKAGE_SHARE:
        yield Finding(
            "note",
            "leave_one_out",
            f"Under leave-one-out, {share:.1%} of all interactions lie later than a user's own test time (mean over users)",
            "what is trained knows the future of other users' tests, so state this share beside the numbers",
        )


def _duplicates(facts: Facts) -> Iterator[Finding]:
    for name, noun in {"titles": "title", "covers": "cover", "frames": "clip"}.items():
        entry = facts["duplicates"][name]
        if entry and entry["groups"]:
            yield Finding(
                "note",
                f"identical_{name}",
                f"{entry['items']:,} items share their {noun} with others, in {number(entry['groups'], 'group')}",
                "a tower that reads nothing else cannot tell them apart, so add another one",
            )


def _captions(facts: Facts) -> Iterator[Finding]:
    for entry in facts["captions"]:
        name, ok, failed = entry["name"], entry["ok"], entry["failed"]
        top = entry["most_common"][0] if entry["most_common"] else {"items": 0}
        if top["items"] > SAME_ITEMS and top["items"] > SAME_SHARE * ok:
            what = f"Captions {name}: {top['items']:,} of {ok:,} are the same text, so the model may not look"
            yield Finding("warning", "same_caption", what, _LOOK_AGAIN)
        if entry["asked"] and failed > FAILED_SHARE * entry["asked"]:
            what = f"Captions {name}: the model failed on {failed:,} of {number(entry['asked'], 'item')} shown to it"
            yield Finding("warning", "model_fails", what, _LOOK_AGAIN)


_LOOK_AGAIN = (
    "look at some (prep caption DATASET --sample 20 --html), and try another prompt or model"
)


def _unseen(facts: Facts) -> Iterator[Finding]:
    never = facts["popularity"]["items_never_seen"]
    if never:
        what = f"{number(never, 'item')} without any interaction"
        advice = "the catalogue of the splits leaves them out, and nothing need be done"
        yield Finding("note", "never_seen", what, advice)


_LOOKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _trainable,
    _tables,
    _notes,
    _published,
    _times,
    _other_steps,
    _counts,
    _repetitions,
    _order,
    _leakage,
    _duplicates,
    _captions,
    _unseen,
)
