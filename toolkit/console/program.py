"""A program with commands, `python -m PROGRAM COMMAND`: its help, completion and exit status."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.command_help import described, listed, refuse_unknown
from toolkit.console.completion import SHELLS, completion_script
from toolkit.console.parsing import new_parser, parse, usage_of
from toolkit.console.terminal import EXIT_STATUSES, Answer, add_answer_options, answer


class Command(Protocol):
    """A command of a program: what its help prints, its arguments, and what it does."""

    @property
    def help(self) -> str:
        """One line."""

    @property
    def about(self) -> str:
        """What it reads and what it writes."""

    @property
    def examples(self) -> tuple[str, ...]:
        """Command lines that work after `make demo`."""

    @property
    def add_options(self) -> Callable[[ArgumentParser], None]:
        """Adds its arguments to a parser."""

    @property
    def run(self) -> Callable[[Namespace], Answer | None]:
        """Runs it; None is the answer of all processes but the main one."""


class PlainCommand(NamedTuple):
    """A command that holds all of this itself.

    Args:
        help: one line.
        about: what it reads and what it writes.
        examples: command lines.
        add_options: adds its arguments to a parser.
        run: runs it. It imports what it needs itself, so that help does not wait for torch. It returns None in
            all processes but the main one.
    """

    help: str
    about: str
    examples: tuple[str, ...]
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Answer | None]


class Program(NamedTuple):
    """A program with commands.

    Args:
        prog: how it is called, such as `python -m prep`.
        script: the same program as an installed script, which shells complete.
        about: the description of its help.
        commands: by name.
    """

    prog: str
    script: str
    about: str
    commands: Mapping[str, Command]

    def main(
        self,
        arguments: Sequence[str] | None = None,
        options_of: "Callable[[str, list[str]], Namespace] | None" = None,
    ) -> int:
        """Runs one command.

        Args:
            arguments: of the command line; those of the process by default.
            options_of: reads the arguments after a command's name; `options` by default.

        Returns:
            The exit status: 0, that of the command's answer, or 2 without a command.

        Raises:
            UserError: whatever the user can correct.
        """
        arguments = sys.argv[1:] if arguments is None else arguments
        if not arguments:
            print(self.make_parser().format_help(), file=sys.stderr)
            return 2
        name, *rest = arguments
        if name == "--print-completion":
            print(completion_script(self.make_parser(self.script), rest))
            return 0
        refuse_unknown(name, self.commands)
        if name not in self.commands:  # --help
            self.make_parser().parse_args([name])
        options = (options_of or self.options)(name, rest)
        command = self.commands[name]
        return answer(lambda: command.run(options), as_json=options.json, quiet=options.quiet)

    def options(self, name: str, arguments: Sequence[str], *, note: str = "") -> Namespace:
        """The options of a command.

        Args:
            name: of the command.
            arguments: after its name.
            note: a remark on where values came from, for the message about a mistake.

        Raises:
            UserError: if an argument is unknown, missing or invalid.
        """
        parser = self._command_parser(self.prog, name)
        return parse(parser, arguments, command=f"{self.prog} {name}", note=note)

    def make_parser(self, prog: str = "") -> ArgumentParser:
        """The parser of all commands, for help and completion.

        Args:
            prog: how the program is called, where not as `self.prog`.
        """
        prog = prog or self.prog
        parser = new_parser(
            prog=prog,
            usage=f"{prog} COMMAND …",
            description=self.about,
            epilog=f"{EXIT_STATUSES}\n\nTAB completes commands and options: see {self.script} in the README.",
        )
        parser.add_argument(
            "--print-completion",
            choices=SHELLS,
            help=f"print the script that makes a shell complete {self.script}",
        )
        commands = parser.add_subcommands(
            dest="command",
            title="commands",
            description=f"{prog} COMMAND --help prints a command's options.",
            metavar="COMMAND",
        )
        for name, command in self.commands.items():
            commands.add_subcommand(name, self._command_parser(prog, name), help=command.help)
        return parser

    def _command_parser(self, prog: str, name: str) -> ArgumentParser:
        command = self.commands[name]
        parser = new_parser(
            description=described(command.help, command.about),
            epilog=f"{listed(command.examples)}\n\n{EXIT_STATUSES}",
        )
        command.add_options(parser)
        add_answer_options(parser)
        parser.usage = usage_of(f"{prog} {name}", parser)
        return parser
