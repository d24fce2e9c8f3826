"""What the facts of a report amount to: for each finding, what is so and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from toolkit.measures import number
from toolkit.splits import MIN_INTERACTIONS

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Facts = dict[str, Any]

# Both of one text: a share, because any may come twice; a number, because few items have few texts.
SAME_SHARE, SAME_ITEMS = 0.10, 20
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
            f"{number(times['implausible'], 'timestamp')} before 2000 or after 2034 "
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
    identical, repeated, simultaneous = (
        facts["repetitions"][kind] for kind in ("identical", "repeated_items", "simultaneous")
    )
    surplus = identical["interactions"] - identical["groups"]
    if surplus:
        yield Finding(
            "warning",
            "identical_interactions",
            f"{number(surplus, 'interaction')} with user, item and time of an earlier one, all kept",
            "remove them from the dump if they are copies and no second clicks",
        )
    if repeated["users"]:
        yield Finding(
            "note",
            "repeated_items",
            f"{number(repeated['users'], 'user')} with an item more than once",
            "under protocol paper such a target can never hit, so report protocol clean beside it",
        )
    if simultaneous["interactions"]:
        yield Finding(
            "note",
            "simultaneous",
            f"{number(simultaneous['interactions'], 'interaction')} at the time of another of the same user",
            "their order is that of the file, so build nothing on it",
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
    _duplicates,
    _captions,
    _unseen,
)
