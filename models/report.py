"""Reports metrics, costs and recommendations of runs on one page: `python -m models report RUN … --output report.html`.

Facts are collected run by run, so that only one model is in memory at a time. The page is a pure function of the facts
and the covers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluate import Split
from models.reporting.costs import read_costs
from models.reporting.covers import small_covers
from models.reporting.gallery import (
    Scene,
    choose_users,
    describe_items,
    describe_users,
    items_of,
)
from models.reporting.groups import Group, group_runs
from models.reporting.lists import refuse_other_users, top_k_lists, whole_histories
from models.reporting.page import render
from models.reporting.runs import describe_run
from models.results.evaluations import Evaluated, read_evaluation, run_names
from models.runs.files import read_run_config
from models.runs.run import load_own
from toolkit.arguments import a_path, paths, refuse_one_file, refuse_twice, whole_number
from toolkit.atomic import write_atomically
from toolkit.console.progress import track
from toolkit.errors import UserError
from toolkit.histories import Ints
from toolkit.own_protocols import ProtocolLike

REPORT_VERSION = 1
USERS = 12
Covers = list[dict[str, bytes]]  # per group, JPEG by item number


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path,
    split: Split = "test",
    protocol: ProtocolLike | None = None,
    costs: str | Path | None = None,
    users: int = USERS,
    data: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Writes a self-contained HTML page about runs, which needs no network and no other files.

    Metrics and ranks are read from the files of `evaluate`; targets are not ranked again. The top-k lists are computed
    for each user of the split, from the history before the target.

    Args:
        runs: run folders, the baseline first.
        output: page to write.
        split: `valid` or `test`.
        protocol: protocol of the evaluations; each run's own by default.
        costs: file from `models efficiency --output`, to include its costs.
        users: number of users in the gallery.
        data: the current path of the runs' dataset, if it has moved.
        device: device of the computation.
        progress: whether to draw a progress bar.

    Returns:
        The facts of the page, JSON-serialisable.

    Raises:
        UserError: if a run has no such evaluation, its dataset has changed, the file of costs contains none of these
            runs, or `users` or `output` is invalid.
    """
    folders, output = paths(runs, name="runs"), a_path(output, name="output")
    users = whole_number(users, name="users", least=None)
    _check_arguments(folders, output, users)
    refuse_one_file({"--costs": costs, "--output": output})
    run_costs = [] if costs is None else read_costs(a_path(costs, name="costs"), folders)
    facts, covers = collect(
        folders,
        split=split,
        protocol=protocol,
        users=users,
        data=data,
        device=device,
        progress=progress,
    )
    facts = {**facts, "costs": run_costs}
    page = render(facts, covers).encode()
    write_atomically(output, lambda file: file.write(page))
    return facts


def collect(
    folders: list[Path],
    *,
    split: Split,
    protocol: ProtocolLike | None,
    users: int,
    data: str | Path | None,
    device: str,
    progress: bool,
) -> tuple[dict[str, Any], Covers]:
    """All facts of the page except costs, and the covers of the gallery's items."""
    evaluations = [read_evaluation(path, split, protocol) for path in folders]
    groups = group_runs(evaluations)
    first_runs = {group.runs[0] for group in groups}
    names = run_names(folders)
    runs: list[dict[str, Any]] = []
    lists: list[Ints] = []
    scenes: dict[int, Scene] = {}
    for index, path in enumerate(track(folders, "report", enabled=progress)):
        trained = load_own(path, data=data, device=device)
        evaluation = whole_histories(trained, evaluations[index])
        targets = evaluation.targets
        refuse_other_users(trained, evaluations[index], evaluation)
        lists.append(top_k_lists(trained, evaluation))
        runs.append(describe_run(names[index], trained, evaluations[index], targets, lists[-1]))
        if index in first_runs:
            splits = trained.splits
            scenes[index] = Scene(trained.dataset, evaluation, splits.train_counts)
    described = [
        _describe_group(group, scenes[group.runs[0]], evaluations, lists, users) for group in groups
    ]
    facts = {
        "report_version": REPORT_VERSION,
        "split": split,
        "runs": runs,
        "groups": [group for group, _ in described],
    }
    return facts, [covers for _, covers in described]


def _describe_group(
    group: Group, scene: Scene, evaluations: list[Evaluated], lists: list[Ints], users: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The facts of a group: its tests and its gallery. Also the covers of the gallery's items."""
    ranks = {run: np.asarray(evaluations[run].ranks.column("rank")) for run in group.runs}
    gallery_users = describe_users(
        choose_users(ranks[group.runs[0]], users),
        scene,
        ranks=ranks,
        lists={run: lists[run] for run in group.runs},
    )
    numbers = items_of(gallery_users)
    tests = [run["against_first"] for run in group.comparison.as_dict()["runs"]]
    facts = {
        "runs": group.runs,
        "reason": group.reason,
        "notes": group.comparison.notes,
        "tests": tests,
        "gallery": {"users": gallery_users, "items": describe_items(scene, numbers)},
    }
    return facts, small_covers(scene.data, numbers)


def _check_arguments(runs: list[Path], output: Path, users: int) -> None:
    if not runs:
        raise UserError("no run given; give at least one run folder")
    for run in runs:
        read_run_config(run)
    refuse_twice(runs, noun="run")
    if users < 0:
        raise UserError(f"--users {users}: cannot be negative; give 0 or more")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; give a file name, such as report.html")
