"""How a run begins: one process has its folder, which is new, or holds the run that is to be resumed."""

import shutil
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from models.config import RunConfig, load_run_config, save_run_config
from models.inputs.features import Features
from models.runs.environment import describe_environment, describe_machine, now
from models.runs.files import CONFIG, ENVIRONMENT, MODEL, read_environment
from models.training.checkpoints import FOLDER as CHECKPOINTS
from models.training.checkpoints import Place
from models.training.log import flat
from toolkit.atomic import write_atomically
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.json_files import write_json
from toolkit.lock import LOCKS, locked

_LEFTOVERS = ".*.tmp"  # what a kill leaves of a file that was being written

# What a resumed run may ask for otherwise than it was begun: none of it changes a step that is done.
_OF_A_CALL = {"resume", "output"}  # how a run is called says nothing of the run
FREE_TO_CHANGE = {"data", "train.log_every_steps", "train.checkpoint_every_steps",
                  "train.keep_checkpoints", "train.patience", "train.trackers", "residency.place", "residency.device_gib",
                  "residency.host_gib"}  # fmt: skip


def begin(config: RunConfig, output: Path, held: ExitStack, *, processes: int) -> bool:
    """Takes a run's folder for this process alone, and says whether nothing has been trained in it yet.

    Only the main process calls it.

    Args:
        config: settled.
        output: run folder.
        held: keeps the folder's lock until it is closed.
        processes: how many train.

    Raises:
        UserError: if another process trains in the folder, it holds a run that is not to be resumed or something
            else, or what is asked is not what was begun.
    """
    held.enter_context(locked(output, "training"))
    held.callback(_leave_no_trace, output)
    is_new = refuse_other_run(config, output)
    if not is_new:
        _refuse_other_processes(output, processes)
    for folder in (output, output / MODEL, output / CHECKPOINTS):
        for leftover in folder.glob(
            _LEFTOVERS
        ):  # of a process that was killed: nobody else writes here
            leftover.unlink()
    return is_new


def _refuse_other_processes(output: Path, processes: int) -> None:
    before = read_environment(output).get("processes", processes)
    if before != processes:
        raise UserError(
            f"{output} was begun with {before} processes, and now there are {processes}; launch as many, or start "
            "afresh in another folder"
        )


def _leave_no_trace(output: Path) -> None:
    """Where no run was begun, takes the lock's files away again, while it is held."""
    if not (output / CONFIG).exists():
        shutil.rmtree(output / LOCKS)
        if not any(output.iterdir()):
            output.rmdir()


def record_beginning(
    config: RunConfig,
    output: Path,
    accelerator: Accelerator,
    dataset: Dataset,
    features: Features,
    place: Place,
    *,
    is_new: bool,
) -> None:
    """Writes down what a run begins, or goes on, with; only the main process does.

    A new run's settings come first and its environment last: with that it has begun. Where it is resumed,
    environment.json has under `resumed` when, where and on what, and what is asked for otherwise than before, and
    config.yaml says from then on what is in force.
    """
    if not accelerator.is_main_process:
        return
    if is_new:
        _write_config(config, output)
        about = describe_environment(config, accelerator, dataset, features)
        write_json(output / ENVIRONMENT, about)
        return
    environment, changed = read_environment(output), changes_since(output, config)
    entry = {"when": now(), "step": place.step, "epoch": place.epoch, "changed": changed}
    resumed = [*environment.get("resumed", []), {**entry, **describe_machine(accelerator)}]
    write_json(output / ENVIRONMENT, {**environment, "resumed": resumed})
    if changed:
        _write_config(config, output)


def _write_config(config: RunConfig, output: Path) -> None:
    text = save_run_config(config)
    write_atomically(output / CONFIG, lambda file: file.write(text.encode()))


def refuse_other_run(config: RunConfig, output: Path) -> bool:
    """Whether the output holds no run that has begun: one without environment.json has not.

    Raises:
        UserError: if it holds one and is not to be resumed, or what is asked is not what was begun.
    """
    found = [path for path in output.glob("*") if path.name != LOCKS and not path.match(_LEFTOVERS)]
    if not found:
        return True
    if not config.resume:
        raise UserError(
            f"--output {output}: not empty; choose another folder, remove it first, or go on with --resume"
        )
    if not (output / CONFIG).exists():
        raise UserError(f"--output {output}: no {CONFIG} here, so this is no run to resume")
    if not (output / ENVIRONMENT).exists():
        _refuse_lost_environment(output)
        return True
    for key, (old, new) in changes_since(output, config).items():
        if key not in _free(config):
            raise UserError(
                f"{output} was begun with {key} = {old}, and now {key} = {new} is asked "
                "for; set it back, or start afresh in another folder"
            )
    return False


def changes_since(output: Path, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """What a run is asked for now otherwise than before: the old and the new value by key, in the order of keys."""
    before = flat(asdict(load_run_config(output / CONFIG)))
    # Older Versas wrote the config's precision there, and only here the launcher's, which was used.
    before["train.mixed_precision"] = read_environment(output).get(
        "mixed_precision", before["train.mixed_precision"]
    )
    now = flat(asdict(config))
    keys = sorted({*before, *now} - _OF_A_CALL)
    return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}


def _free(config: RunConfig) -> set[str]:
    """What may change: of the learning rates, only constant ones do not depend on the number of epochs."""
    return FREE_TO_CHANGE | ({"train.epochs"} if config.train.schedule == "constant" else set())


def _refuse_lost_environment(output: Path) -> None:
    """A run that was killed before environment.json was written has no checkpoint either."""
    if any((output / CHECKPOINTS).glob("*.safetensors")):
        raise UserError(
            f"{output}: {ENVIRONMENT} is gone, so it is not known what the run was trained on; restore the file, or "
            "start afresh in another folder"
        )
