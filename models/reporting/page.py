"""The report as one page of HTML that needs nothing else; a pure function of facts and covers.

Whatever comes from runs or datasets is escaped in `toolkit.page.markup` and `toolkit.page.drawing`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.reporting.findings import find
from models.reporting.sections.costs import costs
from models.reporting.sections.items import bias, warmth
from models.reporting.sections.metrics import metrics
from models.reporting.sections.parts import run_name
from models.reporting.sections.settings import settings
from models.reporting.sections.training import curves, gates
from models.reporting.sections.users import cover_styles, users
from toolkit.measures import number
from toolkit.page.markup import Html, document, numbers, section, text

Facts = dict[str, Any]
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")


def render(facts: Facts, covers: Sequence[dict[str, bytes]]) -> str:
    """The page.

    Args:
        facts: what `models.report.report` returns.
        covers: of each group's gallery, JPEG by item number.
    """
    sections = {
        "metrics": ("Metrics", _by_group(facts, metrics)),
        "curves": ("Learning curves", curves(facts)),
        "gates": ("Gates", gates(facts)),
        "cost": ("Cost", costs(facts)),
        "cold": ("Warm and cold items", _by_group(facts, warmth)),
        "popularity": ("Coverage and popularity", _by_group(facts, bias)),
        "users": ("Users", _by_group(facts, lambda f, group: users(f, group, covers))),
        "settings": ("Settings and environment", settings(facts)),
    }
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, (name, _) in sections.items())
    main = "\n".join(section(name, body, anchor=key) for key, (name, body) in sections.items())
    parts = [
        Html('<a class="skip" href="#main">Skip to the report</a>'),
        _header(facts),
        Html(f'<nav aria-label="Sections"><ul class="links">{links}</ul></nav>'),
        _legend(facts),
        Html(f'<main id="main">\n{main}\n</main>'),
    ]
    css = STYLE + "".join(cover_styles(place, group) for place, group in enumerate(covers))
    return document(f"{_title(facts)}: report", parts, css=css, script=SCRIPT)


def _title(facts: Facts) -> str:
    runs = facts["runs"]
    datasets = dict.fromkeys(run["dataset"] for run in runs)
    which = runs[0]["name"] if len(runs) == 1 else number(len(runs), "run")
    return f"{which} on {', '.join(datasets)}"


def _header(facts: Facts) -> Html:
    runs = facts["runs"]
    best = max(runs, key=lambda run: float(run["metrics"]["NDCG@10"]["value"]))
    protocols = ", ".join(dict.fromkeys(run["protocol"] for run in runs))
    large = {
        f"{name}, {best['name']}": f"{100 * best['metrics'][name]['value']:.1f} %"
        for name in ("NDCG@10", "HR@10")
    }
    large |= {"users": f"{best['users']:,}", "items in the catalogue": f"{best['catalogue']:,}"}
    findings = "\n".join(f"<li>{text(sentence)}</li>" for sentence in find(facts))
    over = f"Report of runs · split {facts['split']} · protocol {protocols}"
    return Html(
        f'<header>\n<p class="over">{text(over)}</p>\n<h1>{text(_title(facts))}</h1>\n{numbers(large)}\n'
        f'<ul class="findings">\n{findings}\n</ul>\n</header>'
    )


def _legend(facts: Facts) -> Html:
    """The runs with their colours; the script lets each be set apart in the plots."""
    if len(facts["runs"]) == 1:
        return Html("")
    chips = "".join(
        f'<li data-chip="{place}">{run_name(place, run)}</li>'
        for place, run in enumerate(facts["runs"])
    )
    return Html(f'<div class="legend" role="group" aria-label="Runs"><ul>{chips}</ul></div>')


def _by_group(facts: Facts, render_group: Callable[[Facts, Facts], Html]) -> Html:
    """A part for each group of comparable runs; several stand apart, with the reason."""
    groups = facts["groups"]
    if len(groups) == 1:
        return render_group(facts, groups[0])
    parts = []
    for group in groups:
        names = ", ".join(run_name(place, facts["runs"][place]) for place in group["runs"])
        why = f"{group['reason']}." if group["reason"] else ""
        parts += [
            f'<h3 class="group">{names}</h3>',
            f'<p class="soft">{text(why)}</p>' if why else "",
        ]
        parts.append(render_group(facts, group))
    return Html("\n".join(part for part in parts if part))
