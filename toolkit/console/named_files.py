"""YAML files that come with Versa, which users name without folder and ending: presets and studies."""

import textwrap
from itertools import takewhile
from pathlib import Path

from toolkit.console.command_help import WIDTH
from toolkit.errors import UserError

ENDING = ".yaml"


def names_in(folder: Path) -> list[str]:
    """The names of a folder's files, sorted."""
    return sorted(path.stem for path in folder.glob(f"*{ENDING}"))


def named_file(
    name: str, folder: Path, *, noun: str = "preset", plural: str = "presets", lead: str = ""
) -> Path:
    """The file with a path, or the file of a folder with a name.

    Args:
        name: path or name.
        folder: folder of the named files.
        noun: what a file of the folder is, for the message.
        plural: of the noun.
        lead: what selects the file, such as an option, for the message.

    Raises:
        UserError: if there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    known = names_in(folder)
    if name not in known:
        raise UserError(f"{lead}{name}: neither a file nor a {noun}; {plural}: {', '.join(known)}")
    return folder / f"{name}{ENDING}"


def described_files(folder: Path) -> str:
    """A line per file of a folder: its name, and the first sentence of the comment at its top."""
    lines = []
    width = max(map(len, names_in(folder))) + 4
    for name in names_in(folder):
        text = (folder / f"{name}{ENDING}").read_text(encoding="utf-8")
        comment = " ".join(takewhile(lambda line: line.startswith("#"), text.splitlines()))
        sentence = comment.replace("# ", "").split(". ")[0].removesuffix(".")
        lines.append(
            textwrap.fill(
                sentence,
                WIDTH,
                initial_indent=f"  {name}".ljust(width),
                subsequent_indent=" " * width,
            )
        )
    return "\n".join(lines)
