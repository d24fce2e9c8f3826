"""Fixes the plan of a study before its first result, in `study.json`, and reports what changed later."""

from pathlib import Path
from typing import Any

from models.inputs.reads import Reads
from models.runs.environment import now
from models.runs.folder import ENVIRONMENT
from models.runs.identity import INTERACTIONS, ITEMS, describe_data, tower_with_other_states
from models.study.plan import Plan
from models.study.trials import STARTED, read_trial
from models.training.log import flat
from toolkit.dataset import open_dataset
from toolkit.errors import UserError
from toolkit.json_files import read_json_object, write_json

RECORD = "study.json"
_FORMAT = 1


def fix(plan: Plan, output: Path, *, amend: bool) -> dict[str, Any]:
    """Writes the plan, or compares it with the one that the study began with.

    Before the first finished run, a changed plan replaces the old one. Afterwards it is an amendment, which is refused or
    recorded: when, after how many results, and the old and new value of each changed key.

    Args:
        plan: plan of this call.
        output: folder of the study.
        amend: whether to continue with a plan that has changed.

    Returns:
        The contents of `study.json`.

    Raises:
        UserError: if the plan has changed after the first result and `amend` is false, or a dataset has changed.
    """
    path = output / RECORD
    digest, content, datasets = plan.digest(), plan.content(), _identities(plan)
    new = {"format": _FORMAT, "hash": digest, "started": now(), "plan": content,
           "datasets": datasets, "amendments": []}  # fmt: skip
    if not path.exists():
        write_json(path, new)
        return new
    old = read_json_object(path)
    _refuse_other_data(old["datasets"], datasets, path)
    _refuse_other_states(plan, output)
    results = count_results(output)
    if old["hash"] == digest:
        return old
    if not results:
        print(f"{path}: the plan has changed before the first result; it replaces the old one")
        _forget_started(output)
        write_json(path, new)
        return new
    changed = changes(old["plan"], content)
    if not amend:
        raise UserError(
            f"{output}: the plan has changed after {results} results, in {', '.join(changed)}; restore it, use another "
            "--output, or continue with --amend, which the report will state"
        )
    amendment = {
        "when": now(),
        "results": results,
        "from": old["hash"],
        "to": digest,
        "changed": changed,
    }
    amended = {
        **old,
        "hash": digest,
        "plan": content,
        "datasets": {**old["datasets"], **datasets},
        "amendments": [*old["amendments"], amendment],
    }
    write_json(path, amended)
    return amended


def refuse_foreign_folder(output: Path) -> None:
    """Refuses a folder that holds something, but no study: its report.html and others would be overwritten.

    Raises:
        UserError: naming some of its files.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; choose a folder for the study")
    names = sorted(path.name for path in output.glob("*") if not path.name.startswith("."))
    if names and RECORD not in names:
        raise UserError(
            f"{output}: holds {', '.join(names[:3])} but no {RECORD}: not a study; choose an empty or a new folder"
        )


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """Old and new value of each key that differs, by dotted key; None for no value.

    >>> changes({"trials": 3, "seeds": [1]}, {"trials": 4, "seeds": [1]})
    {'trials': [3, 4]}
    """
    before, after = flat(old), flat(new)
    keys = sorted({*before, *after})
    return {
        key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)
    }


def count_results(output: Path) -> int:
    """The number of runs that have ended, well or not."""
    found = (read_trial(path) for path in (output / "runs").glob("*/*/*/trial-*.json"))
    return sum(trial is not None and trial.status != STARTED for trial in found)


def _forget_started(output: Path) -> None:
    """Removes the records of runs that have not ended, so that they begin again under the new plan."""
    for record in (output / "runs").glob("*/*/*/trial-*.json"):
        record.rename(_unused(record.with_suffix(".replaced")))
        run = record.with_suffix("")
        if run.exists():
            run.rename(_unused(run.with_suffix(".replaced-run")))


def _unused(path: Path) -> Path:
    number = sum(1 for _ in path.parent.glob(f"{path.name}*"))
    return path.with_name(f"{path.name}-{number}") if number else path


def _identities(plan: Plan) -> dict[str, dict[str, Any]]:
    """Items and interactions of each dataset, as hashes."""
    found = {}
    for name, path in plan.datasets.items():
        dataset = open_dataset(path)
        facts = describe_data(dataset, Reads())
        found[name] = {"path": path, "name": dataset.name, ITEMS: facts[ITEMS], INTERACTIONS: facts[INTERACTIONS],
                       "counts": dataset.manifest.get("counts", {})}  # fmt: skip
    return found


def _refuse_other_data(old: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    for name in old.keys() & new.keys():
        for key, noun in ((ITEMS, "items"), (INTERACTIONS, "interactions")):
            if old[name][key] != new[name][key]:
                raise UserError(
                    f"{path}: dataset {name} had other {noun} when the study began; restore it, or begin another study"
                )


def _refuse_other_states(plan: Plan, output: Path) -> None:
    """Refuses states that were encoded again since a run was trained on them: seeds would not share their inputs."""
    for name, path in plan.datasets.items():
        dataset = open_dataset(path)
        for environment in sorted((output / "runs" / name).glob(f"*/*/trial-*/{ENVIRONMENT}")):
            run = environment.parent
            if (
                run.parent.name not in plan.methods or "." in run.name
            ):  # `_forget_started` renamed it
                continue
            if tower := tower_with_other_states(run, dataset):
                raise UserError(
                    f"{run}: was trained on other states of tower {tower} than dataset {name} has now; restore them, or "
                    "begin another study"
                )
