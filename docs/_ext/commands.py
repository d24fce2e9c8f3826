"""Directives that include the output of the program, so that the pages are always up to date.

`commands` lists every command of `prep` or `models` with its `--help`, `help-of` includes the `--help` of one module,
`presets` the files that `--config` accepts by name, and `presets studies` the studies that come with Versa.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from unittest.mock import patch

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

COLUMNS = "84"
MAINS = {"prep": "prep.cli", "models": "models.cli"}


def help_of(arguments: Sequence[str]) -> str:
    """The output of `python -m ARGUMENTS --help`.

    Args:
        arguments: a module and, for `prep` and `models`, a command.
    """
    module = import_module(MAINS.get(arguments[0], arguments[0]))
    output = io.StringIO()
    with (
        patch.object(sys, "argv", [arguments[0], *arguments[1:], "--help"]),
        patch.dict("os.environ", {"COLUMNS": COLUMNS, "NO_COLOR": "1"}),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    if not output.getvalue().strip():
        raise ValueError(f"python -m {' '.join(arguments)} --help printed nothing")
    return output.getvalue().rstrip()


def commands_of(program: str) -> list[str]:
    """Names of the commands of `prep` or `models`."""
    package = {"prep": "prep.cli", "models": "models.commands"}[program]
    return list(import_module(package).COMMANDS)


def section(title: str, *content: nodes.Node) -> nodes.section:
    """A section with a title in code font."""
    node = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
    node += nodes.title("", "", nodes.literal("", title))
    node += content
    return node


def block(text: str, language: str = "none") -> nodes.literal_block:
    """A code block."""
    return nodes.literal_block(text, text, language=language)


class Commands(Directive):
    """`commands` with the argument `prep` or `models`: a section for each command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the sections."""
        program = self.arguments[0]
        return [
            section(f"python -m {program} {name}", block(help_of([program, name])))
            for name in commands_of(program)
        ]


class HelpOf(Directive):
    """`help-of` with a module as argument: the output of its `--help`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the block."""
        return [block(help_of([self.arguments[0]]))]


class Presets(Directive):
    """`presets`: a section for each file that `--config` accepts by name; with the argument `studies`, for each study."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the sections."""
        from models.config import PRESETS, presets
        from models.study.reading import STUDIES, studies

        folder, names = (STUDIES, studies()) if self.arguments else (PRESETS, presets())
        return [
            section(name, block((folder / f"{name}.yaml").read_text().rstrip(), "yaml"))
            for name in names
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives (called by Sphinx)."""
    for name, directive in {"commands": Commands, "help-of": HelpOf, "presets": Presets}.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
