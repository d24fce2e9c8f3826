"""Costs of runs: measured by `efficiency` if available, otherwise from each run's log."""

import shlex

from models.reporting.sections.parts import Facts, View, run_name
from toolkit.page import plots
from toolkit.page.markup import Cell, Table
from toolkit.page.plots import Plot, Point


def costs(facts: Facts) -> View:
    """Seconds and parameters; measured costs also have memory and TPME."""
    return _measured(facts) if facts["costs"] else _logged(facts)


def _logged(facts: Facts) -> View:
    rows: list[list[Cell]] = [
        [
            run_name(position, run),
            run["curves"]["epoch_seconds"],
            run["trainable_parameters"],
            run["settings"]["train.batch_size"],
            run["environment"]["device"],
        ]
        for position, run in enumerate(facts["runs"])
    ]
    heads = ["run", "seconds per epoch", "trainable parameters", "batch", "device"]
    paths = shlex.join(run["path"] for run in facts["runs"])
    command = f"python -m models efficiency {paths} --output costs.json"
    return {"table": Table(heads, rows, row_heads=True), "plots": [], "command": command}


def _measured(facts: Facts) -> View:
    methods = facts["costs"]
    rows: list[list[Cell]] = [
        [
            method["method"],
            method["seconds_per_epoch"],
            method["trainable_parameters"],
            _mebibytes(method["peak_memory_bytes"]),
            method["tpme"],
            method["device"],
        ]
        for method in methods
    ]
    heads = ["method", "seconds per epoch", "trainable parameters", "peak MiB", "TPME", "device"]
    return {
        "table": Table(heads, rows, row_heads=True),
        "plots": _plots(facts),
        "command": None,
        "memory": "; ".join(dict.fromkeys(method["memory"] for method in methods)),
    }


def _mebibytes(size: int | None) -> int | None:
    return None if size is None else round(size / 2**20)


def _plots(facts: Facts) -> list[Plot]:
    """NDCG@10 by cost. TPME is plotted only if it is known and there are several methods."""
    known = [method for method in facts["costs"] if method["place"] is not None]
    quantities = {"seconds per epoch": "seconds_per_epoch"}
    if len(facts["costs"]) > 1 and all(method["tpme"] is not None for method in known):
        quantities["TPME"] = "tpme"
    drawn = []
    for name, key in quantities.items():
        points = [
            Point(
                method["place"],
                _name(facts["runs"][method["place"]], method, known),
                method[key],
                facts["runs"][method["place"]]["metrics"]["NDCG@10"],
            )
            for method in known
        ]
        drawing = plots.scatter(points, x_name=name, y_name="NDCG@10")
        drawn.append(Plot(f"NDCG@10 by {name}", drawing))
    return drawn


def _name(run: Facts, method: Facts, known: list[Facts]) -> str:
    """A run's name, with the method's suffix if the run has several methods."""
    is_only = sum(other["place"] == method["place"] for other in known) == 1
    return run["name"] + ("" if is_only else method["method"].removeprefix(method["run"]))
