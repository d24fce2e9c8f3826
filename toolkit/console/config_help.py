"""Help of parsers whose options are the keys of a configuration."""

import re
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter

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
    """Lines of descriptions stay as they are; of each key its meaning and its default, where it has one."""

    def _get_help_string(self, action: Action) -> str:
        words = action.help or ""
        if action.required and action.option_strings:
            return f"{words} (required)"
        says_nothing = action.default is False or action.default in (None, SUPPRESS, "", [], {})
        if action.option_strings and not says_nothing:
            return f"{words} (default: %(default)s)"
        return words


def told_clearly(error: Exception, help_text: str) -> str:
    """What a parser of configurations objects to, on one line and in words of the command line.

    Args:
        error: what it raised.
        help_text: of the command, for the options that there are.
    """
    told = re.sub(r'Parser key "([^"]+)":', r"\1:", " ".join(str(error).split()))
    told = re.sub(r"a typing\.Literal\[(.*?)\]", r"one of \1", told)
    told = re.sub(r"a <class '(.*?)'>", lambda kind: _KINDS.get(kind[1], kind[1]), told)
    lead, odd, text = told.partition("Unexpected config:")
    if odd:
        return f"{lead}--config: expected keys and values in YAML, got {text.strip() or 'an empty file'}"
    known = options_of(help_text)
    lead, unknown, words = told.partition("unrecognized arguments: ")
    if unknown:
        return told + did_you_mean(words.split()[0].partition("=")[0], known)
    lead, missing, words = told.partition("arguments are required: ")
    if not missing:
        return told
    places = (
        f"--{w}" if f"--{w}" in known else w.rpartition(".")[2].upper() for w in words.split(", ")
    )
    return lead + missing + ", ".join(places)
