"""The reproducibility checklist of a study: what reviewers ask, answered from records only."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.runs.identity import INTERACTIONS, ITEMS
from models.study.plan import Plan, Range
from toolkit.measures import number
from toolkit.own_protocols import as_protocol

NOT_RECORDED = "not recorded"
_BUDGET = ("trials", "epochs", "seconds", "patience")


def checklist(
    plan: Plan,
    record: Mapping[str, Any],
    results: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:
    """Questions with answers, in the order of a paper.

    Args:
        plan: plan of the study.
        record: contents of `study.json`.
        results: the results so far.
        environments: environment.json of the tested runs.
    """
    answers = {
        "Are the data identified?": _data(record),
        "How are the data split?": "; ".join(
            f"{split}, for the protocols {', '.join(map(str, protocols))}: trained on interactions "
            f"{protocols[0].split.trained_on}, tested on {protocols[0].split.targets_are['test']}"
            for split, protocols in plan.splits().items()
        ),
        "What is ranked, and what is masked?": "; ".join(
            f"{protocol}: {protocol.about}" for protocol in map(as_protocol, plan.protocols)
        ),
        "Which methods are compared, and which is the baseline?": f"{', '.join(plan.methods)}; the baseline is "
        f"{next(iter(plan.methods))}",
        "Was the plan fixed before the results?": _amendments(record),
        "Do all methods have the same budget?": _budget(plan, record),
        "What was searched, and how?": f"{_spaces(plan)}; sampler {plan.sampler}, seed {plan.search_seed}",
        "What selects settings and epochs?": f"{plan.metric} on the validation split, under the first protocol of each "
        "split",
        "How often was the test split read?": "once per selected run and protocol, after the selection; never for other "
        "trials",
        "How many seeds?": f"{len(plan.seeds)} ({', '.join(map(str, plan.seeds))}); trials have the first",
        "How are differences tested?": "paired sign-flip test over users of a user's mean over seeds, against the baseline, "
        "with Holm's correction; 95% intervals over users",
        "Did runs fail?": _failures(results),
        "Which versions?": _distinct(environments, _versions),
        "Which machine?": _distinct(environments, _machine),
        "Which version of the code?": _distinct(environments, lambda e: e.get("git_commit")),
    }
    return [{"item": item, "answer": answer or NOT_RECORDED} for item, answer in answers.items()]


def _data(record: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: SHA-256 of items {data[ITEMS][:16]}…, of interactions {data[INTERACTIONS][:16]}…"
        for name, data in record["datasets"].items()
    )


def _amendments(record: Mapping[str, Any]) -> str:
    if not record["amendments"]:
        return f"yes, on {record['started']}, SHA-256 {record['hash']}"
    changed = [
        f"{entry['when']} after {entry['results']} results: {', '.join(entry['changed'])}"
        for entry in record["amendments"]
    ]
    return f"no, it was amended: {'; '.join(changed)}"


def _budget(plan: Plan, record: Mapping[str, Any]) -> str:
    seconds = f"{plan.seconds:g} seconds of training" if plan.seconds else "no limit of seconds"
    amended = {key for entry in record["amendments"] for key in entry["changed"]} & {*_BUDGET}
    answer = f"not for all runs, because {', '.join(sorted(amended))} changed" if amended else "yes"
    return (
        f"{answer}: at most {number(plan.trials, 'trial')} per split; {number(plan.epochs, 'epoch')} and {seconds} per run, "
        f"patience {plan.patience}; "
        "fewer trials only where the search space holds fewer settings"
    )


def _spaces(plan: Plan) -> str:
    spaces = []
    for name in plan.methods:
        keys = [f"{key} {_values(values)}" for key, values in plan.space(name).items()]
        spaces.append(f"{name}: {', '.join(keys) or 'nothing'}")
    return "; ".join(spaces)


def _values(values: "list[Any] | Range") -> str:
    """The choices of a key, or the ends of a range with its scale."""
    if not isinstance(values, Range):
        return " or ".join(map(str, values))
    return f"from {values.low:g} to {values.high:g}{' (logarithmic)' if values.log else ''}"


def _failures(results: Mapping[str, Any]) -> str:
    failed = [
        f"{name} on {dataset} (trial {trial['number']}: {trial['message']})"
        for dataset, block in results["datasets"].items()
        for name, method in block["methods"].items()
        for trial in method["trials"]
        if trial["status"] == "failed"
    ]
    return "; ".join(failed) if failed else "no"


def _versions(environment: Mapping[str, Any]) -> str:
    versions = {"python": environment.get("python"), **environment.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _machine(environment: Mapping[str, Any]) -> str:
    known = {
        key: environment.get(key) for key in ("device", "processes", "threads", "mixed_precision")
    }
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in known.items() if value)


def _distinct(environments: Sequence[Mapping[str, Any]], describe: Any) -> str:
    """Every distinct answer of the runs, in their order."""
    found = dict.fromkeys(describe(environment) or NOT_RECORDED for environment in environments)
    return "; ".join(found)
