"""Experiment trackers beside log.jsonl: TensorBoard, Weights & Biases and the others that Accelerate knows by name.

log.jsonl is the record, and trackers receive its lines. A resumed run starts its trackers afresh and replays the log
to them from the first line. So each tracker has every step once, whenever the run before was stopped.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from models.training.log import RunLog, flat
from toolkit.errors import UserError

PROJECT = "versa"
FOLDER = "trackers"  # of a run, for those that keep files


def tracker_options(names: Sequence[str], output: Path) -> dict[str, Any]:
    """The arguments of `Accelerator` for a run's trackers.

    Args:
        names: of trackers.
        output: run folder.

    Raises:
        UserError: if Accelerate does not know a tracker, or it is not installed.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(
                f"train.trackers names {name!r}; known are {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}, and [] "
                "for none"
            )
        if name not in installed and name in LoggerType.list():  # others are third parties' own
            raise UserError(
                f"train.trackers names {name}, which is not installed: pip install {name.replace('_', '-')}, or "
                "leave it out (--train.trackers '[]' for none)"
            )
    return {"log_with": list(names), "project_dir": str(output / FOLDER)} if names else {}


def start_trackers(
    accelerator: Accelerator,
    names: Sequence[str],
    output: Path,
    log: RunLog,
    settings: Mapping[str, Any],
) -> None:
    """Starts a run's trackers in the main process: they receive the log's lines, those already written first.

    Args:
        accelerator: made with `tracker_options` of the same names.
        names: of trackers; none are started where there are none.
        output: run folder.
        log: of the run.
        settings: of the run, nested or flat; trackers show them beside the curves.
    """
    if not (accelerator.is_main_process and names):
        return
    shutil.rmtree(output / FOLDER, ignore_errors=True)
    accelerator.init_trackers(
        PROJECT,
        config={key: _plain(value) for key, value in flat(settings).items()},
        init_kwargs={"wandb": {"name": output.name}},
    )
    log.follow(lambda entry: _send(accelerator, entry))


def _send(accelerator: Accelerator, entry: dict[str, Any]) -> None:
    """Sends the numbers of a line of the log, at its step; the lines at the run's end have no step."""
    if "step" in entry:
        numbers = {
            key.replace("@", "_"): value  # not all trackers allow an @ in a name
            for key, value in flat(entry, separator="/").items()
            if key not in ("step", "seconds")
        }
        accelerator.log(numbers, step=entry["step"])


def _plain(value: Any) -> bool | int | float | str:
    """A value as every tracker can store it."""
    return value if isinstance(value, bool | int | float | str) else str(value)
