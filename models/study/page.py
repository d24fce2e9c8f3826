"""The page of a study: a self-contained HTML file, a pure function of its results."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import yaml
from markupsafe import Markup

from models.reporting.sections.metrics import chance
from models.reporting.sections.parts import interval
from models.results.comparison import LEVEL
from models.study.encoders import weights_of
from models.study.findings import find
from models.study.tables import (
    amendment_sentences,
    cost_rows,
    note,
    percent,
    selection_note,
    sensitivity_sentences,
)
from toolkit.measures import number
from toolkit.page import plots, rendering
from toolkit.page.markup import Cell, Code, Interval, Table, on_a_line
from toolkit.page.plots import Plot, Point, Series, SeriesName, Values
from toolkit.page.style import REPORT

Results = Mapping[str, Any]
_MOST_CURVES = 8  # colours of the page


def render(results: Results) -> str:
    """Renders the page of a study from its results."""
    methods = list(results["plan"]["order"])
    budget = results["budget"]
    heading = f"{number(len(methods), 'method')} on {', '.join(results['datasets'])}"
    return rendering.render(
        rendering.environment("models.study", number=number),
        "study.html",
        title=f"{heading}: study",
        css=REPORT,
        heading=heading,
        anchors={
            **{f"data-{row}": name for row, name in enumerate(results["datasets"], start=1)},
            "checklist": "Checklist",
            "plan": "Plan",
        },
        hash=results["hash"],
        metric=results["metric"],
        protocols=results["protocols"],
        large={
            "methods": len(methods),
            "trials per method": budget["trials"],
            "seeds": len(budget["seeds"]),
            "epochs at most": budget["epochs"],
        },
        amendments=amendment_sentences(results),
        findings=find(results),
        names=[SeriesName(position, name) for position, name in enumerate(methods)],
        note=note(results),
        datasets=[
            {"name": name, **_dataset(results, block)}
            for name, block in results["datasets"].items()
        ],
        checklist=Table(
            ["question", "answer"],
            [[entry["item"], entry["answer"]] for entry in results["checklist"]],
            row_heads=True,
        ),
        plan=yaml.safe_dump(dict(results["plan"]), sort_keys=False, allow_unicode=True),
    )


def _dataset(results: Results, block: Results) -> dict[str, Any]:
    metric, methods = results["metric"], block["methods"]
    head, rows = cost_rows(block)
    cells: list[list[Cell]] = [
        [SeriesName(position, row[0]), *row[1:]] for position, row in enumerate(rows)
    ]
    return {
        "protocols": Table(
            ["protocol", "what distinguishes it", "settings selected under", "users", "items"],
            [
                [
                    protocol,
                    *(facts[key] for key in ("about", "selected_under", "users", "catalogue")),
                ]
                for protocol, facts in block["protocols"].items()
            ],
            row_heads=True,
        ),
        "plots": [
            Plot(
                f"{metric} under {protocol}; the dashed line is chance",
                _plot(results, block, protocol),
            )
            for protocol in block["protocols"]
        ],
        "sizes": _by_size(results["metric"], block),
        "table": _table(results, block),
        "tests": _tests(block) if len(methods) > 1 else None,
        "others": {protocol: _others(block, protocol) for protocol in block["protocols"]},
        "selection": selection_note(block),
        "sentences": sensitivity_sentences(block),
        "order": _order(block),
        "search": _search(metric, methods),
        "cost": Table(head, cells, row_heads=True),
        "trials": {name: _trials(method) for name, method in methods.items()},
        "slices": _slices(metric, methods, list(block["protocols"])),
    }


def _values(block: Results, protocol: str, metric: str) -> dict[str, Any]:
    """By method, with its position: the metric, or None."""
    return {
        name: method["metrics"].get(protocol, {}).get(metric)
        for name, method in block["methods"].items()
    }


def _plot(results: Results, block: Results, protocol: str) -> Markup:
    values = _values(block, protocol, results["metric"])
    rows = [
        Values(position, name, [value]) for position, (name, value) in enumerate(values.items())
    ]
    catalogue = block["protocols"][protocol]["catalogue"]
    return plots.intervals(
        rows, metric=results["metric"], chance=chance(results["metric"], catalogue)
    )


def _by_size(metric: str, block: Results) -> list[Plot]:
    """The metric by the size of the encoders under each protocol, if methods with encoders of several sizes are compared."""
    sizes = {name: weights_of(method["encoders"]) for name, method in block["methods"].items()}
    if len({size for size in sizes.values() if size}) < 2:
        return []
    found = []
    for protocol in block["protocols"]:
        values = _values(block, protocol, metric)
        points = [
            Point(position, name, size, values[name])
            for position, (name, size) in enumerate(sizes.items())
            if size and values[name]
        ]
        if points:
            drawing = plots.scatter(points, x_name="weights of the encoders", y_name=metric, log_x=True)  # fmt: skip
            found.append(Plot(f"{metric} under {protocol}, by the size of the encoders", drawing))
    return found


def _table(results: Results, block: Results) -> Table:
    protocols = list(block["protocols"])
    rows: list[list[Cell]] = []
    for position, (name, method) in enumerate(block["methods"].items()):
        cells: list[Cell] = [SeriesName(position, name)]
        for protocol in protocols:
            value = method["metrics"].get(protocol, {}).get(results["metric"])
            cells += [None, None] if value is None else [interval(value), _spread(value)]
        rows.append(cells)
    heads = [head for protocol in protocols for head in (protocol, "± seeds")]
    return Table(["method", *heads], rows, row_heads=True)


def _spread(value: Mapping[str, Any]) -> str | None:
    return None if value["std"] is None else percent(value["std"])


def _tests(block: Results) -> Table:
    names = list(block["methods"])
    rows: list[list[Cell]] = []
    for position, name in enumerate(names):
        tests = {p: facts["tests"].get(name) for p, facts in block["protocols"].items()}
        if any(tests.values()):
            cells = [cell for test in tests.values() for cell in (_difference(test), _p(test))]
            rows.append([SeriesName(position, name), *cells])
    heads = [head for protocol in block["protocols"] for head in (f"{protocol}, points", "p")]
    return Table(["method", *heads], rows, row_heads=True)


def _difference(test: Mapping[str, float] | None) -> Markup | None:
    if test is None:
        return None
    change, low, high = (f"{100 * test[key]:+.2f}" for key in ("difference", "low", "high"))
    return Markup(f'{change} <span class="soft">[{low}, {high}]</span>'.replace("-", "−"))


def _p(test: Mapping[str, float] | None) -> Markup | None:
    if test is None:
        return None
    value = test["corrected_p_value"]
    sure = ' <span class="sure">●</span>' if value < LEVEL else ""
    return Markup(f"{'&lt; 0.001' if value < 0.001 else f'{value:.3f}'}{sure}")


def _others(block: Results, protocol: str) -> Table:
    """All metrics under a protocol."""
    tested = {
        n: m["metrics"][protocol] for n, m in block["methods"].items() if protocol in m["metrics"]
    }
    metrics = list(next(iter(tested.values())))
    rows: list[list[Cell]] = [
        [
            name,
            *(
                Interval(*(values[metric][key] for key in ("value", "low", "high")))
                for metric in metrics
            ),
        ]
        for name, values in tested.items()
    ]
    return Table(["method", *metrics], rows, row_heads=True)


def _order(block: Results) -> Table:
    found = block["sensitivity"]
    order = {} if found is None else found["order"]
    names = list(block["methods"])
    rows: list[list[Cell]] = [
        [place, *(name and SeriesName(names.index(name), name) for name in methods)]
        for place, methods in enumerate(zip_longest(*order.values()), start=1)
    ]
    return Table(["rank", *order], rows, row_heads=True)


def _search(metric: str, methods: Results) -> Markup | None:
    """The best validation metric so far by trial, for each method with several trials on the first split."""
    series = []
    for position, (name, method) in enumerate(methods.items()):
        split = method["trials"][0]["split"] if method["trials"] else ""
        values = [
            (trial["number"], trial["value"])
            for trial in method["trials"]
            if trial["split"] == split and trial["value"] is not None
        ]
        best = [[n, max(v for m, v in values if m <= n)] for n, _ in values]
        if len(best) > 1 and position < _MOST_CURVES:
            series.append(Series(position, name, best))
    if not series:
        return None
    return plots.curves(
        series, title=f"Best valid {metric}", x_unit="trial", y_unit=f"{metric} in %", percent=True
    )


def _trials(method: Results) -> Table:
    rows: list[list[Cell]] = [
        [
            trial["number"],
            trial["split"],
            Code(on_a_line(trial["settings"]) or "–"),
            trial["message"] if trial["value"] is None else percent(trial["value"]),
            trial["epochs"],
            f"{trial['seconds']:.1f}",
            (trial["value"] is not None and trial["message"]) or trial["ended_by"] or None,
        ]
        for trial in method["trials"]
    ]
    heads = ["trial", "split", "settings", "valid, %", "epochs", "seconds", "ended by"]
    return Table(heads, rows)


def _slices(metric: str, methods: Results, protocols: list[str]) -> dict[str, Table]:
    """Per protocol: a row per method, a column per slice."""
    found = {}
    for protocol in protocols:
        by_method = {
            name: dict(_slice_values(method["slices"].get(protocol, {}), metric))
            for name, method in methods.items()
        }
        names = list(dict.fromkeys(name for values in by_method.values() for name in values))
        if names:
            rows: list[list[Cell]] = [
                [SeriesName(position, method), *map(values.get, names)]
                for position, (method, values) in enumerate(by_method.items())
            ]
            found[protocol] = Table(["method", *names], rows, row_heads=True)
    return found


def _slice_values(slices: Results, metric: str, lead: str = "") -> "list[tuple[str, Cell]]":
    """The metric of every slice, at any depth, by the slice's name."""
    found: list[tuple[str, Cell]] = []
    for name, value in slices.items():
        if name == metric and isinstance(value, dict) and "value" in value:
            found.append((lead, interval(value) if "low" in value else percent(value["value"])))
        elif isinstance(value, dict):
            inner = lead if name in ("metrics", "slices") else f"{lead} {name}".strip()
            found += _slice_values(value, metric, inner)
    return found
