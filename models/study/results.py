"""The results of a study: metrics by method and protocol, tests, sensitivity, cost and checklist, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.results.evaluations import Evaluated, read_evaluation, refuse_incomparable
from models.runs.files import read_environment, read_run_config
from models.study.checklist import checklist
from models.study.encoders import encoders_of
from models.study.plan import Plan
from models.study.schedule import Arm
from models.study.statistics import Floats, describe, gains, paired_tests, sensitivity
from models.study.trials import Trial, read_trial
from toolkit.dataset import open_dataset
from toolkit.own_protocols import as_protocol
from toolkit.protocols import Protocol

RESULTS_FORMAT = 1
# Keys of a report; the rest are further measurements, such as slices.
_OWN = ("protocol", "protocol_settings", "split", "users", "targets", "catalogue", "metrics")


def collect(plan: Plan, record: Mapping[str, Any], arms: Sequence[Arm]) -> dict[str, Any]:
    """The contents of `results.json`.

    Args:
        plan: plan of the study.
        record: contents of `study.json`.
        arms: arms of the study, whose runs have ended.
    """
    datasets = {
        name: _dataset(plan, [arm for arm in arms if arm.dataset == name]) for name in plan.datasets
    }
    results = {
        "format": RESULTS_FORMAT,
        "hash": record["hash"],
        "metric": plan.metric,
        "protocols": plan.protocol_names,
        "plan": record["plan"],
        "budget": {
            key: getattr(plan, key) for key in ("trials", "seeds", "epochs", "seconds", "patience")
        },
        "amendments": record["amendments"],
        "data": record["datasets"],
        "datasets": datasets,
        "failed_methods": [arm.name for arm in arms if not _tested_runs(arm)],
    }
    if len(datasets) == 1:  # without the dataset's name in between
        results["methods"] = next(iter(datasets.values()))["methods"]
    results["checklist"] = checklist(plan, record, results, environments(arms))
    return results


def environments(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """environment.json of every run that was tested."""
    runs = [run for arm in arms for run in _tested_runs(arm).values()]
    return [read_environment(evaluated.run) for evaluated in runs]


def _dataset(plan: Plan, arms: Sequence[Arm]) -> dict[str, Any]:
    by_protocol: dict[str, dict[str, Any]] = {}
    users: dict[str, dict[str, Floats]] = {}
    methods: dict[str, dict[str, Any]] = {
        name: _method([arm for arm in arms if arm.method == name]) for name in plan.methods
    }
    selected_under = {
        protocol.name: protocols[0].name
        for protocols in plan.splits().values()
        for protocol in protocols
    }
    for value in map(as_protocol, plan.protocols):
        protocol = value.name
        tested = {
            arm.method: found
            for arm in arms
            if value in arm.protocols and (found := _tested(arm, value))
        }
        evaluations = [evaluated for runs in tested.values() for evaluated in runs.values()]
        for other in evaluations[1:]:
            refuse_incomparable(evaluations[0], other)
        rows = evaluations[0].users if evaluations else np.zeros(0, np.int64)
        ranks = {name: _ranks(list(runs.values())) for name, runs in tested.items()}
        users[protocol] = {
            name: gains(plan.metric, of, rows).mean(axis=0) for name, of in ranks.items()
        }
        for name, of in ranks.items():
            methods[name]["metrics"][protocol] = describe(of, rows)
            slices = _mean([_slices(evaluated.report) for evaluated in tested[name].values()])
            if slices:
                methods[name]["slices"][protocol] = slices
        if evaluations:
            report = evaluations[0].report
            by_protocol[protocol] = {
                "about": value.about,
                "selected_under": selected_under[protocol],
                "users": report["users"],
                "catalogue": report["catalogue"],
                "first": next(iter(ranks)),
                "tests": paired_tests(users[protocol]),
            }
    compared = {protocol: tested for protocol, tested in users.items() if tested}
    everywhere = [name for name in plan.methods if all(name in of for of in compared.values())]
    values = {p: {name: of[name] for name in everywhere} for p, of in compared.items()}
    return {
        "methods": methods,
        "protocols": by_protocol,
        "sensitivity": sensitivity(values) if compared and everywhere else None,
    }


def _method(arms: Sequence[Arm]) -> dict[str, Any]:
    """What a method tried and chose on each split, and what it cost. Metrics are added by the caller."""
    tried = {arm.record(trial.number): (arm, trial) for arm in arms for trial in arm.trials()}
    selected = {
        record: (arm, trial)
        for arm in arms
        for record in arm.selected().values()
        if (trial := read_trial(record)) is not None
    }
    runs = [trial for _, trial in selected.values()]
    first = next(((arm, run) for arm in arms for run in _tested_runs(arm).values()), None)
    return {
        "trials": [_trial(arm, trial) for arm, trial in tried.values()],
        "selected": {arm.split: best.settings for arm in arms if (best := arm.best()) is not None},
        "seeds": [_seed(arm, trial) for arm, trial in selected.values()],
        "metrics": {},
        "slices": {},
        "encoders": _encoders(first),
        "cost": {
            "runs": len({**tried, **selected}),
            "seconds": sum(trial.seconds for _, trial in {**tried, **selected}.values()),
            "seconds_per_run": _average([trial.seconds for trial in runs]),
            "epochs_per_run": _average([t.epochs for t in runs if t.epochs is not None]),
            "trainable_parameters": _parameters(first),
        },
    }


def _seed(arm: Arm, trial: Trial) -> dict[str, Any]:
    return {
        "seed": trial.seed,
        "split": arm.split,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "status": trial.status,
        "message": trial.message,
        "untestable": trial.untestable,
    }


def _trial(arm: Arm, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "split": arm.split,
        "settings": trial.settings,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "ended_by": trial.ended_by,
        "status": trial.status,
        "message": trial.message,
        "hash": trial.study["hash"],
    }


def _parameters(first: tuple[Arm, Evaluated] | None) -> int | None:
    """The number of trainable parameters of a method, by its first tested run."""
    count = None if first is None else read_environment(first[1].run).get("trainable_parameters")
    return count if isinstance(count, int) else None


def _encoders(first: tuple[Arm, Evaluated] | None) -> dict[str, dict[str, Any]]:
    """The encoders of a method's towers, by its first tested run."""
    if first is None:
        return {}
    arm, evaluated = first
    return encoders_of(open_dataset(arm.data), read_run_config(evaluated.run).towers)


