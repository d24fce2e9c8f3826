"""Learning curves and learned gates."""

from collections.abc import Iterator

from models.reporting.sections.parts import MAIN, Facts, View, run_name
from toolkit.page import plots
from toolkit.page.plots import Plot, Series


def curves(facts: Facts) -> View:
    """Loss by step, and validation metrics by epoch."""
    drawn = [*_loss(facts), *(plot for name in MAIN for plot in _valid(facts, name))]
    lines = max(run["curves"]["loss_lines"] for run in facts["runs"]) if drawn else 0
    return {"plots": drawn, "lines": lines}


def _loss(facts: Facts) -> Iterator[Plot]:
    series = [
        Series(position, run["name"], run["curves"]["loss"])
        for position, run in enumerate(facts["runs"])
        if run["curves"]["loss"]
    ]
    if series:
        drawing = plots.curves(series, title="Training loss", x_unit="step", y_unit="loss")
        yield Plot("Loss by step", drawing)


def _valid(facts: Facts, name: str) -> Iterator[Plot]:
    series = [
        Series(position, run["name"], run["curves"]["valid"][name], run["curves"]["best_epoch"])
        for position, run in enumerate(facts["runs"])
        if run["curves"]["valid"][name]
    ]
    if series:
        title = f"Validation {name}"
        drawing = plots.curves(series, title=title, x_unit="epoch", y_unit="%", percent=True)
        yield Plot(f"{title} by epoch; ring: best epoch", drawing)


def gates(facts: Facts) -> list[View]:
    """The gates of each run by level, or the reason why it has none."""
    return [
        {
            "name": run_name(position, run),
            "why_not": run["gates"]["why_not"],
            "plots": [] if run["gates"]["why_not"] else list(_gates(run["gates"])),
        }
        for position, run in enumerate(facts["runs"])
    ]


def _gates(gates: Facts) -> Iterator[Plot]:
    for name, tower in gates["towers"].items():
        shares = [[gate] for gate in tower["gates"]]
        yield Plot(name, plots.gates(tower["layers"], shares, title=f"Gates of {name}"))
    if inter := gates["inter"]:
        drawing = plots.gates(inter["layers"], inter["weights"], title="Weights between towers")
        yield Plot("between towers", drawing, inter["towers"])
