"""Refuses that a file chooses servers which receive logs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import UserError

LOCAL = ("tensorboard",)  # trackers that only write local files


def refuse_remote_trackers(
    values: Mapping[str, Any], options: Sequence[str], *, where: Path
) -> None:
    """Refuses a run's record that names trackers on a server, unless the command line sets the trackers.

    A run's config.yaml may come from somebody else, so only the user may choose servers that receive logs.

    Args:
        values: content of the file.
        options: the words of the command line.
        where: the file.

    Raises:
        UserError: with the option that allows or disables the trackers.
    """
    if any(option.partition("=")[0] == "--train.trackers" for option in options):
        return
    settings = values.get("train")
    trackers = settings.get("trackers") if isinstance(settings, dict) else None
    remote = [name for name in trackers if name not in LOCAL] if isinstance(trackers, list) else []
    if {"format", "resume"} & values.keys() and remote:  # older records have no format number
        raise UserError(
            f"--config {where}: a run's record, whose train.trackers is {trackers}, would send logs to a server; type "
            f"--train.trackers '{trackers}' to allow it, or --train.trackers '[]' to disable it"
        )
