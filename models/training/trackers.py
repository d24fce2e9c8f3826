"""Who follows a run beside its log.jsonl: TensorBoard, Weights & Biases and whoever else Accelerate knows by name.

log.jsonl is the record, and a tracker is told what stands in it. A resumed run begins its trackers anew and tells
them the record from its first line: so each has every step once, whenever the run before was stopped.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from models.config import RunConfig
from models.training.log import RunLog, flat
from toolkit.errors import UserError

PROJECT = "versa"
FOLDER = "trackers"  # of a run, for those that keep files


def tracker_options(names: Sequence[str], output: Path) -> dict[str, Any]:
    """What `Accelerator` is told of a run's trackers.

    Args:
        names: of trackers.
        output: run folder.

    Raises:
        UserError: if Accelerate does not know one of them, or it is not installed.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(
                f"train.trackers names {name!r}; known are {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}, and [] "
                "for none"
            )
        if name not in installed and name in LoggerType.list():  # others somebody has registered
            raise UserError(
                f"train.trackers names {name}, which is not installed: pip install {name.replace('_', '-')}, or "
                "leave it out (--train.trackers '[]' for none)"
            )
    return {"log_with": list(names), "project_dir": str(output / FOLDER)} if names else {}


def start_trackers(accelerator: Accelerator, config: RunConfig, output: Path, log: RunLog) -> None:
    """Begins the run's trackers in the main process, and has them told what stands in the log and what will."""
    if not (accelerator.is_main_process and config.train.trackers):
        return
    shutil.rmtree(output / FOLDER, ignore_errors=True)
    accelerator.init_trackers(
        PROJECT,
        config={key: _plain(value) for key, value in flat(asdict(config)).items()},
        init_kwargs={"wandb": {"name": output.name}},
    )
    log.follow(lambda entry: _tell(accelerator, entry))


def _tell(accelerator: Accelerator, entry: dict[str, Any]) -> None:
    """The numbers of a line of the log, at its step; a line of the run's end has none."""
    if "step" in entry:
        numbers = {
            key.replace("@", "_"): value  # not all take an @ in a name
            for key, value in flat(entry, between="/").items()
            if key not in ("step", "seconds")
        }
        accelerator.log(numbers, step=entry["step"])


def _plain(value: Any) -> bool | int | float | str:
    """What every tracker can write down."""
    return value if isinstance(value, bool | int | float | str) else str(value)
