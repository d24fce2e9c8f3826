"""The command line of a trainer."""

import gc
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from jsonargparse import ArgumentParser

from toolkit.console.completion import completion_script
from toolkit.console.door import run_command
from toolkit.console.terminal import Answer, answer, take_answer_options

Config = TypeVar("Config")


def train_by_arguments(
    train: Callable[[Config], dict[str, Any]],
    *,
    parse: Callable[[list[str]], Config],
    make_parser: Callable[[], ArgumentParser],
) -> int:
    """Trains by the arguments of this process, and prints the report with `--json`.

    Args:
        train: trains and returns its report.
        parse: reads the config from arguments.
        make_parser: the parser that a shell completes.

    Returns:
        The exit status.

    Raises:
        UserError: if the arguments, the dataset or the settings do not allow the run.
    """
    options, arguments = take_answer_options(sys.argv[1:])
    if arguments[:1] == ["--print-completion"]:
        print(completion_script(make_parser(), arguments[1:]))
        return 0

    def trained() -> Answer | None:
        report = train(parse(arguments))
        return Answer("", report) if PartialState().is_main_process else None

    status = answer(trained, as_json=options.json, quiet=options.quiet)
    # Frees the process group, and the model that holds it, before the interpreter shuts down: its threads release
    # their last tensors only after the call that they served has returned, which is unsafe during shutdown.
    gc.collect()
    return status


def run_trainer(main: Callable[[], int]) -> None:
    """The process of a trainer, from its arguments to its exit status."""
    run_command(
        main, interrupted="go on from the last checkpoint with the same command and --resume"
    )
