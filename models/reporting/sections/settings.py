"""Settings and environments of the runs."""

import json
from typing import Any

from markupsafe import Markup

from models.reporting.sections.parts import Facts, View, run_name
from toolkit.page.markup import Cell, Code, Table, date

RUNS_PER_TABLE = 6  # as many columns as fit on paper


def settings(facts: Facts) -> View:
    """Settings that differ between runs, towers, settings that are equal, and environments."""
    runs = facts["runs"]
    keys = dict.fromkeys(key for run in runs for key in run["settings"])
    values = {key: [_shown(run["settings"].get(key)) for run in runs] for key in keys}
    differ: list[list[Cell]] = [[Code(k), *v] for k, v in values.items() if len(set(v)) > 1]
    same: list[list[Cell]] = [[Code(k), v[0]] for k, v in values.items() if len(set(v)) == 1]
    names = [run_name(position, run) for position, run in enumerate(runs)]
    towers: list[list[Cell]] = [[name, _towers(run)] for name, run in zip(names, runs, strict=True)]
    return {
        "differ": [
            Table(
                ["setting", *(run["name"] for run in runs[first : first + RUNS_PER_TABLE])],
                [[row[0], *row[1 + first : 1 + first + RUNS_PER_TABLE]] for row in differ],
                row_heads=True,
            )
            for first in range(0, len(runs), RUNS_PER_TABLE)
        ],
        "towers": Table(["run", "towers and encoders"], towers, row_heads=True),
        "same": Table(["setting", "value"], same, row_heads=True),
        "environments": _environments(runs),
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _towers(run: Facts) -> Markup | None:
    lines = [f"{name}: {encoder}" for name, encoder in run["towers"].items()]
    return Markup("<br>").join(lines) if lines else None


def _environments(runs: list[Facts]) -> Table:
    rows: list[list[Cell]] = []
    for position, run in enumerate(runs):
        environment = run["environment"]
        machine = [environment[key] for key in ("device", "processes", "mixed_precision")]
        versions = ", ".join(f"{name} {v}" for name, v in environment["versions"].items())
        started, commit = date(environment["started"]), Code(environment["git_commit"])
        rows.append([run_name(position, run), started, *machine, commit, versions])
    heads = ["run", "started", "device", "processes", "precision", "commit", "versions"]
    return Table(heads, rows, row_heads=True)
