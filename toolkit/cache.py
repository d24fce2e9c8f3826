"""The user's cache folder, shared by all datasets and runs; its content can be recomputed at any time."""

import os
from pathlib import Path

from toolkit.errors import UserError

FOLDER_VARIABLE = "VERSA_CACHE"


def cache_folder() -> Path:
    """$VERSA_CACHE, or `versa` in the user's cache folder (XDG Base Directory Specification).

    Raises:
        UserError: if neither variable is set and the user has no home folder.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "versa"
    except RuntimeError:  # no HOME, and no entry in the system's list of users
        raise UserError(
            f"this user has no home folder for a cache; set {FOLDER_VARIABLE} to a writable folder"
        ) from None
