"""Measures a trained network on labelled faces: the report of a test, and the table of predictions for paired tests.

N faces, A action units (AUs), S subjects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from models.facial.agreement import agreement
from models.facial.calibration import calibration_error
from models.facial.identity_probe import probe_identity
from models.facial.metrics import Interval, accuracy, auc, count, f1_report
from models.facial.recognise import Recognised
from models.facial.text_metrics import bleu
from models.facial.trained import TrainedFaces
from toolkit.errors import UserError
from toolkit.facs import ACTIVE, MISSING, Facs, column

Floats = NDArray[np.float64]
HALF = 0.5  # the threshold of published results


@dataclass(frozen=True)
class Labelled:
    """The faces of a test.

    Args:
        item_ids: (N,) names of the pictures.
        subjects: (N,) subject of each face.
        sequences: (N,) sequence of each face; null for subjects with one sequence.
        labels: (N, A) of 0, 1 and 9 (missing).
        columns: indices of these A AUs among those of the network.
    """

    item_ids: Sequence[str]
    subjects: Sequence[str]
    sequences: Sequence[str | None]
    labels: NDArray[np.int8]
    columns: Sequence[int]


def measure(
    trained: TrainedFaces, faces: Labelled, recognised: Recognised, *, rounds: int = 10_000
) -> dict[str, Any]:
    """The report of a test, as metrics/test.json has it.

    `F1` is at 0.5, pooled over the faces, with the interval of a bootstrap over subjects; `F1_fitted` is at thresholds that
    were fitted on training subjects. Values that do not exist are null.

    Args:
        trained: network and calibration.
        faces: what is tested.
        recognised: what the network states of them, with all of its AUs.
        rounds: of the bootstrap.
    """
    chosen = list(faces.columns)
    aus = [trained.aus[index] for index in chosen]
    logits = recognised.logits[:, chosen]
    raw, calibrated = _sigmoid(logits), trained.calibrated(recognised.logits)[:, chosen]
    fitted = np.asarray(trained.record.fitted_thresholds)[chosen]
    counts = count(raw >= HALF, faces.labels, faces.subjects)
    half = f1_report(counts, rounds=rounds)
    at_fitted = f1_report(count(calibrated >= fitted, faces.labels, faces.subjects), rounds=rounds)
    labelled = (faces.labels != MISSING).sum(0)
    rates = np.divide((faces.labels == ACTIVE).sum(0), labelled, where=labelled > 0, out=np.full(len(aus), np.nan))  # fmt: skip
    per_au: dict[str, ArrayLike] = {
        "rate": rates,
        "training_rate": np.asarray(trained.record.rates)[chosen],
        "accuracy": accuracy(counts),
        "AUC": auc(logits, faces.labels),
        "ECE": calibration_error(raw, faces.labels),
        "ECE_calibrated": calibration_error(calibrated, faces.labels),
        "temperature": np.asarray(trained.record.temperatures)[chosen],
        "threshold": fitted,
    }
    means = ("accuracy", "AUC", "ECE", "ECE_calibrated")
    return {
        "faces": len(faces.labels),
        "subjects": len(set(faces.subjects)),
        "aus": aus,
        "F1": _as_dict(half.mean),
        "F1_fitted": _as_dict(at_fitted.mean),
        **{name: _number(_mean(per_au[name])) for name in means},
        "calibrated_on": trained.record.calibrated_on,
        "identity": _identity(recognised, faces),
        "texts": _texts(trained.facs, aus, chosen, faces.labels, raw >= HALF, recognised),
        "per_au": {
            column(au): {
                "F1": _as_dict(half.per_au[index]),
                "F1_fitted": _as_dict(at_fitted.per_au[index]),
                **{name: _number(np.asarray(values)[index]) for name, values in per_au.items()},
            }
            for index, au in enumerate(aus)
        },
    }


def predictions_table(trained: TrainedFaces, faces: Labelled, recognised: Recognised) -> pa.Table:
    """A row per face: subject, labels, logits, calibrated probabilities and texts; the metadata list the AUs."""
    chosen = list(faces.columns)
    width = len(chosen)
    arrays: dict[str, Any] = {
        "item_id": pa.array(faces.item_ids, pa.string()),
        "subject": pa.array(faces.subjects, pa.string()),
        "sequence": pa.array(faces.sequences, pa.string()),
        "labels": _lists(faces.labels, pa.int8(), width),
        "logits": _lists(recognised.logits[:, chosen], pa.float32(), width),
        "probabilities": _lists(
            trained.calibrated(recognised.logits)[:, chosen], pa.float32(), width
        ),
    }
    if recognised.au_texts is not None:
        texts = [[row[index] for index in chosen] for row in recognised.au_texts]
        arrays["au_texts"] = pa.array(texts, pa.list_(pa.string(), width))
    if recognised.face_texts is not None:
        arrays["face_text"] = pa.array(recognised.face_texts, pa.string())
    aus = ",".join(str(trained.aus[index]) for index in chosen)
    return pa.table(arrays).replace_schema_metadata({"aus": aus})


def format_report(report: Mapping[str, Any]) -> str:
    """The report as text: a line of means, and a line per AU."""
    f1, fitted = report["F1"], report["F1_fitted"]
    lines = [
        f"{report['faces']:,} faces of {report['subjects']} subjects: F1 {f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        f", with fitted thresholds {fitted['value']:.3f}; accuracy {_shown(report['accuracy'])}, AUC {_shown(report['AUC'])}, "
        f"ECE {_shown(report['ECE'])}, calibrated {_shown(report['ECE_calibrated'])}",
        *(
            f"  {name}  F1 {one['F1']['value']:.3f} [{one['F1']['low']:.3f}, {one['F1']['high']:.3f}]  rate "
            f"{_shown(one['rate'])}  AUC {_shown(one['AUC'])}"
            for name, one in report["per_au"].items()
        ),
    ]
    if report["identity"]:
        probe = report["identity"]
        lines.append(
            f"  identity probe: {probe['accuracy']:.3f} of {probe['subjects']} subjects told apart, chance {probe['chance']:.3f}"
        )
    lines += [
        f"  {name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in one.items())
        for name, one in report["texts"].items()
    ]
    return "\n".join(lines)


def held_out_sequences(
    subjects: Sequence[str], sequences: Sequence[str | None]
) -> NDArray[np.bool_]:
    """(N,) the faces that measure the identity probe: the last sequence of each subject, or the last half of its only one."""
    names, order = np.asarray(subjects), np.asarray([sequence or "" for sequence in sequences])
    held_out = np.zeros(len(names), dtype=bool)
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        several = np.unique(order[own])
        last = own[len(own) // 2 :] if len(several) == 1 else own[order[own] == several[-1]]
        held_out[last] = True
    return held_out


def _identity(recognised: Recognised, faces: Labelled) -> dict[str, Any] | None:
    """The probe of the features; null for fewer than two subjects, or a subject with one face."""
    subjects, sequences = (
        [values[index] for index in recognised.featured.tolist()]
        for values in (faces.subjects, faces.sequences)
    )
    _, sizes = np.unique(np.asarray(subjects), return_counts=True)
    if len(sizes) < 2 or sizes.min() < 2:
        return None
    features = recognised.features[:, list(faces.columns)]
    held_out = held_out_sequences(subjects, sequences)
    return probe_identity(features, subjects, held_out=held_out)._asdict()


def _texts(
    facs: Facs,
    aus: Sequence[int],
    chosen: Sequence[int],
    labels: NDArray[np.int8],
    active: NDArray[np.bool_],
    recognised: Recognised,
) -> dict[str, dict[str, float | None]]:
    """Token accuracy and BLEU against the texts of the labels, and agreement with the predicted states."""
    found: dict[str, dict[str, float | None]] = {}
    if recognised.au_texts is not None:
        au_texts = [[row[index] for index in chosen] for row in recognised.au_texts]
        known = [(row, at) for row, at in zip(*np.nonzero(labels != MISSING), strict=True)]
        references = [
            facs.unit_text(aus[at], active=labels[row, at] == ACTIVE) for row, at in known
        ]
        agreed = agreement(facs, aus, active, au_texts=au_texts)
        found["au_texts"] = {
            "token_accuracy": _share(recognised.au_hits),
            "BLEU": bleu([au_texts[row][at] for row, at in known], references) if known else None,
            "agreement": _number(agreed.au_texts),
        }
    if recognised.face_texts is not None and len(chosen) == recognised.logits.shape[1]:
        whole = np.flatnonzero((labels != MISSING).all(1)).tolist()
        named = [facs.face_text(np.asarray(aus)[labels[row] == ACTIVE].tolist()) for row in whole]
        agreed = agreement(facs, aus, active, face_texts=recognised.face_texts)
        found["face_texts"] = {
            "token_accuracy": _share(recognised.face_hits),
            "BLEU": bleu([recognised.face_texts[row] for row in whole], named) if whole else None,
            "agreement": _number(agreed.face_texts),
            "named_precision": _number(agreed.named_precision),
            "named_recall": _number(agreed.named_recall),
        }
    return found


def refuse_without_extra() -> None:
    """Refuses to measure without the packages of the extra `faces`, before a long run.

    Raises:
        UserError: if one is not installed.
    """
    from importlib.util import find_spec

    for module, package in {"sklearn": "scikit-learn", "sacrebleu": "sacrebleu"}.items():
        if find_spec(module) is None:
            raise UserError(
                f"tests of faces need {package}, which is not installed; pip install 'versa-toolkit[faces]'"
            )


def _lists(values: ArrayLike, kind: pa.DataType, width: int) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).ravel(), kind)
    return pa.FixedSizeListArray.from_arrays(flat, width)


def _sigmoid(logits: ArrayLike) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64))))


def _as_dict(interval: Interval) -> dict[str, float]:
    return interval._asdict()


def _mean(values: ArrayLike) -> float:
    known = np.asarray(values)[~np.isnan(np.asarray(values))]
    return float(known.mean()) if len(known) else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _share(hits: tuple[int, int] | None) -> float | None:
    return hits[0] / hits[1] if hits and hits[1] else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
