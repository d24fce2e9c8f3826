"""What runs cost: measured side by side where there is a file of it, else what they tell themselves."""

import shlex

from models.reporting import plots
from models.reporting.plots import Point
from models.reporting.sections.parts import Facts, note, plot, run_name, side_by_side
from toolkit.page.markup import Cell, Html, table, text


def costs(facts: Facts) -> Html:
    """Seconds, parameters, and where they were measured memory and TPME."""
    return _measured(facts) if facts["costs"] else _told(facts)


def _told(facts: Facts) -> Html:
    rows: list[list[Cell]] = [
        [
            run_name(place, run),
            run["curves"]["epoch_seconds"],
            run["trainable_parameters"],
            run["settings"]["train.batch_size"],
            run["environment"]["device"],
        ]
        for place, run in enumerate(facts["runs"])
    ]
    heads = ["run", "seconds an epoch", "trainable parameters", "batch", "device"]
    paths = shlex.join(run["path"] for run in facts["runs"])
    command = f"python -m models efficiency {paths} --output costs.json"
    about = (
        "Seconds are the median over the epochs of each run, as its log has them: on whatever machine, with whatever "
        "else it did. To have time, peak memory and TPME measured side by side, run the line below, and this report "
        "again with <code>--costs costs.json</code>."
    )
    command = f'<pre class="command"><code>{text(command)}</code></pre>'
    return Html(f"{table(heads, rows, row_heads=True)}\n{note(about)}\n{command}")


def _measured(facts: Facts) -> Html:
    methods = facts["costs"]
    rows: list[list[Cell]] = [
        [
            text(method["method"]),
            method["seconds_per_epoch"],
            method["trainable_parameters"],
            _mebibytes(method["peak_memory_bytes"]),
            method["tpme"],
            method["device"],
        ]
        for method in methods
    ]
    heads = ["method", "seconds an epoch", "trainable parameters", "peak MiB", "TPME", "device"]
    kinds = "; ".join(dict.fromkeys(method["memory"] for method in methods))
    about = (
        "TPME = 0.45·time + 0.1·parameters + 0.45·memory, each from 0 (the least of these methods) to 1 (the most): "
        f"lower is better (arXiv 2404.02059). Peak memory: {text(kinds)}."
    )
    return Html(f"{_drawn(facts)}\n{table(heads, rows, row_heads=True)}\n{note(about)}")


def _mebibytes(size: int | None) -> int | None:
    return None if size is None else round(size / 2**20)


def _drawn(facts: Facts) -> Html:
    """What runs reach by what they cost; no TPME where it is not known, or of one method alone."""
    known = [method for method in facts["costs"] if method["place"] is not None]
    quantities = {"seconds an epoch": "seconds_per_epoch"}
    if len(facts["costs"]) > 1 and all(method["tpme"] is not None for method in known):
        quantities["TPME"] = "tpme"
    drawn = []
    for words, key in quantities.items():
        points = [
            Point(
                method["place"],
                _name(facts["runs"][method["place"]], method, known),
                method[key],
                facts["runs"][method["place"]]["metrics"]["NDCG@10"],
            )
            for method in known
        ]
        drawing = plots.scatter(points, x_name=words, y_name="NDCG@10")
        drawn.append(plot(f"NDCG@10 by {words}", drawing))
    return side_by_side(drawn)


def _name(run: Facts, method: Facts, known: list[Facts]) -> str:
    """A run's name, and what sets the method apart from others of that run."""
    is_only = sum(other["place"] == method["place"] for other in known) == 1
    return run["name"] + ("" if is_only else method["method"].removeprefix(method["run"]))
