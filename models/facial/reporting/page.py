"""The report as a self-contained HTML page: a pure function of facts and pictures.

`templates/faces.html` lays out the sections and escapes all text from runs and datasets.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.facial.reporting.findings import always_active, find, percent
from toolkit.measures import number
from toolkit.page import plots, rendering
from toolkit.page.markup import Cell, Code, Interval, Percent, Table, date, jpeg_address
from toolkit.page.plots import Plot, Series, SeriesName, Values
from toolkit.page.style import REPORT

Facts = Mapping[str, Any]
STYLE = REPORT + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
PAGES = rendering.environment("models.facial.reporting", number=number, percent=percent)
# Colours: of the own test, and of probabilities without and with temperatures.
OWN, RAW, CALIBRATED = 1, 0, 1
DIAGONAL = [[0.0, 0.0], [1.0, 1.0]]
_OUTCOMES = {
    "recognised": lambda state: state["label"] is True and state["recognised"],
    "missed": lambda state: state["label"] is True and not state["recognised"],
    "false alarms": lambda state: state["label"] is False and state["recognised"],
    "recognised, without a label": lambda state: state["label"] is None and state["recognised"],
}


def render(facts: Facts, pictures: Mapping[str, bytes]) -> str:
    """Renders the page.

    Args:
        facts: facts from `models.facial.report.report`.
        pictures: JPEG by name.
    """
    test = facts["test"]
    heading = f"{facts['run']} on {test['dataset']['name']}"
    return rendering.render(
        PAGES,
        "faces.html",
        title=f"{heading}: report",
        css=STYLE,
        heading=heading,
        facts=facts,
        test=test,
        large=_large(test),
        findings=find(facts),
        anchors=_anchors(facts),
        f1=_f1_plot(facts),
        per_au=_per_au(facts),
        curves=_curve_plots(facts),
        calibration=_calibration_plots(facts),
        calibrations=[SeriesName(RAW, "as they are"), SeriesName(CALIBRATED, "with temperatures")],
        kinds={
            kind: [_face(face) for face in facts["examples"] if face["kind"] == kind]
            for kind in ("right", "wrong")
        },
        errors=[{**face, "state": face["states"][0]} for face in facts["errors"]],
        addresses={name: jpeg_address(jpeg) for name, jpeg in pictures.items()},
        texts=_texts(test),
        subjects=_subjects(facts),
        cross=_cross(facts),
        training=_training(facts["training"]),
        settings=Table(
            ["setting", "value"],
            [[Code(key), _shown(value)] for key, value in facts["settings"].items()],
            row_heads=True,
        ),
        environment=_environment(facts["environment"]),
    )


def _large(test: Facts) -> dict[str, Cell]:
    shares = {"F1": test["F1"]["value"], "AUC": test["AUC"], "ECE, calibrated": test["ECE_calibrated"]}  # fmt: skip
    return {
        **{name: Percent.of(value) for name, value in shares.items()},
        "test faces": test["faces"],
        "test subjects": test["subjects"],
    }


def _anchors(facts: Facts) -> dict[str, str]:
    """The sections that have something to show."""
    training = facts["training"]
    names = {
        "aus": ("Action units", True),
        "curves": ("Curves", True),
        "calibration": ("Calibration", True),
        "examples": ("Examples", bool(facts["examples"])),
        "errors": ("Confident errors", bool(facts["errors"])),
        "texts": ("Texts", bool(facts["test"]["texts"])),
        "identity": ("Identity", True),
        "cross": ("Other datasets", bool(facts["cross"])),
        "training": ("Training", bool(training["loss"] or training["valid_F1"])),
        "settings": ("Settings and limits", True),
    }
    return {anchor: name for anchor, (name, is_shown) in names.items() if is_shown}


def _f1_plot(facts: Facts) -> Plot:
    """F1 per AU of the own test and of those on other datasets, and of calling every face active."""
    per_au = facts["test"]["per_au"]
    tests = {"own test": facts["test"]} | {one["dataset"]["name"]: one for one in facts["cross"]}
    rows = [
        Values(OWN + index, name, [test["per_au"].get(au, {}).get("F1") for au in per_au])
        for index, (name, test) in enumerate(tests.items())
    ]
    constant = [_point(one["rate"]) for one in per_au.values()]
    numbers = [str(au) for au in facts["test"]["aus"]]
    drawing = plots.dots(
        numbers,
        [*rows, Values(None, "every face active", constant)],
        title="F1 by action unit",
        x_unit="action unit",
    )
    others = "; other colours: other datasets, as below" if facts["cross"] else ""
    return Plot(f"F1 with 95 % intervals; pale: every face called active{others}", drawing)


def _point(rate: float | None) -> dict[str, float] | None:
    return None if rate is None else dict.fromkeys(("value", "low", "high"), always_active(rate))


def _per_au(facts: Facts) -> Table:
    test = facts["test"]
    keys = ("rate", "accuracy", "AUC", "ECE", "ECE_calibrated")
    mean: list[Cell] = ["mean", None, _interval(test["F1"]), _interval(test["F1_fitted"]), None]
    mean += [Percent.of(test[key]) for key in keys[1:]]
    rows: list[list[Cell]] = [
        [
            name,
            facts["names"][name],
            _interval(one["F1"]),
            _interval(one["F1_fitted"]),
            *(Percent.of(one[key]) for key in keys),
            one["threshold"],
            one["temperature"],
        ]
        for name, one in test["per_au"].items()
    ]
    heads = ["AU", "name", "F1", "F1, fitted threshold", "active", "accuracy", "AUC", "ECE", "ECE, calibrated", "threshold", "temperature"]  # fmt: skip
    return Table(heads, [[*mean, None, None], *rows], row_heads=True)


def _interval(metric: Mapping[str, float]) -> Interval:
    return Interval(metric["value"], metric["low"], metric["high"])


def _curve_plots(facts: Facts) -> dict[str, list[Plot]]:
    """By name: a plot per AU that has both states."""
    found: dict[str, list[Plot]] = {"ROC": [], "Precision and recall": []}
    for name, curves in facts["curves"].items():
        one = facts["test"]["per_au"][name]
        if curves["roc"]:
            drawing = plots.shares(
                [Series(OWN, name, curves["roc"])],
                title=f"ROC of {name}",
                x_unit="false alarms",
                y_unit="recognised",
                reference=DIAGONAL,
            )
            found["ROC"].append(Plot(f"{name}: area {percent(one['AUC'])}", drawing))
        if curves["precision_recall"]:
            drawing = plots.shares(
                [Series(OWN, name, curves["precision_recall"])],
                title=f"Precision and recall of {name}",
                x_unit="recall",
                y_unit="precision",
                reference=[[0.0, one["rate"]], [1.0, one["rate"]]],
            )
            found["Precision and recall"].append(Plot(name, drawing))
    return found


def _calibration_plots(facts: Facts) -> list[Plot]:
    found = []
    for name, curves in facts["curves"].items():
        one = facts["test"]["per_au"][name]
        if not curves["raw"]:
            continue
        drawing = plots.shares(
            [
                Series(RAW, "as they are", curves["raw"]),
                Series(CALIBRATED, "with temperatures", curves["calibrated"]),
            ],
            title=f"Calibration of {name}",
            x_unit="probability",
            y_unit="active",
            reference=DIAGONAL,
        )
        errors = f"{percent(one['ECE'])} → {percent(one['ECE_calibrated'])}"
        found.append(Plot(f"{name}: {errors}", drawing))
    return found


def _face(face: Facts) -> Facts:
    """A face with its AUs by outcome; inactive ones that are not recognised are left out."""
    outcomes = {
        name: ", ".join(
            f"{state['au']} {percent(state['probability'])}"
            for state in face["states"]
            if has(state)
        )
        for name, has in _OUTCOMES.items()
    }
    return {**face, "outcomes": {name: text for name, text in outcomes.items() if text}}


def _texts(test: Facts) -> Table:
    keys = list(dict.fromkeys(key for values in test["texts"].values() for key in values))
    rows: list[list[Cell]] = [
        [
            {"au_texts": "texts about action units", "face_texts": "texts about faces"}[kind],
            *(Percent.of(values.get(key)) for key in keys),
        ]
        for kind, values in test["texts"].items()
    ]
    return Table(["", *(key.replace("_", " ") for key in keys)], rows, row_heads=True)


def _subjects(facts: Facts) -> Table:
    ordered = sorted(facts["subjects"], key=lambda one: -1 if one["F1"] is None else one["F1"])
    rows: list[list[Cell]] = [
        [one["subject"], one["faces"], Percent.of(one["F1"])] for one in ordered
    ]
    return Table(["subject", "faces", "F1, mean over action units"], rows, row_heads=True)


def _cross(facts: Facts) -> Table:
    per_au = facts["test"]["per_au"]
    rows: list[list[Cell]] = []
    for other in facts["cross"]:
        own = [per_au[name]["F1"]["value"] for name in other["per_au"]]
        rows.append(
            [
                SeriesName(OWN + 1 + len(rows), other["dataset"]["name"]),
                other["faces"],
                other["subjects"],
                ", ".join(str(au) for au in other["aus"]),
                _interval(other["F1"]),
                Percent(sum(own), len(own)),
                Percent.of(other["AUC"]),
                Percent.of(other["ECE_calibrated"]),
            ]
        )
    heads = ["dataset", "faces", "subjects", "shared action units", "F1", "F1 of these on the own test", "AUC", "ECE, calibrated"]  # fmt: skip
    return Table(heads, rows, row_heads=True)


def _training(training: Facts) -> Sequence[Plot]:
    found = []
    if training["loss"]:
        series = [Series(OWN, "loss", training["loss"])]
        drawing = plots.curves(series, title="Training loss", x_unit="step", y_unit="loss")
        found.append(Plot("Loss by step", drawing))
    if training["valid_F1"]:
        series = [Series(OWN, "valid F1", training["valid_F1"], training["best_epoch"])]
        drawing = plots.curves(series, title="Validation F1", x_unit="epoch", y_unit="%", percent=True)  # fmt: skip
        found.append(Plot("F1 on held-out training subjects by epoch; ring: kept epoch", drawing))
    return found


def _environment(environment: Facts) -> Table:
    versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
    rows: list[list[Cell]] = [
        ["started", date(environment.get("started"))],
        ["device", environment.get("device")],
        ["processes", environment.get("processes")],
        ["precision", environment.get("mixed_precision")],
        ["commit", Code(environment.get("git_commit"))],
        ["parameters", number(environment.get("trainable_parameters", 0), "parameter")],
        ["versions", versions],
    ]
    return Table(None, rows, row_heads=True)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
