"""Reads the files of a run folder, which may be damaged, incomplete or from an untrusted source.

Content that training or evaluation would not write raises a `UserError` that names the file.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.config import RunConfig, load_run_config
from models.runs.folder import (
    CONFIG,
    ENVIRONMENT,
    MODEL,
    check_types,
    read_environment,
)
from models.training.log import read_log
from toolkit import beyond_accuracy, metrics, schema
from toolkit.errors import UserError
from toolkit.json_files import read_json_object
from toolkit.own_protocols import as_protocol
from toolkit.protocols import Protocol, is_named, named_protocol
from toolkit.store import read_file
from toolkit.yaml_files import read_yaml

__all__ = [
    "CONFIG",
    "ENVIRONMENT",
    "MODEL",
    "log_lines",
    "protocol_of",
    "read_environment",
    "read_ranks",
    "read_report",
    "read_run_config",
    "read_run_settings",
]

_OF_FACES = {"fold", "view", "backbone"}  # keys of the config of a run of faces
_MEASURED = tuple(f"{name}@{k}" for name in metrics.METRICS for k in metrics.CUTOFFS)
_REPORT_TYPES: dict[str, type] = {
    "protocol": str,
    "split": str,
    "users": int,
    "catalogue": int,
    "metrics": dict,
}
_OPTIONAL_REPORT_TYPES: dict[str, type] = {  # which older versions did not write
    "protocol_settings": dict,
    "targets": int,
    "slices": dict,
    "beyond": dict,
    "diversity_content": dict,
}
_SLICE_TYPES: dict[str, type] = {"about": str, "users": int, "targets": int, "metrics": dict}


def read_run_config(run: Path) -> RunConfig:
    """Reads the config of a run.

    Raises:
        UserError: if the folder is not a run folder, is a run of faces, or its config.yaml is damaged.
    """
    if not (run / CONFIG).is_file():
        raise UserError(
            f"{run}: not a run folder, because it has no {CONFIG}; pass a folder that models.train wrote"
        )
    try:
        return load_run_config(run / CONFIG)
    except UserError:
        if read_yaml(run / CONFIG).keys() >= _OF_FACES:
            raise UserError(
                f"{run}: a run of models.facial.train, which recommends nothing; use python -m models.facial, or pass a run "
                "of models.train"
            ) from None
        raise


def read_run_settings(run: Path) -> dict[str, Any]:
    """Reads the settings with which a run was started or last resumed, as nested mappings.

    Older versions recorded the launcher's mixed precision in environment.json only. That value overrides config.yaml.

    Raises:
        UserError: as `read_run_config` and `read_environment` do.
    """
    settings = asdict(read_run_config(run))
    precision = read_environment(run).get("mixed_precision", settings["train"]["mixed_precision"])
    return {**settings, "train": {**settings["train"], "mixed_precision": precision}}


def read_report(path: Path) -> dict[str, Any]:
    """Reads the report of an evaluation: protocol, split, users, catalogue, and metrics with intervals.

    Older versions, which recorded neither the settings of the protocol nor the number of targets, had a target per user.
    Their reports have no `beyond` and no `diversity_content`.

    Raises:
        UserError: if the file is missing or damaged.
    """
    report = read_json_object(path)
    check_types({**dict.fromkeys(_REPORT_TYPES), **report}, _REPORT_TYPES, path)
    report = {"targets": report["users"], "slices": {}, **report}
    check_types(report, _OPTIONAL_REPORT_TYPES, path)
    try:
        report.setdefault("protocol_settings", protocol_of(report).settings)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    _check_metrics(report["metrics"], path)
    for name, part in report["slices"].items():
        if not isinstance(part, dict):
            part = {}
        check_types(
            {**dict.fromkeys(_SLICE_TYPES), **part}, _SLICE_TYPES, path, lead=f"slices.{name}."
        )
        _check_metrics(part["metrics"], path, lead=f"slices.{name}, ")
    _check_beyond(report, path)
    return report


def _check_beyond(report: dict[str, Any], path: Path) -> None:
    """Checks the metrics beyond accuracy, which reports of older versions lack."""
    for name, result in report.get("beyond", {}).items():
        known = name.partition("@")[0] in beyond_accuracy.UNITS
        numbers = [result]
        if isinstance(result, dict):
            numbers = [result.get(key) for key in ("value", "low", "high")]
        if not known or not all(_is_number(value) and 0 <= value < math.inf for value in numbers):
            raise UserError(
                f"{path}: beyond.{name} is unknown or invalid; expected a number of at least 0, or value, low and high; "
                "evaluate the run again"
            )
    content = report.get("diversity_content", {})
    if content and not all(
        isinstance(content.get(key), str) for key in ("tower", "encoder", "source")
    ):
        raise UserError(
            f"{path}: diversity_content has no tower, encoder or source; evaluate the run again"
        )


def protocol_of(report: dict[str, Any]) -> Protocol:
    """The protocol of a report; older versions recorded its name only.

    Raises:
        UserError: if it is neither a named protocol nor a valid one of a user.
    """
    name = report["protocol"]
    if is_named(name) or "protocol_settings" not in report:
        return named_protocol(name)
    return as_protocol({"name": name, **report["protocol_settings"]})


def read_ranks(path: Path) -> pa.Table:
    """Reads the rank of each user's target (`toolkit.schema.RANKS`); infinite where the target is masked.

    Raises:
        UserError: if the file is missing or damaged.
    """
    table = schema.validate(read_file(path), schema.RANKS, where=str(path))
    ranks = np.asarray(table.column("rank"))
    if not len(ranks) or not (ranks >= 1).all():
        raise UserError(
            f"{path}: the table is empty or has ranks below 1; expected one rank per user, counted from 1; evaluate the "
            "run again"
        )
    return table


def log_lines(run: Path) -> list[dict[str, Any]]:
    """Reads the entries of a run's log (`models.training.log.read_log`).

    Raises:
        UserError: if training would not write one of them.
    """
    lines = read_log(run)
    for number, line in enumerate(lines, start=1):
        valid = line.get("valid", {})
        counted = [line[key] for key in ("step", "epoch", "best_epoch") if key in line]
        measured = [
            line[key] for key in ("loss", "train_seconds", "trained_seconds") if key in line
        ]
        if (
            not isinstance(valid, dict)
            or not all(type(value) is int for value in counted)
            or not all(_is_number(value) for value in [*measured, *valid.values()])
            or ("valid" in line and not {"HR@10", "NDCG@10"} <= valid.keys())
            or ("valid" in line and "epoch" not in line)
            or ("loss" in line and "step" not in line)
        ):
            raise UserError(
                f"{run / 'log.jsonl'}: entry {number} has missing keys or values of the wrong type; correct or delete "
                "the line"
            )
    return lines


def _check_metrics(values: dict[str, Any], path: Path, *, lead: str = "") -> None:
    for name in _MEASURED:
        metric = values.get(name)
        if not isinstance(metric, dict) or not all(
            _is_fraction(metric.get(key)) for key in ("value", "low", "high")
        ):
            raise UserError(
                f"{path}: {lead}metric {name} is missing or invalid; expected value, low and high from 0 to 1; evaluate the "
                "run again"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and 0 <= value <= 1
