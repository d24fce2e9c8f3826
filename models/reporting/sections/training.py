"""How runs went, and what their gates have come to."""

from collections.abc import Iterator

from models.reporting import plots
from models.reporting.plots import COLOURS, Series
from models.reporting.sections.parts import MAIN, Facts, note, plot, run_name, side_by_side
from toolkit.page.markup import Html, text


def curves(facts: Facts) -> Html:
    """Loss by step, and validation by epoch."""
    drawn = [*_loss(facts), *(part for name in MAIN for part in _valid(facts, name))]
    if not drawn:
        return note("The runs have no log.jsonl, or nothing in it.")
    lines = max(run["curves"]["loss_lines"] for run in facts["runs"])
    thinned = f"Losses are means of up to {lines} lines of the log. " if lines > 1 else ""
    compared = "Only runs with the same loss and batch size have losses that compare."
    return Html(f"{side_by_side(drawn)}\n{note(thinned + compared)}")


def _loss(facts: Facts) -> Iterator[str]:
    series = [
        Series(place, run["name"], run["curves"]["loss"])
        for place, run in enumerate(facts["runs"])
        if run["curves"]["loss"]
    ]
    if series:
        drawing = plots.curves(series, title="Training loss", x_unit="step", y_unit="loss")
        yield plot("Loss by step", drawing)


def _valid(facts: Facts, name: str) -> Iterator[str]:
    series = [
        Series(place, run["name"], run["curves"]["valid"][name], run["curves"]["best_epoch"])
        for place, run in enumerate(facts["runs"])
        if run["curves"]["valid"][name]
    ]
    if series:
        title = f"Validation {name}"
        drawing = plots.curves(series, title=title, x_unit="epoch", y_unit="%", percent=True)
        yield plot(f"{title} by epoch; ring: the epoch kept", drawing)


def gates(facts: Facts) -> Html:
    """Every run's gates, level by level."""
    about = (
        "A gate of a tower near 1 takes the layer itself, one near 0 what the side network made of the layers below. Between "
        "towers, the weights of a level add up to 1. Layers are counted from 0; “emb.” is the embedding output."
    )
    parts = [_gates(place, run) for place, run in enumerate(facts["runs"])]
    if all(run["gates"]["why_not"] for run in facts["runs"]):
        return Html("\n".join(parts))
    return Html("\n".join([note(about), *parts]))


def _gates(place: int, run: Facts) -> str:
    found = run["gates"]
    if found["why_not"]:
        return f"<p>{run_name(place, run)}: {text(found['why_not'])}.</p>"
    drawn = [
        plot(
            name,
            plots.gates(t["layers"], [[gate] for gate in t["gates"]], title=f"Gates of {name}"),
        )
        for name, t in found["towers"].items()
    ]
    if found["inter"]:
        drawn.append(_inter(found["inter"]))
    return f"<h3>{run_name(place, run)}</h3>\n{side_by_side(drawn, 'small')}"


def _inter(inter: Facts) -> str:
    drawing = plots.gates(inter["layers"], inter["weights"], title="Weights between towers")
    keys = "".join(
        f'<li class="key t{tower % COLOURS}">{text(name)}</li>'
        for tower, name in enumerate(inter["towers"])
    )
    return plot("between towers", drawing, f'<ul class="keys">{keys}</ul>')
