"""What runs were made with, and where."""

import json
from collections.abc import Iterator
from typing import Any

from models.reporting.sections.parts import Facts
from toolkit.page.markup import Cell, Code, Html, date, details, table, text


def settings(facts: Facts) -> Html:
    """Settings that differ between runs, towers, settings that do not differ, and environments."""
    return Html("\n".join(_parts(facts["runs"])))


def _parts(runs: list[Facts]) -> Iterator[Html]:
    keys = dict.fromkeys(key for run in runs for key in run["settings"])
    values = {key: [_shown(run["settings"].get(key)) for run in runs] for key in keys}
    differ: list[list[Cell]] = [[Code(k), *v] for k, v in values.items() if len(set(v)) > 1]
    same: list[list[Cell]] = [[Code(k), v[0]] for k, v in values.items() if len(set(v)) == 1]
    if differ:
        yield Html("<h3>Settings that differ</h3>")
        yield table(["setting", *(run["name"] for run in runs)], differ, row_heads=True)
    yield Html("<h3>Towers</h3>")
    yield table(
        ["run", "tower, and what reads it"],
        [[run["name"], _towers(run)] for run in runs],
        row_heads=True,
    )
    what = "Settings that all runs share" if len(runs) > 1 else "Settings"
    yield details(what, table(["setting", "value"], same, row_heads=True), count=len(same))
    yield details("Environments", _environments(runs))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _towers(run: Facts) -> Html | None:
    lines = [f"{text(name)}: {text(about)}" for name, about in run["towers"].items()]
    return Html("<br>".join(lines)) if lines else None


def _environments(runs: list[Facts]) -> Html:
    rows: list[list[Cell]] = []
    for run in runs:
        about = run["environment"]
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        words = [about["device"], about["processes"], about["mixed_precision"]]
        rows.append(
            [run["name"], date(about["started"]), *words, Code(about["git_commit"]), versions]
        )
    heads = ["run", "started", "device", "processes", "precision", "commit", "versions"]
    return table(heads, rows, row_heads=True)
