"""How much a report lists of what there may be millions of."""

LISTED = 1_000  # of each kind, in report.json; the page shows the first SHOWN of them
SHOWN = 20
