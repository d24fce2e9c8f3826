"""Reports a run of VL-FAU on one page: `python -m models.facial report RUN --output report.html`.

The page is a pure function of the facts and the pictures, which are collected here: the stored tests of the run, and the
attention of its network for the faces that are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.facial.card import RECONSTRUCTION, limits
from models.facial.config import FaceConfig, read_face_config
from models.facial.evaluate import TEST
from models.facial.fold import are_faces_of, describe_faces
from models.facial.metrics import count, f1_of_subjects
from models.facial.pictures import Pictures
from models.facial.pretrained import from_pretrained
from models.facial.reporting.chosen import confident_errors, errors_of, right_and_wrong
from models.facial.reporting.curves import precision_recall, reliability, roc
from models.facial.reporting.maps import attend, jpeg, with_attention
from models.facial.reporting.page import render
from models.facial.stored import StoredTest, read_test
from models.facial.trained import TrainedFaces
from models.runs.folder import METRICS, MODEL, read_environment
from models.training.log import flat, read_log
from toolkit.arguments import a_path, whole_number
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.faces import Faces, open_faces
from toolkit.facs import ACTIVE, MISSING, column
from toolkit.json_files import read_json_object

REPORT_VERSION = 1
EXAMPLES = 4
MAPS = 4  # attention maps of an example
Facts = dict[str, Any]
# JPEG by name: `ROW` of a face, and `ROW-AU12` with the attention of an AU over it.
Pictured = dict[str, bytes]


def report(
    run: str | Path,
    *,
    output: str | Path = "report.html",
    examples: int = EXAMPLES,
    data: str | Path | None = None,
    device: str = "cpu",
) -> Facts:
    """Writes a self-contained HTML page about a run, which needs no network and no other files.

    Metrics and predictions are read from the files of `evaluate`; no face is tested again. The network runs on the faces
    that are shown, for its attention.

    Args:
        run: run folder with a test.
        output: page to write.
        examples: faces of each kind, right and wrong; with 0, the page has no pictures and the dataset is not read.
        data: the current path of the run's dataset, if it has moved.
        device: of the network.

    Returns:
        The facts of the page, JSON-serialisable.

    Raises:
        UserError: if the run has no test, its dataset has changed, or `examples` or `output` is invalid.
    """
    run, output = a_path(run, name="run"), a_path(output, name="output")
    examples = whole_number(examples, name="examples", least=0)
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; pass a file name, such as report.html")
    config, test = read_face_config(run), read_test(run)
    trained = from_pretrained(run / MODEL)
    facts = _collect(run, config, trained, test)
    pictures: Pictured = {}
    if examples:
        faces = _own_faces(run, data or config.data, trained)
        facts |= _shown(trained, test, examples)
        trained.network.to(device)
        pictures = _pictures(trained, faces, test, facts)
    page = render(facts, pictures).encode()
    write_atomically(output, lambda file: file.write(page))
    return facts


def _collect(run: Path, config: FaceConfig, trained: TrainedFaces, test: StoredTest) -> Facts:
    """All facts but the faces that are shown."""
    metrics = run / METRICS
    log = read_log(run)
    return {
        "report_version": REPORT_VERSION,
        "run": run.name,
        "names": {column(au): trained.facs.units[au].name for au in test.aus},
        "test": read_json_object(metrics / f"{TEST}.json"),
        "cross": [read_json_object(path) for path in sorted(metrics.glob("cross-*.json"))],
        "curves": {column(au): _curves(test, at) for at, au in enumerate(test.aus)},
        "subjects": _subjects(test),
        "training": {
            "loss": [[entry["step"], entry["loss"]] for entry in log if "loss" in entry],
            "valid_F1": [[entry["epoch"], entry["valid_F1"]] for entry in log if "valid_F1" in entry],
            "best_epoch": next((e["best_epoch"] for e in reversed(log) if "best_epoch" in e), None),
        },
        "examples": [],
        "errors": [],
        "shuffled": config.train.shuffle_labels,
        "settings": flat(asdict(config)),
        "environment": read_environment(run),
        "limits": [" ".join(RECONSTRUCTION.replace("**", "").split()), *limits(trained)],
    }  # fmt: skip


def _curves(test: StoredTest, at: int) -> Facts:
    labels, logits = test.labels[:, at], test.logits[:, at]
    return {
        "roc": roc(logits, labels),
        "precision_recall": precision_recall(logits, labels),
        "raw": reliability(1 / (1 + np.exp(-logits.astype(np.float64))), labels),
        "calibrated": reliability(test.probabilities[:, at], labels),
    }


def _subjects(test: StoredTest) -> list[Facts]:
    """The faces and the mean F1 of each subject; null for a subject that shows no AU."""
    values = f1_of_subjects(count(test.logits >= 0, test.labels, test.subjects)).tolist()
    names, faces = np.unique(np.asarray(test.subjects), return_counts=True)
    return [
        {"subject": name, "faces": int(size), "F1": None if np.isnan(value) else value}
        for name, size, value in zip(names.tolist(), faces, values, strict=True)
    ]


def _own_faces(run: Path, data: str | Path, trained: TrainedFaces) -> Faces:
    faces = open_faces(data)
    if not are_faces_of(trained.record.dataset, describe_faces(faces)):
        raise UserError(
            f"{data}: not the faces that {run} was trained on; restore the dataset, pass its path with --data, or leave "
            "out pictures with --examples 0"
        )
    return faces


def _shown(trained: TrainedFaces, test: StoredTest, examples: int) -> Facts:
    right, wrong = right_and_wrong(test, examples)
    return {
        "examples": [
            {"kind": kind, **_example(trained, test, row)}
            for kind, rows in {"right": right, "wrong": wrong}.items()
            for row in rows
        ],
        "errors": [
            {
                **_face(test, row),
                "states": [_state(test, row, at)],
                "maps": [column(test.aus[at])],
                "text": test.au_texts[row][at] if test.au_texts else None,
            }
            for row, at in confident_errors(test)
        ],
    }


def _example(trained: TrainedFaces, test: StoredTest, row: int) -> Facts:
    """What is known of a face, what the network states, and which AUs have a map: those that are active in either."""
    states = [_state(test, row, at) for at in range(len(test.aus))]
    involved = [one for one in states if one["label"] or one["recognised"]] or states
    by_doubt = sorted(involved, key=lambda one: (one["right"] is not False, -one["probability"]))
    active = np.asarray(test.aus)[test.labels[row] == ACTIVE].tolist()
    return {
        **_face(test, row),
        "states": states,
        "maps": [one["au"] for one in by_doubt[:MAPS]],
        "text": test.face_texts[row] if test.face_texts else None,
        "text_of_labels": trained.facs.face_text(active),
    }


def _face(test: StoredTest, row: int) -> Facts:
    return {
        "row": row,
        "item_id": test.item_ids[row],
        "subject": test.subjects[row],
        "wrong": int(errors_of(test)[row].sum()),
        "labelled": int((test.labels[row] != MISSING).sum()),
    }


def _state(test: StoredTest, row: int, at: int) -> Facts:
    """An AU of a face; `label` and `right` are null for a missing label."""
    label = int(test.labels[row, at])
    known, recognised = label != MISSING, bool(test.logits[row, at] >= 0)
    return {
        "au": column(test.aus[at]),
        "probability": float(test.probabilities[row, at]),
        "recognised": recognised,
        "label": label == ACTIVE if known else None,
        "right": recognised == (label == ACTIVE) if known else None,
    }


def _pictures(
    trained: TrainedFaces, faces: Faces, test: StoredTest, facts: Mapping[str, Any]
) -> Pictured:
    """The pictures of all faces that are shown, once each, and their maps."""
    wanted: dict[int, list[str]] = {}
    for face in [*facts["examples"], *facts["errors"]]:
        wanted.setdefault(face["row"], []).extend(face["maps"])
    if not wanted:
        return {}
    rows_of = {name: row for row, name in enumerate(faces.table.column("item_id").to_pylist())}
    rows = [rows_of[test.item_ids[row]] for row in wanted]
    attended = attend(trained, Pictures(faces, trained.record.view), rows)
    columns = [column(au) for au in trained.aus]
    found: Pictured = {}
    for at, (row, aus) in enumerate(wanted.items()):
        picture = attended.pictures[at]
        found[str(row)] = jpeg(picture)
        if attended.attention is not None:
            found |= _maps(row, aus, picture, attended.attention[at], columns)
    return found


def _maps(
    row: int, aus: Sequence[str], picture: Any, attention: Any, columns: Sequence[str]
) -> Pictured:
    return {
        f"{row}-{au}": jpeg(with_attention(picture, attention[columns.index(au)])) for au in aus
    }
