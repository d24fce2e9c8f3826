"""Restricts settings from files that come with data: some keys count only if the user types them in this call.

A key is restricted if it runs code, sends data, or reads or writes files outside the data. `prep.config` declares such
keys with `users_word`. `settings_of_data` removes them from the configuration of a dump or dataset, and
`refuse_left_out` raises an error if a command needs a removed key.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, field
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.console.printable import printable
from toolkit.errors import UserError
from toolkit.settings import SHOWN, selected

_ASKS, _WHY = "asks", "why"  # keys of a field's metadata

Asks = Callable[[Any, Path], bool]


class LeftOut(NamedTuple):
    """A restricted key that a file sets.

    Args:
        key: the key with dots, such as `encode.title.trust_remote_code`.
        value: the value in the file.
        why: the effect of the value; may be empty.
    """

    key: str
    value: Any
    why: str = ""

    def __str__(self) -> str:
        value = printable(json.dumps(self.value, default=str, ensure_ascii=False), characters=SHOWN)
        return f"{self.key} = {value}" + (f" ({self.why})" if self.why else "")

    @property
    def option(self) -> str:
        """The option that sets the key, quoted for a shell."""
        value = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"--{self.key} {shlex.quote(printable(value, characters=SHOWN))}"


def users_word(default: Any, asks: Asks | None = None, *, why: str = "") -> Any:
    """A configuration field with a restricted key, which only the user can set by typing it in this call.

    Args:
        default: default value.
        asks: whether a value is restricted, given the value and the folder of the file; by default every value other
            than `default` is.
        why: the effect of another value, for the message.
    """

    def differs(value: Any, folder: Path) -> bool:
        return bool(value != default or type(value) is not type(default))

    return field(default=default, metadata={_ASKS: asks or differs, _WHY: why})


def leaves(value: Any, folder: Path) -> bool:
    """Whether a path is outside a folder, after resolving links. An empty path is inside."""
    if value is None or value == "":
        return False
    try:
        return not Path(str(value)).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # an invalid path, or a link to itself
        return True


def settings_of_data(
    values: dict[str, Any], config: type, *, where: Path
) -> tuple[dict[str, Any], list[LeftOut]]:
    """Removes the restricted keys from a configuration that came with data.

    Args:
        values: settings in the file.
        config: the dataclass of the settings.
        where: path of the file; paths inside its folder are part of the data.

    Returns:
        The remaining settings and the removed keys.

    Raises:
        UserError: if a key is unknown, or a value has another shape than the dataclass.
    """
    left_out: list[LeftOut] = []

    def keep(key: str, field: "Field[Any]", value: Any) -> bool:
        asks: Asks | None = field.metadata.get(_ASKS)
        if asks is None or not asks(value, where.parent):
            return True
        left_out.append(LeftOut(key, value, field.metadata[_WHY]))
        return False

    return selected(values, config, keep, where=where), left_out


def of_keys(left_out: Iterable[LeftOut], keys: Iterable[str]) -> list[LeftOut]:
    """The removed keys that belong to some parts of a configuration, by the first part of the key."""
    parts = set(keys)
    return [setting for setting in left_out if setting.key.partition(".")[0] in parts]


def refuse_left_out(
    left_out: Iterable[LeftOut], *, where: Path, words: Sequence[str] = (), file: bool = False
) -> None:
    """Refuses to continue without restricted keys in a file, unless the user has typed them.

    Args:
        left_out: removed keys, from `settings_of_data`.
        where: path of the file.
        words: arguments of the command line.
        file: whether `--config FILE` can allow the whole file.

    Raises:
        UserError: if a key was not typed; the message has the keys, the file, and the options that allow them.
    """
    missing = [setting for setting in left_out if not _is_typed(setting.key, words)]
    if not missing:
        return
    several = "these keys count" if len(missing) > 1 else "this key counts"
    whole = f", or, if you trust the whole file, --config {shlex.quote(str(where))}" if file else ""
    raise UserError(
        f"{where} asks for {', '.join(map(str, missing))}; "
        f"{several} only when typed in this call, because the file may come from somebody else: to allow it, add "
        f"{' '.join(setting.option for setting in missing)}{whole}"
    )


def _is_typed(key: str, arguments: Sequence[str]) -> bool:
    """Whether an option of the command line sets a key, or a part of the configuration that contains it."""
    parts = key.split(".")
    options = {"--" + ".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return any(argument.partition("=")[0] in options for argument in arguments)
