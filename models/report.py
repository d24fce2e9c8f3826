"""What runs learned, cost and recommend, as one page: `python -m models report RUN … --output report.html`.

Facts are gathered run by run, so that one model at a time is in memory; the page is a pure function of them
and of the covers it shows.
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
from models.reporting.lists import refuse_other_users, top_items, whole_histories
from models.reporting.page import render
from models.reporting.runs import describe_run
from models.results.evaluations import Evaluated, read_evaluation, run_names
from models.runs.files import read_run_config
from models.runs.run import load_own
from toolkit.arguments import a_path, paths, whole_number
from toolkit.atomic import write_atomically
from toolkit.console.progress import track
from toolkit.errors import UserError
from toolkit.splits import Ints, Protocol

REPORT_VERSION = 1
USERS = 12
Covers = list[dict[str, bytes]]  # of each group, JPEG by item number


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path,
    split: Split = "test",
    protocol: Protocol | None = None,
    costs: str | Path | None = None,
    users: int = USERS,
    data: str | Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Writes a page about runs that needs nothing else: no network, no files beside it.

    The split is read where `evaluate` wrote what it found; nothing is ranked again. What runs recommend is
    computed for every user of it, from all that came before the target.

    Args:
        runs: run folders, the baseline first.
        output: page to write.
        split: `valid` or `test`.
        protocol: what was masked; each run's own by default.
        costs: what `models efficiency --output` wrote, which is shown too.
        users: how many to show with their covers and lists.
        data: where the runs' dataset lies now, if it has moved.
        device: where to compute.
        progress: whether to draw a bar.

    Returns:
        All that the page says, as JSON can hold it.

    Raises:
        UserError: if a run has not been evaluated so, its dataset has changed, the file of costs is none of
            these runs, or `users` or `output` is no good.
    """
    folders, output = paths(runs, name="runs"), a_path(output, name="output")
    users = whole_number(users, name="users", least=None)
    _refuse_useless(folders, output, users)
    told = [] if costs is None else read_costs(a_path(costs, name="costs"), folders)
    facts, covers = collect(
        folders,
        split=split,
        protocol=protocol,
        users=users,
        data=data,
        device=device,
        progress=progress,
    )
    facts = {**facts, "costs": told}
    page = render(facts, covers).encode()
    write_atomically(output, lambda file: file.write(page))
    return facts


def collect(
    folders: list[Path],
    *,
    split: Split,
    protocol: Protocol | None,
    users: int,
    data: str | Path | None,
    device: str,
    progress: bool,
) -> tuple[dict[str, Any], Covers]:
    """Every fact of the page but for costs, and the covers of the items that it shows."""
    found = [read_evaluation(path, split, protocol) for path in folders]
    groups = group_runs(found)
    firsts = {group.runs[0] for group in groups}
    names = run_names(folders)
    described: list[dict[str, Any]] = []
    lists: list[Ints] = []
    scenes: dict[int, Scene] = {}
    for place, path in enumerate(track(folders, "report", enabled=progress)):
        trained = load_own(path, data=data, device=device)
        evaluation = whole_histories(trained, split)
        targets = evaluation.targets
        refuse_other_users(trained, found[place], targets)
        lists.append(top_items(trained, evaluation))
        described.append(describe_run(names[place], trained, found[place], targets, lists[-1]))
        if place in firsts:
            splits = trained.splits
            scenes[place] = Scene(trained.dataset, splits.user_ids, evaluation, splits.train_counts)
    shown = [_describe_group(group, scenes[group.runs[0]], found, lists, users) for group in groups]
    facts = {
        "report_version": REPORT_VERSION,
        "split": split,
        "runs": described,
        "groups": [group for group, _ in shown],
    }
    return facts, [covers for _, covers in shown]


def _describe_group(
    group: Group, scene: Scene, found: list[Evaluated], lists: list[Ints], users: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Tests between the runs of a group, and its gallery, with the covers that this shows."""
    ranks = {place: np.asarray(found[place].ranks.column("rank")) for place in group.runs}
    chosen = describe_users(
        choose_users(ranks[group.runs[0]], users),
        scene,
        ranks=ranks,
        lists={place: lists[place] for place in group.runs},
    )
    numbers = items_of(chosen)
    tests = [run["against_first"] for run in group.comparison.as_dict()["runs"]]
    facts = {
        "runs": group.runs,
        "reason": group.reason,
        "notes": group.comparison.notes,
        "tests": tests,
        "gallery": {"users": chosen, "items": describe_items(scene, numbers)},
    }
    return facts, small_covers(scene.data, numbers)


def _refuse_useless(runs: list[Path], output: Path, users: int) -> None:
    if not runs:
        raise UserError("no run given; give at least one run folder")
    for run in runs:
        read_run_config(run)
    if len({run.resolve() for run in runs}) < len(runs):
        raise UserError("a run is named twice; name each once")
    if users < 0:
        raise UserError(f"--users {users}: cannot be negative")
    if output.is_dir():
        raise UserError(
            f"--output {output}: is a folder; give the page a file name, as report.html"
        )
