"""A program with commands, as prep and models are: its help, its mistakes, its exit status."""

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonargparse import ArgumentParser, Namespace

from toolkit import UserError
from toolkit.console import command_help, parsing
from toolkit.console.program import Program
from toolkit.console.terminal import Answer


class Toy(NamedTuple):
    help: str
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Answer | None]
    about: str = "Reads IN. Writes nothing."
    examples: tuple[str, ...] = ("toy join a b",)


def join_options(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="IN", help="files")
    parser.add_argument("-k", type=int, default=3, help="how many")
    parser.add_argument("--by", choices=["name", "size"], help="key")


def join(options: Namespace) -> Answer:
    files = [str(file) for file in options.files]
    return Answer(f"{files} {options.k}", {"files": files, "k": options.k, "by": options.by})


TOY = Program(
    "toy",
    "toy-script",
    "Joins.",
    {
        "join": Toy("joins files", join_options, join),
        "fail": Toy("fails", lambda parser: None, lambda options: Answer("broken", [], status=1)),
    },
)


def test_a_command_answers_as_text_or_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert TOY.main(["join", "a", "b"]) == 0
    assert capsys.readouterr().out == "['a', 'b'] 3\n"
    assert TOY.main(["join", "a", "-k", "5", "--by=size", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": ["a"], "k": 5, "by": "size"}
    assert TOY.main(["fail", "--quiet"]) == 1
    assert capsys.readouterr() == ("", "broken\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jion"], "no command 'jion'; did you mean join.; commands: join, fail"),
        (["join"], "the following arguments are required: IN; see toy join --help"),
        (["join", "a", "--bye", "x"], "unrecognized arguments: --bye x; did you mean --by"),
        (["join", "a", "--by", "x"], "--by: invalid choice: 'x'"),
        (["join", "a", "-k", "x"], "^-k: Expected a whole number. Got value: x; see toy join"),
        (["--print-completion", "fish"], "--print-completion fish: expected one of bash, zsh"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as mistake:
        TOY.main(arguments)
    assert "\n" not in str(mistake.value)


def test_a_mistake_names_where_values_came_from() -> None:
    with pytest.raises(UserError, match=r"--by: .* \(some are from a file\); see toy join --help"):
        TOY.options("join", ["a", "--by", "x"], note=" (some are from a file)")


def test_help_prints_arguments_defaults_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        TOY.main(["join", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: toy join IN … [options]\n\nJoins files.\n\nReads IN.")
    assert "how many (default: 3)" in shown and "\nexamples:\n  toy join a b\n" in shown
    assert "--by {name,size}" in shown and "default: None" not in shown


def test_no_command_prints_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert TOY.main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "join" in err and "joins files" in err and "exit status:" in err


@pytest.mark.parametrize("module", [command_help, parsing])
def test_doctests_hold(module) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
