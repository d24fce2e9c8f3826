"""What a file that comes with data may not decide: it counts only where the user types it in this call.

A key of a configuration that runs code, sends something somewhere, or reads or writes where the data do not lie is
declared so where it is defined (`users_word`, in `prep.config`). `settings_of_data` takes those keys out of a
configuration that came with a dump or a dataset; whoever reads one refuses to go on without them (`refuse_left_out`).
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
    """A key that a file which came with data asks for, and that it may not decide.

    Args:
        key: with dots, such as `encode.title.trust_remote_code`.
        value: that it asks for.
        why: what that would do; maybe empty.
    """

    key: str
    value: Any
    why: str = ""

    def __str__(self) -> str:
        value = printable(json.dumps(self.value, default=str, ensure_ascii=False), characters=SHOWN)
        return f"{self.key} = {value}" + (f" ({self.why})" if self.why else "")

    @property
    def option(self) -> str:
        """How the user types it, quoted for a shell."""
        value = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"--{self.key} {shlex.quote(printable(value, characters=SHOWN))}"


def users_word(default: Any, asks: Asks | None = None, *, why: str = "") -> Any:
    """A field of a configuration that only the user sets, by typing it in this call.

    Args:
        default: its value otherwise.
        asks: whether a value, in a file of this folder, asks for what the file may not decide; by default any other
            value than `default` does.
        why: what another value would do, for the message.
    """

    def differs(value: Any, folder: Path) -> bool:
        return bool(value != default or type(value) is not type(default))

    return field(default=default, metadata={_ASKS: asks or differs, _WHY: why})


def leaves(value: Any, folder: Path) -> bool:
    """Whether a path is none inside of a folder, links followed; no path is inside."""
    if value is None or value == "":
        return False
    try:
        return not Path(str(value)).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # no path at all, or a link to itself
        return True


def settings_of_data(
    values: dict[str, Any], config: type, *, where: Path
) -> tuple[dict[str, Any], list[LeftOut]]:
    """A configuration that came with data, without the keys that only the user sets.

    Args:
        values: as the file has them.
        config: the dataclass that they are for.
        where: the file; paths inside of its folder are part of the data.

    Returns:
        The other values, and what was left out.

    Raises:
        UserError: if there is an unknown key, or something else than keys and values where they are expected.
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
    """What was left out of some parts of a configuration, by its first key."""
    wanted = set(keys)
    return [one for one in left_out if one.key.partition(".")[0] in wanted]


def refuse_left_out(
    left_out: Iterable[LeftOut], *, where: Path, words: Sequence[str] = (), file: bool = False
) -> None:
    """Refuses to go on without what a file asks for, unless the user has typed these keys himself.

    Args:
        left_out: of `settings_of_data`.
        where: the file.
        words: of the command line.
        file: whether all of the file can be allowed with `--config FILE`.

    Raises:
        UserError: naming the keys, the file and what to type to allow it.
    """
    missing = [one for one in left_out if not _is_typed(one.key, words)]
    if not missing:
        return
    several = "these keys count" if len(missing) > 1 else "this key counts"
    whole = f", or, if you trust all of it, --config {shlex.quote(str(where))}" if file else ""
    raise UserError(
        f"{where} asks for {', '.join(map(str, missing))}; "
        f"{several} only when typed in this call, since the file may be somebody else's: to allow it, add "
        f"{' '.join(one.option for one in missing)}{whole}"
    )


def _is_typed(key: str, words: Sequence[str]) -> bool:
    """Whether an option of the command line sets a key, by its own name or by that of a part that holds it."""
    parts = key.split(".")
    options = {"--" + ".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return any(word.partition("=")[0] in options for word in words)