def _tested(arm: Arm, protocol: Protocol) -> dict[int, Evaluated]:
    """The evaluations of the selected runs by seed, without those that failed."""
    found = {}
    for seed, record in arm.selected().items():
        trial = read_trial(record)
        if trial is not None and trial.value is not None and protocol.name not in trial.untestable:
            found[seed] = read_evaluation(record.with_suffix(""), "test", protocol)
    return found


def _tested_runs(arm: Arm) -> dict[int, Evaluated]:
    """The selected runs by seed, evaluated under the first protocol that could be tested; empty if none could."""
    return next((found for protocol in arm.protocols if (found := _tested(arm, protocol))), {})


def _ranks(evaluations: Sequence[Evaluated]) -> Floats:
    """(R, T) ranks of the targets."""
    return np.stack([np.asarray(evaluated.ranks.column("rank")) for evaluated in evaluations])


def _slices(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in report.items() if key not in _OWN and isinstance(value, dict)
    }


def _mean(records: Sequence[Any]) -> Any:
    """The mean over seeds of nested numbers; other values are those of the first."""
    first = records[0]
    if isinstance(first, dict):
        return {key: _mean([record[key] for record in records if key in record]) for key in first}
    numbers = all(isinstance(r, int | float) and not isinstance(r, bool) for r in records)
    return _average(records) if numbers and not all(r == first for r in records) else first


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
