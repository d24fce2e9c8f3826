"""How a run begins: one process locks its folder, which is new or holds the run to resume.

It serves any trainer: settings are plain mappings, and the trainer supplies how those of a begun run are read.
"""

import shutil
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from models.runs.environment import describe_machine, now
from models.runs.files import CONFIG, ENVIRONMENT, MODEL, read_environment
from models.training.checkpoints import FOLDER as CHECKPOINTS
from models.training.checkpoints import Place
from models.training.log import flat
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.json_files import write_json
from toolkit.lock import LOCKS, locked

_LEFTOVERS = ".*.tmp"  # files that a killed process was writing
_OF_THE_CALL = {"resume", "output"}  # how a run is called, which is no property of the run

Settings = Mapping[str, Any]
ReadSettings = Callable[[Path], Settings]


@dataclass(frozen=True)
class Beginning:
    """How a run begins.

    Args:
        is_new: whether nothing has been trained in the folder yet.
        changed: of a resumed run, the old and the new value of each setting that differs from before, by flat key.
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
    """Locks a run's folder for this process, and checks that the run may begin or resume there.

    Only the main process calls it (`models.machine.parallel.decided_by_first`).

    Args:
        output: run folder.
        held: keeps the folder's lock until it is closed.
        settings: of this call, nested or flat (`dataclasses.asdict`).
        read_settings: reads the settings of a begun run from its folder, in the same shape.
        free_to_change: flat keys (`train.patience`) that a resumed run may change, because no finished step depends
            on them.
        resume: whether a run in the folder is to be resumed.
        processes: number of processes that train.

    Raises:
        UserError: if another process trains in the folder, it holds a run that is not to be resumed or something
            else, or the settings differ from those that the run was begun with.
    """
    held.enter_context(locked(output, "training"))
    held.callback(_leave_no_trace, output)
    beginning = Beginning(is_new=True)
    if _has_begun(output, resume=resume):
        changed = _changes(read_settings(output), settings)
        _refuse_changes(output, changed, free_to_change)
        _refuse_other_processes(output, processes)
        beginning = Beginning(is_new=False, changed=changed)
    for folder in (output, output / MODEL, output / CHECKPOINTS):
        for leftover in folder.glob(_LEFTOVERS):  # no other process writes here: the lock is held
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
    """Records how a run begins or resumes; only the main process writes.

    A new run's config.yaml is written first and its environment.json last: then the run has begun. For a resumed run,
    environment.json lists under `resumed` when, where and on what machine, and which settings changed; config.yaml is
    replaced where any did.

    Args:
        beginning: from `begin`.
        output: run folder.
        accelerator: of the run.
        place: where it begins.
        config_text: config.yaml's content, which `read_settings` reads.
        describe: content of environment.json (`models.runs.environment.describe_environment`); called for a new run.
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
    """Whether the folder holds a run that has begun: a run without environment.json has not.

    Raises:
        UserError: if the folder is not empty and not to be resumed, or holds something else.
    """
    present = [
        path for path in output.glob("*") if path.name != LOCKS and not path.match(_LEFTOVERS)
    ]
    if not present:
        return False
    if not resume:
        raise UserError(
            f"--output {output}: not empty; choose another folder, remove it first, or go on with --resume"
        )
    if not (output / CONFIG).exists():
        raise UserError(f"--output {output}: no {CONFIG} here, so this is no run to resume")
    if not (output / ENVIRONMENT).exists():
        _refuse_lost_environment(output)
        return False
    return True


def _changes(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:
    """The old and the new value of each setting that differs, in the order of keys."""
    old, new = flat(before), flat(now)
    keys = sorted({*old, *new} - _OF_THE_CALL)
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _refuse_changes(
    output: Path, changed: Mapping[str, tuple[Any, Any]], free_to_change: Set[str]
) -> None:
    for key, (old, new) in changed.items():
        if key not in free_to_change:
            raise UserError(
                f"{output} was begun with {key} = {old}, and now {key} = {new} is asked "
                "for; set it back, or start afresh in another folder"
            )


def _refuse_other_processes(output: Path, processes: int) -> None:
    before = read_environment(output).get("processes", processes)
    if before != processes:
        raise UserError(
            f"{output} was begun with {before} processes, and now there are {processes}; launch as many, or start "
            "afresh in another folder"
        )


def _refuse_lost_environment(output: Path) -> None:
    """A run that was killed before environment.json was written has no checkpoint either."""
    if any((output / CHECKPOINTS).glob("*.safetensors")):
        raise UserError(
            f"{output}: {ENVIRONMENT} is gone, so it is not known what the run was trained on; restore the file, or "
            "start afresh in another folder"
        )


def _leave_no_trace(output: Path) -> None:
    """Removes the lock's files, while the lock is held, where no run has begun."""
    if not (output / CONFIG).exists():
        shutil.rmtree(output / LOCKS)
        if not any(output.iterdir()):
            output.rmdir()
