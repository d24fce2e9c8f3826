"""Derives findings from the facts of a report: each finding has a statement and advice."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from prep.reporting.finding import SEVERITIES, Facts, Finding, Severity
from prep.reporting.limits import SHOWN
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.measures import number

# Both limits must be exceeded by one text: a share of the captions and a number of items.
SAME_SHARE, SAME_ITEMS = 0.10, 20
FAILED_SHARE = 0.05  # of the items that a model captioned
CUT_SHARE = 0.05  # of the items that a model captioned


def find(facts: Facts) -> list[dict[str, str]]:
    """The verdict on the facts of a report, most severe findings first; empty without findings.

    Its findings are those of the audit and those about the completeness of the tables.
    """
    before, after = (
        [finding._asdict() for check in checks for finding in check(facts)]
        for checks in (_BEFORE, _AFTER)
    )
    findings = [*before, *facts["audit"]["findings"], *after]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding["severity"]))


def headline(verdict: list[dict[str, str]]) -> str:
    """The number of findings by severity, such as `1 error, 2 notes`."""
    counts = Counter(finding["severity"] for finding in verdict)
    parts = [number(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    return ", ".join(parts) or "no problems found"


def _tables(facts: Facts) -> Iterator[Finding]:
    for table in facts["tables"]:
        name, again = table["table"], "run prep build again to resume it"
        if table["skipped"]:
            advice = "add them and run prep build again if the dump should have some"
            yield Finding(
                "note", "skipped", f"Table {name} was skipped: {table['skipped']}", advice
            )
        elif not table["finished"] and table["rows"] == 0:
            yield Finding("warning", "not_begun", f"Table {name} has not been started", again)
        elif not table["finished"]:
            what = f"Table {name} is not finished ({table['rows']:,} of {number(table['items'], 'item')})"
            yield Finding("error", "unfinished", what, again)
        elif table["failed"]:
            yield _failed(table)


def _failed(table: dict[str, Any]) -> Finding:
    largest = sorted(table["failed"].items(), key=lambda entry: (-entry[1], entry[0]))
    statuses = ", ".join(f"{count:,} {status}" for status, count in largest)
    failed, total = sum(table["failed"].values()), table["rows"]
    if table["table"].startswith("states/"):
        advice = "these items have zeros in this tower, so fix their sources or add another tower"
    elif table["table"].startswith("captions/"):
        advice = (
            "towers of these captions have no input for these items, so fix the causes in the list of problems "
            "and run prep build --retry-failed, or continue without"
        )
    elif "unsupported" in table["failed"]:
        advice = (
            "convert unsupported files (the list of problems names their formats), replace the other files "
            "and run prep build --retry-failed, or continue without"
        )
    else:
        advice = "replace the files and run prep build --retry-failed, or continue without"
    what = f"Table {table['table']}: {failed:,} of {number(total, 'item')} not ok ({statuses})"
    return Finding("error" if failed == total else "warning", "failed", what, advice)


def _notes(facts: Facts) -> Iterator[Finding]:
    for name, noun in {"covers": "cover", "frames": "clip"}.items():
        for note, count in ((facts[name] or {}).get("notes") or {}).items():
            what = f"{number(count, noun)} with {note}"
            yield Finding(
                "note", "changed_pictures", what, "the column note of the table lists them"
            )


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
            f"Counts differ from those published for {facts['published']['release']} ({', '.join(odd)})",
            "compare the files with the publisher's, and download files that differ again",
        )


def difference(count: int) -> str:
    """Describes the difference from a published count."""
    if count == 0:
        return "equal"
    return f"{abs(count):,} {'missing' if count < 0 else 'too many'}"


def _other_steps(facts: Facts) -> Iterator[Finding]:
    """Errors of steps whose tables do not have one row per item, above all ingest."""
    steps = {table["step"] for table in facts["tables"]}
    for entry in facts["failures"]:
        if entry["step"] not in steps:
            kind = entry["error_class"]
            known = _INGEST.get(kind) if entry["step"] == "ingest" else None
            if entry["step"] == "ingest" and kind in _VERBATIM:
                severity, advice = _VERBATIM[kind]
                yield from (
                    Finding(severity, kind, row["message"], advice)
                    for row in entry["listed"][:SHOWN]
                )
                continue
            severity, noun, plural, advice = known or _OTHER
            what = number(entry["count"], noun, plural).format(**entry)
            if kind == "unknown_item":
                what += f" ({number(entry['items'], 'item')})"
            yield Finding(severity, kind, what, advice)


# Severity, singular, plural and advice by error class of step ingest.
_INGEST: dict[str, tuple[Severity, str, str, str]] = {
    "unknown_item": (
        "warning",
        "interaction left out, because its item is not in the dump",
        "interactions left out, because their items are not in the dump",
        "the usual cause is a truncated file of titles or one of another release: check the file",
    ),
    "unsafe": (
        "warning",
        "item left out, because its id as a file name would leave its folder",
        "items left out, because their ids as file names would leave their folder",
        "rename the ids of these items to include them",
    ),
    "duplicate_id": (
        "warning",
        "line that repeats the id of an earlier line",
        "lines that repeat the id of an earlier line",
        "for items the first line is kept, for users all lines: check that no files were joined by mistake",
    ),
    "empty": (
        "note",
        "item with an empty title",
        "items with empty titles",
        "a tower of titles has no input for these items, so add another tower",
    ),
    "no_titles": (
        "warning",
        "file of items without titles",
        "files of items without titles",
        "use towers with other sources",
    ),
    "other_title": (
        "note",
        "row with a title that differs from an earlier row of the same item",
        "rows with a title that differs from an earlier row of the same item",
        "the first title is kept, so move the correct title up if it matters",
    ),
    "too_few_interactions": (
        "note",
        f"user with fewer than {MIN_INTERACTIONS} interactions",
        f"users with fewer than {MIN_INTERACTIONS} interactions",
        "the splits leave these users out; no action is needed",
    ),
    "outside_core": (
        "note",
        "user or item outside the k-core, left out",
        "users and items outside the k-core, left out",
        "lower k_core to keep more",
    ),
}
# Severity and advice for problems of a whole file, whose message becomes the statement.
_VERBATIM: dict[str, tuple[Severity, str]] = {
    "most_unknown": (
        "error",
        "use the same ids in both files, or files of the same release, and ingest again",
    ),
    "ids_differ": ("warning", "use the same ids in both files if they mean the same items"),
    "dropped_duplicates": ("note", "omit --duplicates drop to keep them"),
    "joined_splits": ("note", "results are not comparable with results on that split"),
    "cut_histories": ("note", "counts of interactions may be too low for these users"),
    "not_read": ("note", "no action is needed"),
    "title_column": ("note", "towers with the source title read this column"),
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
        yield Finding("warning", "negative_counts", what, "treat these numbers as unknown")
    if above:
        what = (
            f"{number(above, 'item')} with more likes than views, as older copies of MicroLens have"
        )
        yield Finding("note", "likes_above_views", what, "do not use the ratio of likes to views")


def _captions(facts: Facts) -> Iterator[Finding]:
    for entry in facts["captions"]:
        name, ok, failed = entry["name"], entry["ok"], entry["failed"]
        top = entry["most_common"][0] if entry["most_common"] else {"items": 0}
        if top["items"] > SAME_ITEMS and top["items"] > SAME_SHARE * ok:
            what = f"Captions {name}: {top['items']:,} of {ok:,} are the same text, so the model may ignore the pictures"
            yield Finding("warning", "same_caption", what, _SAMPLE_ADVICE)
        if entry["asked"] and failed > FAILED_SHARE * entry["asked"]:
            what = f"Captions {name}: the model failed on {failed:,} of {number(entry['asked'], 'item')}"
            yield Finding("warning", "model_fails", what, _SAMPLE_ADVICE)
        if entry["cut"]:
            what = f"Captions {name}: max_new_tokens cut {number(entry['cut'], 'answer')}"
            many = entry["cut"] > CUT_SHARE * (entry["asked"] or ok)
            advice = f"ask for shorter answers in the prompt, or raise caption.{name}.max_new_tokens and caption again"
            yield Finding("warning" if many else "note", "cut_captions", what, advice)


_SAMPLE_ADVICE = (
    "look at a sample (prep caption DATASET --sample 20 --html), and try another prompt or model"
)


def _unseen(facts: Facts) -> Iterator[Finding]:
    never = facts["popularity"]["items_never_seen"]
    if never:
        what = f"{number(never, 'item')} without interactions"
        advice = "the catalogue of the splits leaves them out; no action is needed"
        yield Finding("note", "never_seen", what, advice)


_Checks = tuple[Callable[[Facts], Iterator[Finding]], ...]
# Before and after the findings of the audit.
_BEFORE: _Checks = (_tables, _notes, _published, _other_steps, _counts)
_AFTER: _Checks = (_captions, _unseen)
