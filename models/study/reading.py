"""Reads the plan of a study from its YAML file, and refuses what would not run or would spend more than others."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from models.config import PRESETS, parse_run_config
from models.study.plan import Method, Plan, Range, Space
from toolkit.arguments import refuse_no_seed
from toolkit.console.config_help import told_clearly
from toolkit.console.named_files import named_file, names_in
from toolkit.errors import UserError
from toolkit.metrics import CUTOFFS, METRICS
from toolkit.settings import refuse_other_shape
from toolkit.yaml_files import read_yaml

STUDIES = PRESETS / "studies"
# Settings that the study makes equal for all methods, or sets for each run.
SET_BY_STUDY = ("data", "output", "resume", "protocol", "train.epochs", "train.patience", "train.evaluate_every",
                 "train.max_seconds", "train.select_by", "train.seed", "train.test")  # fmt: skip


def studies() -> list[str]:
    """Names of the studies that come with Versa."""
    return names_in(STUDIES)


def read_plan(name: str | Path) -> Plan:
    """Reads the plan of a study and checks every setting of every method, before anything is trained.

    Args:
        name: YAML file, or the name of a study that comes with Versa.

    Raises:
        UserError: if the file is invalid; if a setting is unknown or has a wrong value; or if a method would have
            another budget than the others.
    """
    path = named_file(str(name), STUDIES, noun="study that comes with Versa", plural="studies")
    plan = _parsed(path)
    check_plan(plan, where=path)
    return plan


def check_plan(plan: Plan, *, where: str | Path) -> None:
    """Checks every value and every method of a plan.

    Args:
        plan: the plan.
        where: its file or command, for messages.

    Raises:
        UserError: see `read_plan`.
    """
    _check_values(plan, where)
    for method in plan.methods:
        _check_method(plan, method, where)


def _parsed(path: Path) -> Plan:
    """The plan of a file, with values of the right types; `settings` and `search` are taken as they are."""
    values = read_yaml(path)
    refuse_other_shape(values, Plan, where=path)
    methods = {
        str(name): dict(method or {}) for name, method in (values.get("methods") or {}).items()
    }
    free = {name: {key: method.pop(key, None) or {} for key in ("settings", "search")}
            for name, method in methods.items()}  # fmt: skip
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Plan)
    try:
        parsed = parser.instantiate(parser.parse_object({**values, "methods": methods})).as_dict()
    except (ArgumentError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {told_clearly(error, '')}; correct the study") from None
    plan = Plan(**parsed)
    for name, parts in free.items():
        for key, settings in parts.items():
            if not isinstance(settings, dict):
                raise UserError(f"{path}: methods.{name}.{key}: expected keys and values")
        plan.methods[name] = Method(
            plan.methods[name].config, _flat(parts["settings"]), _flat_search(parts["search"])
        )
    return plan


def _flat(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    """Settings by dotted key; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{lead}{key}.")
        else:
            found[f"{lead}{key}"] = value
    return found


def _flat_search(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    """A search space by dotted key; a mapping with `low` is a range."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and "low" not in value:
            found |= _flat_search(value, f"{lead}{key}.")
        else:
            found[f"{lead}{key}"] = value
    return found


def _check_values(plan: Plan, path: str | Path) -> None:
    known = [f"{name}@{cutoff}" for name in METRICS for cutoff in CUTOFFS]
    try:
        names = plan.protocol_names
    except UserError as error:
        raise UserError(f"{path}: protocols: {error}") from None
    problems = {
        "datasets: name at least one": not plan.datasets,
        "methods: name at least one": not plan.methods,
        "protocols: name at least one, each once": not _distinct(names),
        "seeds: name at least one, each once": not _distinct(plan.seeds),
        f"metric {plan.metric}: unknown; known: {', '.join(known)}": plan.metric not in known,
        f"trials is {plan.trials}; it must be at least 1": plan.trials < 1,
        f"seconds is {plan.seconds:g}; it must be at least 0": plan.seconds < 0,
    }
    for message, holds in problems.items():
        if holds:
            raise UserError(f"{path}: {message}")
    for seed in plan.seeds:
        refuse_no_seed({"a seed": seed}, "a seed", lead=f"{path}: seeds: ")
    for name in [*plan.datasets, *plan.methods]:
        if not name or name != Path(name).name or name.startswith("."):
            raise UserError(
                f"{path}: {name!r}: the name becomes that of a folder; use letters, digits and -"
            )


def _distinct(values: list[Any]) -> bool:
    return bool(values) and len(set(values)) == len(values)


def _check_method(plan: Plan, name: str, path: str | Path) -> None:
    method, where = plan.methods[name], f"{path}: methods.{name}"
    for key in (*method.settings, *method.search):
        fixed = [own for own in SET_BY_STUDY if key == own or own.startswith(f"{key}.")]
        if fixed:
            raise UserError(
                f"{where}: {key}: the study sets {fixed[0]} for all methods, so that their budgets are equal; leave it out"
            )
        if key in method.settings and key in method.search:
            raise UserError(f"{where}: {key}: both in settings and in search; leave out one")
    for key, values in method.search.items():
        _check_values_of(values, f"{where}.search.{key}")
    for settings in _one_by_one(plan.space(name)):
        words = [*plan.words(name, settings), "--data=DATASET", "--output=RUN"]
        try:
            parse_run_config(words)
        except UserError as error:
            shown = f" with {settings}" if settings else ""
            raise UserError(f"{where}{shown}: {error}") from None


def _check_values_of(values: Any, where: str) -> None:
    if isinstance(values, list) and values:
        return
    numbers = isinstance(values, dict) and {"low", "high"} <= values.keys() <= {
        "low",
        "high",
        "log",
        "int",
    }
    if not numbers or not all(type(values[key]) in (int, float) for key in ("low", "high")):
        raise UserError(
            f"{where}: expected a list of choices, or low and high, and perhaps log and int"
        )
    for key in ("log", "int"):
        if type(values.get(key, False)) is not bool:
            raise UserError(f"{where}: {key} is {values[key]!r}; expected true or false")
    span = Range(**values)
    if span.low >= span.high or (span.log and span.low <= 0):
        raise UserError(f"{where}: low must be below high, and above 0 on a logarithmic scale")
    if span.int and not (float(span.low).is_integer() and float(span.high).is_integer()):
        raise UserError(f"{where}: low and high must be whole numbers with int")


def _one_by_one(space: Space) -> Iterator[dict[str, Any]]:
    """Settings that hold every choice and every end of a range at least once."""
    ends = {key: [v.low, v.high] if isinstance(v, Range) else v for key, v in space.items()}
    ends = {
        key: [int(v) for v in values] if _whole(space[key]) else values
        for key, values in ends.items()
    }
    for turn in range(max(map(len, ends.values()), default=1)):
        yield {key: values[turn % len(values)] for key, values in ends.items()}


def _whole(values: "list[Any] | Range") -> bool:
    return isinstance(values, Range) and values.int
