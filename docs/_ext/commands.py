"""Directives that say what the program itself says, so that the pages cannot fall behind it.

`commands` lists every command of `prep` or `models` with its `--help`, `help-of` one command's, and
`presets` the files that `--config` knows by name.
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


def help_of(words: Sequence[str]) -> str:
    """What `python -m WORDS --help` prints.

    Args:
        words: a module and, of `prep` and `models`, a command.
    """
    module = import_module(MAINS.get(words[0], words[0]))
    said = io.StringIO()
    with (
        patch.object(sys, "argv", [words[0], *words[1:], "--help"]),
        patch.dict("os.environ", {"COLUMNS": COLUMNS, "NO_COLOR": "1"}),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    if not said.getvalue().strip():
        raise ValueError(f"python -m {' '.join(words)} --help printed nothing")
    return said.getvalue().rstrip()


def names_of(program: str) -> list[str]:
    """The commands of `prep` or `models`."""
    package = {"prep": "prep.cli", "models": "models.commands"}[program]
    return list(import_module(package).COMMANDS)


def section(title: str, *content: nodes.Node) -> nodes.section:
    """A section whose title is code."""
    made = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
    made += nodes.title("", "", nodes.literal("", title))
    made += content
    return made


def block(text: str, language: str = "none") -> nodes.literal_block:
    """A block of code."""
    return nodes.literal_block(text, text, language=language)


class Commands(Directive):
    """`commands` with `prep` or `models`: a section for each command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the sections."""
        program = self.arguments[0]
        return [
            section(f"python -m {program} {name}", block(help_of([program, name])))
            for name in names_of(program)
        ]


class HelpOf(Directive):
    """`help-of` with a module: what its `--help` says."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the block."""
        return [block(help_of([self.arguments[0]]))]


class Presets(Directive):
    """`presets`: a section for each file that `--config` knows by name."""

    def run(self) -> list[nodes.Node]:
        """Makes the sections."""
        from models.config import PRESETS, presets

        return [
            section(name, block((PRESETS / f"{name}.yaml").read_text().rstrip(), "yaml"))
            for name in presets()
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for name, directive in {"commands": Commands, "help-of": HelpOf, "presets": Presets}.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
