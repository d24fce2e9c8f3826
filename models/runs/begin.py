"""Starts or resumes a run: one process locks the run folder and checks that the settings fit it.

Any trainer can use it: settings are plain mappings, and the trainer supplies the function that reads those of an
existing run.
"""

import shutil
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from models.runs.environment import describe_machine, now
from models.runs.folder import CONFIG, ENVIRONMENT, MODEL, read_environment
from models.training.checkpoints import FOLDER as CHECKPOINTS
from models.training.checkpoints import Place
from models.training.log import flat
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.json_files import write_json
from toolkit.lock import LOCKS, locked

_LEFTOVERS = ".*.tmp"  # partial files of a killed process
_CALL_ONLY = {"resume", "output"}  # arguments of one call, not settings of the run

Settings = Mapping[str, Any]
ReadSettings = Callable[[Path], Settings]


@dataclass(frozen=True)
class Beginning:
    """How a run begins.

    Args:
        is_new: whether the run starts from scratch.
        changed: old and new value of each setting that a resumed run changes, by flat key.
    """

    is_new: bool
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def begin(
    output: Path,
    held: ExitStack,
    *,
    settings: Settings,
    read_settings: ReadSettings,
    free_to_change: Set[str],
    resume: bool,
    processes: int,
) -> Beginning:
    """Locks the run folder for this process and checks that the run can start or resume there.

    Only the main process calls it (`models.machine.parallel.decided_by_first`).

    Args:
        output: run folder.
        held: exit stack that releases the lock.
        settings: settings of this call, nested or flat (`dataclasses.asdict`).
        read_settings: reads the settings of an existing run from its folder, in the same shape.
        free_to_change: flat keys (`train.patience`) that a resumed run may change, because no finished step depends
            on them.
        resume: whether to resume a run in the folder.
        processes: number of processes that train.

    Raises:
        UserError: if another process trains in the folder; if the folder is not empty and `resume` is false, or it
            holds no run; or if settings differ that a resumed run must keep.
    """
    held.enter_context(locked(output, "training"))
    held.callback(_remove_unused_lock, output)
    beginning = Beginning(is_new=True)
    if _has_begun(output, resume=resume):
        changed = _changes(read_settings(output), settings)
        _refuse_changes(output, changed, free_to_change)
        _refuse_other_processes(output, processes)
        beginning = Beginning(is_new=False, changed=changed)
    for folder in (output, output / MODEL, output / CHECKPOINTS):
        for leftover in folder.glob(_LEFTOVERS):  # safe: the lock excludes other writers
            leftover.unlink()
    return beginning


def record_beginning(
    beginning: Beginning,
    output: Path,
    accelerator: Accelerator,
    place: Place,
    *,
    config_text: str,
    describe: Callable[[], dict[str, Any]],
) -> None:
    """Records the start or resumption of a run; only the main process writes.

    For a new run it writes config.yaml first and environment.json last; the second file marks the run as started. For a
    resumed run it appends the time, checkpoint position, machine and changed settings to `resumed` in environment.json,
    and replaces config.yaml if a setting changed.

    Args:
        beginning: from `begin`.
        output: run folder.
        accelerator: accelerator of the run.
        place: checkpoint position at which training starts.
        config_text: content of config.yaml, in the form that `read_settings` reads.
        describe: returns the content of environment.json (`models.runs.environment.describe_environment`); called for
            a new run only.
    """
    if not accelerator.is_main_process:
        return
    if beginning.is_new or beginning.changed:
        write_atomically(output / CONFIG, lambda file: file.write(config_text.encode()))
    if beginning.is_new:
        write_json(output / ENVIRONMENT, describe())
        return
    environment = read_environment(output)
    entry = {"when": now(), "step": place.step, "epoch": place.epoch, "changed": beginning.changed}
    resumed = [*environment.get("resumed", []), {**entry, **describe_machine(accelerator)}]
    write_json(output / ENVIRONMENT, {**environment, "resumed": resumed})


def _has_begun(output: Path, *, resume: bool) -> bool:
    """Whether the folder holds a run that has started, which environment.json marks.

    Raises:
        UserError: if the folder is not empty and `resume` is false, or if it holds no run.
    """
    present = [
        path for path in output.glob("*") if path.name != LOCKS and not path.match(_LEFTOVERS)
    ]
    if not present:
        return False
    if not resume:
        raise UserError(
            f"--output {output}: the folder is not empty; choose another folder, delete this one, or continue its run "
            "with --resume"
        )
    if not (output / CONFIG).exists():
        raise UserError(
            f"--output {output}: --resume found no run, because the folder has no {CONFIG}; choose the folder of a run, "
            "or leave out --resume and choose an empty folder"
        )
    if not (output / ENVIRONMENT).exists():
        _refuse_lost_environment(output)
        return False
    return True


def _changes(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:
    """Old and new value of each setting that differs, sorted by key."""
    old, new = flat(before), flat(now)
    keys = sorted({*old, *new} - _CALL_ONLY)
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _refuse_changes(
    output: Path, changed: Mapping[str, tuple[Any, Any]], free_to_change: Set[str]
) -> None:
    for key, (old, new) in changed.items():
        if key not in free_to_change:
            raise UserError(
                f"{output}: the run started with {key} = {old}, but this call sets {key} = {new}; restore the value, or "
                "start a new run in another folder"
            )


def _refuse_other_processes(output: Path, processes: int) -> None:
    before = read_environment(output).get("processes", processes)
    if before != processes:
        raise UserError(
            f"{output}: the run started with {before} processes, but this launch has {processes}; launch {before} "
            "processes, or start a new run in another folder"
        )


def _refuse_lost_environment(output: Path) -> None:
    """Refuses a folder with checkpoints but without environment.json, which is written before any checkpoint."""
    if any((output / CHECKPOINTS).glob("*.safetensors")):
        raise UserError(
            f"{output}: {ENVIRONMENT} is missing, so the dataset of the run cannot be checked; restore the file, or "
            "start a new run in another folder"
        )


def _remove_unused_lock(output: Path) -> None:
    """Removes the lock files if no run has started. The caller holds the lock."""
    if not (output / CONFIG).exists():
        shutil.rmtree(output / LOCKS)
        if not any(output.iterdir()):
            output.rmdir()
