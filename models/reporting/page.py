"""The report as a self-contained HTML page: a pure function of facts and covers.

`sections` computes the contents of each section. `templates` lays them out and escapes all text from runs and datasets.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.reporting.findings import find
from models.reporting.sections.costs import costs
from models.reporting.sections.items import bias, warmth
from models.reporting.sections.metrics import metrics
from models.reporting.sections.parts import View, run_name
from models.reporting.sections.settings import settings
from models.reporting.sections.training import curves, gates
from models.reporting.sections.users import cover_styles, is_hit, opening, rank, users
from toolkit.measures import number
from toolkit.page import rendering
from toolkit.page.plots import SeriesName
from toolkit.page.style import REPORT

Facts = dict[str, Any]
STYLE = REPORT + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
SECTIONS = {
    "metrics": "Metrics",
    "curves": "Learning curves",
    "gates": "Gates",
    "cost": "Cost",
    "cold": "Warm and cold items",
    "popularity": "Coverage and popularity",
    "users": "Users",
    "settings": "Settings and environment",
}  # templates and headings
PAGES = rendering.environment(
    "models.reporting",
    number=number,
    is_hit=is_hit,
    opening=opening,
    rank=rank,
    run_name=lambda name, position: SeriesName(int(position), name),
)


def render(facts: Facts, covers: Sequence[dict[str, bytes]]) -> str:
    """Renders the page.

    Args:
        facts: facts from `models.report.report`.
        covers: per group, JPEG by item number.
    """
    heading = _title(facts)
    return rendering.render(
        PAGES,
        "report.html",
        title=f"{heading}: report",
        css=STYLE + "".join(cover_styles(group, jpegs) for group, jpegs in enumerate(covers)),
        script=SCRIPT,
        facts=facts,
        heading=heading,
        anchors=SECTIONS,
        protocols=", ".join(dict.fromkeys(run["protocol"] for run in facts["runs"])),
        large=_large(facts),
        findings=find(facts),
        names=[run_name(position, run) for position, run in enumerate(facts["runs"])],
        groups=[_group(facts, group, set(jpegs)) for group, jpegs in enumerate(covers)],
        curves=curves(facts),
        gates=gates(facts),
        costs=costs(facts),
        settings=settings(facts),
    )


def _title(facts: Facts) -> str:
    runs = facts["runs"]
    datasets = dict.fromkeys(run["dataset"] for run in runs)
    subject = runs[0]["name"] if len(runs) == 1 else number(len(runs), "run")
    return f"{subject} on {', '.join(datasets)}"


def _large(facts: Facts) -> dict[str, str | int]:
    """The numbers of the header: metrics, users and catalogue of the best run."""
    best = max(facts["runs"], key=lambda run: float(run["metrics"]["NDCG@10"]["value"]))
    metrics = {
        f"{name}, {best['name']}": f"{100 * best['metrics'][name]['value']:.1f} %"
        for name in ("NDCG@10", "HR@10")
    }
    return {**metrics, "users": best["users"], "items in the catalogue": best["catalogue"]}


def _group(facts: Facts, position: int, covers: set[str]) -> View:
    """The sections of a group of comparable runs."""
    group = facts["groups"][position]
    return {
        "names": [run_name(run, facts["runs"][run]) for run in group["runs"]],
        "reason": group["reason"],
        "metrics": metrics(facts, group),
        "warmth": warmth(facts, group),
        "bias": bias(facts, group),
        "users": users(facts, position, covers),
    }
