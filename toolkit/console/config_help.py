"""The layout of help, and messages of jsonargparse in words of the command line."""

import re
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Mapping

from jsonargparse import DefaultHelpFormatter

from toolkit.console.command_help import did_you_mean, options_of

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list, such as [a, b]",
    "dict": "keys and values",
}


class ConfigHelp(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of descriptions; shows each option's meaning, and its default if that says something."""

    def _get_help_string(self, action: Action) -> str:
        meaning = action.help or ""
        if action.required and action.option_strings:
            return f"{meaning} (required)"
        is_empty = action.default is False or action.default in (None, SUPPRESS, "", [], {})
        if action.option_strings and not is_empty:
            return f"{meaning} (default: %(default)s)"
        return meaning


def told_clearly(error: Exception, help_text: str, names: Mapping[str, str] | None = None) -> str:
    """A parser's error on one line, in words of the command line.

    Args:
        error: what the parser raised.
        help_text: of the command, for the options that exist.
        names: how help names arguments whose key is not their option.
    """
    names = names or {}
    message = " ".join(str(error).split())
    message = re.sub(r'Parser key "([^"]+)":', lambda key: f"{names.get(key[1], key[1])}:", message)
    message = re.sub(r"a typing\.Literal\[(.*?)\]", r"one of \1", message)
    message = re.sub(r"a <class '(.*?)'>", lambda kind: _KINDS.get(kind[1], kind[1]), message)
    lead, is_text, text = message.partition("Unexpected config:")
    if is_text:
        return f"{lead}--config: expected keys and values in YAML, got {text.strip() or 'an empty file'}"
    known = options_of(help_text)
    _, is_unknown, unknown = message.partition("unrecognized arguments: ")
    if is_unknown:
        return message + did_you_mean(unknown.split()[0].partition("=")[0], known)
    lead, is_missing, missing = message.partition("arguments are required: ")
    if not is_missing:
        return message
    shown = (
        f"--{key}" if f"--{key}" in known else names.get(key, key.rpartition(".")[2].upper())
        for key in missing.split(", ")
    )
    return lead + is_missing + ", ".join(shown)
