"""Every command for a new user: help with parseable examples, completion, and a start without importing torch."""

import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import models.__main__
import models.cli
import models.facial.__main__
import models.facial.cli
import models.facial.train
import models.train
import prep.__main__
import prep.cli
import toolkit
from models.config import make_parser, parse_run_config, presets
from toolkit import UserError
from toolkit.console.completion import completion_script
from toolkit.console.terminal import EXIT_STATUSES

ROOT = Path(__file__).parents[1]
TRAIN = r"^(accelerate launch|python) -m models\.train "


def examples(help_text: str) -> list[list[str]]:
    """The words of each command line below `examples:`, lines that go on joined."""
    block = help_text.partition("\nexamples:\n")[2].partition("\n\n")[0]
    return [shlex.split(line) for line in block.replace("\\\n", "").splitlines()]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((prep.cli, name) for name in prep.cli.COMMANDS),
        *((models.cli, name) for name in models.cli.COMMANDS),
        *((models.facial.cli, name) for name in models.facial.cli.COMMANDS),
    ],
)
def test_examples_are_commands(
    module: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        module.main([name, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert EXIT_STATUSES in shown
    lines = examples(shown)
    assert lines
    for words in lines:  # some begin with the launcher
        launched, _, command = " ".join(words).partition(f"{module.PROG.partition(' ')[2]} ")
        assert launched.startswith(("python ", "accelerate launch ")) and command.startswith(name)
        assert module.make_parser().parse_args(command.split()).command == name


def test_examples_of_training_are_commands() -> None:
    shown = make_parser().format_help()
    assert EXIT_STATUSES in shown
    lines = examples(shown)
    assert len(lines) == 4
    for words in lines:
        assert re.match(TRAIN, " ".join(words))
        assert parse_run_config(words[words.index("models.train") + 1 :]).data == "demo/dataset"
    for preset in presets():
        assert re.search(rf"^  {preset} +\w", shown, re.MULTILINE), preset


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["evalaute", "run"],
            "no command 'evalaute'; did you mean evaluate.; commands: evaluate, ",
        ),
        (["compare"], "required: RUN; see python -m models compare --help"),
        (["compare", "a", "--quite"], "unrecognized arguments: --quite; did you mean --quiet"),
        (
            ["compare", "a", "--protocol", "cleen"],
            "protocol 'cleen' is unknown; did you mean clean.; choose from paper, clean, ",
        ),
        (
            ["evaluate", "a", "surplus"],
            "unrecognized arguments: surplus; see python -m models evaluate",
        ),
        (["recommend", "a", "-k", "x"], "-k: Expected a whole number. Got value: x"),
    ],
)
def test_mistakes_with_models_are_named(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.cli.main(words)


def test_no_command_prints_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "where to begin:\n  accelerate launch -m models.train --help" in err


@pytest.mark.parametrize(
    ("script", "line", "expected"),
    [
        ("versa-prep", "versa-prep bu", {"build"}),
        (
            "versa-prep",
            "versa-prep build --media.frame",
            {"--media.frame_count", "--media.frame_px"},
        ),
        ("versa-models", "versa-models co", {"compare"}),
        ("versa-models", "versa-models compare a --split ", {"valid", "test"}),
        ("versa-train", "versa-train --train.opt", {"--train.optimizer"}),
    ],
)
def test_bash_completes(script: str, line: str, expected: set[str]) -> None:
    parser = {
        "versa-prep": prep.cli.make_parser,
        "versa-models": models.cli.make_parser,
        "versa-train": make_parser,
    }[script](script)
    shell = f"""
{completion_script(parser, ["bash"])}
read -r -a COMP_WORDS <<< {shlex.quote(line)}
[[ {shlex.quote(line)} == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
complete=$(complete -p {script}); complete=${{complete##*-F }}
compopt() {{ :; }}  # works within a completion alone
${{complete%% *}} {script} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash"], input=shell, capture_output=True, text=True)
    assert expected <= set(done.stdout.split()), done.stderr


def test_scripts_are_the_same_commands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {name: pkgutil.resolve_name(place) for name, place in project["scripts"].items()}
    assert found == {
        prep.cli.SCRIPT: prep.__main__.run,
        models.cli.SCRIPT: models.__main__.run,
        models.train.SCRIPT: models.train.run,
        models.facial.cli.SCRIPT: models.facial.__main__.run,
        models.facial.train.SCRIPT: models.facial.train.run,
    }


def test_help_of_models_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom models.cli import make_parser\nmake_parser().format_help()\n"
        "assert not {'torch', 'numpy', 'pyarrow', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", [models, models.facial, toolkit])
def test_what_a_package_offers_is_there_and_named_like_no_module(package: ModuleType) -> None:
    assert sorted(package._MODULES) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not set(package.__all__) & modules
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
