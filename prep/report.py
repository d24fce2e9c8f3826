"""Writes the report of a dataset: `report.json` for programs, `report.html` for people."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from prep.faces.page import render as render_faces
from prep.faces.page import summary as summarise_faces
from prep.faces.report import collect as collect_faces
from prep.reporting.audit.describe import collect as collect_audit
from prep.reporting.captions import describe_captions
from prep.reporting.failures import describe_failures, describe_tables
from prep.reporting.finding import Facts
from prep.reporting.findings import find, headline
from prep.reporting.items import describe_items
from prep.reporting.media import describe_covers, describe_frames
from prep.reporting.page import render
from prep.reporting.published import compare, recognise
from prep.reporting.tables import database
from prep.steps import manifest
from prep.steps.writing import clear_temporary, writing
from toolkit import Dataset, open_dataset
from toolkit.atomic import write_atomically
from toolkit.console.colours import Style, painted
from toolkit.dataset import INTERACTIONS
from toolkit.faces import KIND as FACES
from toolkit.json_files import write_json

REPORT_VERSION = 1
COLOURS: dict[str, Style] = {"error": "red", "warning": "yellow"}


def report(dataset: str | Path) -> dict[str, Any]:
    """Writes `report.json` and `report.html` into a dataset, and prints the findings.

    The report is a pure function of the dataset's tables and `dataset.json`: equal datasets have identical
    reports, byte for byte. It does not need the dump; of the media, it decodes the stored covers.

    Args:
        dataset: dataset folder.

    Returns:
        The content of `report.json`.

    Raises:
        UserError: if the folder is not a dataset, one of its tables cannot be read, or another process is
            writing the report.
    """
    data = open_dataset(dataset)
    with writing(data.path, "report"):
        clear_temporary(data.path, r"report\.(?:json|html)")
        facts = _write(data)
    line = _KINDS[data.kind].summary(facts)
    print(f"report: {headline(facts['verdict'])}; {line}; {data.path / 'report.html'}")
    for finding in facts["verdict"]:
        severity = painted(finding["severity"], COLOURS.get(finding["severity"]), sys.stdout)
        print(f"  {severity}: {finding['what']}; {finding['advice']}")
    return facts


def _write(data: Dataset) -> dict[str, Any]:
    kind = _KINDS[data.kind]
    facts = {"report_version": REPORT_VERSION, **kind.collect(data)}
    write_json(data.path / "report.json", facts)
    page = kind.render(facts).encode()
    write_atomically(data.path / "report.html", lambda file: file.write(page))
    return facts


class _Kind(NamedTuple):
    """How the datasets of a kind are reported.

    Args:
        collect: every fact, with the findings as `verdict`.
        render: the page for these facts.
        summary: a few words for the line that the command prints.
    """

    collect: Callable[[Dataset], Facts]
    render: Callable[[Facts], str]
    summary: Callable[[Facts], str]


def collect(data: Dataset) -> dict[str, Any]:
    """Collects every fact of a report except the verdict, in the order in which the page shows them."""
    steps = data.manifest.get("steps", {})
    ingest = steps.get("ingest", {})
    layout, inputs = ingest.get("config", {}).get("layout"), ingest.get("inputs", {})
    counts = {
        name: manifest.part(data.manifest, "counts", name, dataset=data.path)
        for name in ("users", "items", "interactions")
    }
    release = recognise(layout, inputs)
    failures = describe_failures(data)
    with database(data.path) as connection:
        connection.register("items", data.items)
        items = describe_items(data.items, connection)
        captions = describe_captions(data, connection)
        covers, frames = describe_covers(data, connection), describe_frames(data, connection)
        interactions, duplicates, audit = collect_audit(data, connection)
    return {
        "name": data.name,
        "layout": layout,
        "counts": counts,
        "published": compare(release, counts) if release else None,
        "tables": describe_tables(data, failures),
        "failures": failures,
        "duplicates": duplicates,
        **items,
        "covers": covers,
        "frames": frames,
        "captions": captions,
        **interactions,
        "audit": audit,
        "inputs": inputs,
        "steps": {
            name: {key: value for key, value in step.items() if key != "inputs"}
            for name, step in steps.items()
        },
    }


def _with_verdict(data: Dataset) -> Facts:
    facts = collect(data)
    return {"verdict": find(facts), **facts}


_KINDS = {  # by `Dataset.kind`
    INTERACTIONS: _Kind(
        _with_verdict, render, lambda facts: str(facts["audit"]["verdict"]["line"])
    ),
    FACES: _Kind(collect_faces, render_faces, summarise_faces),
}
