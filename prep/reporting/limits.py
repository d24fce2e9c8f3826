"""Maximum number of entries that a report lists per kind."""

LISTED = 1_000  # entries per kind in report.json; the page shows the first SHOWN
SHOWN = 20
