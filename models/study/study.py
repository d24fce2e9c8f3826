"""Runs a study: `python -m models study STUDY.yaml --output STUDY`.

Reads top to bottom: the plan, which is fixed first; the trials of every method; the selected settings with every seed; the
test under every protocol; and the results.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from models.machine.parallel import is_launched
from models.study.executors import Executor, executing
from models.study.fixing import fix, refuse_foreign_folder
from models.study.page import render
from models.study.plan import Plan
from models.study.proposals import import_optuna, needs_optuna
from models.study.reading import check_plan, read_plan
from models.study.results import collect
from models.study.schedule import arms_of, run_all
from models.study.tables import latex, markdown
from toolkit.arguments import a_path, whole_number
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.json_files import write_json
from toolkit.lock import locked

RESULTS, PAGE, MARKDOWN, LATEX = "results.json", "report.html", "results.md", "results.tex"
_LOCK_SECONDS = 10.0  # of a killed study, whose process may still be ending


def study(
    plan: str | Path | Plan,
    output: str | Path,
    *,
    jobs: int = 0,
    executor: Literal["processes", "ray"] = "processes",
    address: str | None = None,
    gpus_per_trial: float = 0.0,
    amend: bool = False,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Compares methods with equal budgets, as one file fixes them before the first result.

    For each dataset, each split and each method: trials with the first seed; the settings with the best validation metric
    with every seed; and the test of these runs under each protocol of the split. A killed study continues with the same
    call. Runs that ended are not repeated, and runs that did not continue from their checkpoint.

    In several processes of a launcher, all of which call this, each run trains in all of them, one run after the other.

    Args:
        plan: YAML file, or the name of a study that comes with Versa; or its content.
        output: folder of the study: `study.json`, `runs/`, `results.json`, `results.md`, `results.tex`, `report.html`.
        jobs: number of runs at the same time; 0 for one process, or for all of a cluster.
        executor: `processes` of this machine, or tasks of a Ray cluster.
        address: address of a running Ray cluster; by default one is started on this machine.
        gpus_per_trial: GPUs, or a fraction of one, per task of a cluster.
        amend: continue although the plan has changed after the first result, which the results will state.
        report: receives a line per finished run.

    Returns:
        The contents of `results.json`.

    Raises:
        UserError: if the plan is invalid or has changed, another process runs the study, or a dataset has changed.
    """
    output, jobs = a_path(output, name="output"), whole_number(jobs, name="jobs", least=0)
    read = _checked(plan) if isinstance(plan, Plan) else read_plan(plan)
    _refuse_unneeded(executor, address, gpus_per_trial)
    if any(needs_optuna(read.space(name), read.trials) for name in read.methods):
        import_optuna()
    if is_launched():
        from models.study.together import lead  # imports Accelerate

        _refuse_launched(executor, jobs)
        return lead(
            lambda running: _run(read, output, nullcontext(running), amend, report), read.metric
        )
    options: dict[str, Any] = {"address": address, "gpus_per_trial": gpus_per_trial}
    running = executing(executor, jobs=jobs, metric=read.metric, **options)
    return _run(read, output, running, amend, report)


def _run(
    plan: Plan,
    output: Path,
    executor: AbstractContextManager[Executor],
    amend: bool,
    report: Callable[[str], None],
) -> dict[str, Any]:
    refuse_foreign_folder(output)
    with locked(output, "study", wait_seconds=_LOCK_SECONDS):
        record = fix(plan, output, amend=amend)
        arms = arms_of(plan, output)
        with executor as running:
            run_all(arms, running, report)
        results = collect(plan, record, arms)
        _write(output, results)
    return results


def _write(output: Path, results: dict[str, Any]) -> None:
    texts = {
        MARKDOWN: markdown(results),
        LATEX: latex(results),
        PAGE: render(results),
    }
    for name, text in texts.items():
        content = f"{text}\n".encode()
        write_atomically(output / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
    write_json(output / RESULTS, results)


def _checked(plan: Plan) -> Plan:
    check_plan(plan, where="plan")
    return plan


def _refuse_launched(executor: str, jobs: int) -> None:
    if executor != "processes" or jobs > 1:
        asked = f"--executor {executor}" if executor != "processes" else f"--jobs {jobs}"
        raise UserError(
            f"{asked}: the launcher started several processes, which train every run together; leave the option out, or "
            "start the study with python -m"
        )


def _refuse_unneeded(executor: str, address: str | None, gpus_per_trial: float) -> None:
    options = {"--address": address, "--gpus-per-trial": gpus_per_trial}
    needless = [name for name, value in options.items() if value]
    if executor != "ray" and needless:
        raise UserError(
            f"{needless[0]} requires --executor ray; add it, or leave out {needless[0]}"
        )
