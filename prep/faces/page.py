"""The integrity report of a dataset of faces as a page (`prep.reporting.page`)."""

from prep.reporting.finding import Facts
from prep.reporting.findings import headline
from prep.reporting.page import PAGES, failure_listings, first_rows, input_table, step_table
from toolkit.page import rendering
from toolkit.page.markup import Code, Percent, Table


def render(facts: Facts) -> str:
    """The page for the facts of `prep.faces.report.collect`."""
    same = [[Code(" ".join(pair["pictures"]))] for pair in facts["same_pictures"]]
    return rendering.render(
        PAGES,
        "faces.html",
        title=f"{facts['name']}: integrity report",
        facts=facts,
        headline=headline(facts["verdict"]).capitalize(),
        units=_units(facts),
        folds=Table(
            ["fold", "subjects", "faces"],
            [[row["fold"], row["subjects"], row["faces"]] for row in facts["folds"]],
        ),
        statuses=Table(["status", "faces"], [list(pair) for pair in facts["statuses"].items()]),
        failures=list(failure_listings(facts)),
        same_pictures=[first_rows("Equal pictures in several folds", len(same), ["files"], same)],
        inputs=input_table(facts),
        steps=step_table(facts),
    )


def summary(facts: Facts) -> str:
    """The size of a dataset, for the line that the command prints."""
    counts = facts["counts"]
    return f"{counts['subjects']:,} subjects, {len(facts['units'])} AUs, {counts['folds']} folds"


def _units(facts: Facts) -> Table:
    folds = list(facts["units"][0]["rate_by_fold"])
    headers = [
        "AU",
        "name",
        "active",
        "missing",
        "rate",
        *(f"fold {f}" for f in folds),
        "by subject",
    ]
    rows = [
        [
            unit["au"],
            unit["name"],
            unit["active"],
            unit["missing"],
            Percent.of(unit["rate"]),
            *(Percent.of(unit["rate_by_fold"][fold]) for fold in folds),
            Percent.of(unit["by_subject"]),
        ]
        for unit in facts["units"]
    ]
    return Table(headers, rows)
