"""Every example in a docstring of the three packages runs: modules are collected from the tree, none is listed by name."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
from documents import ROOT

PACKAGES = ("toolkit", "prep", "models")
PROMPT = ">>>"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def written_in(source: str) -> int:
    """The number of examples in the docstrings of a module's source text."""
    parser = doctest.DocTestParser()
    docstrings = (
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, DOCUMENTED)
    )
    return sum(len(parser.get_examples(text)) for text in docstrings)


def modules_with_examples() -> list[str]:
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return [str(file.relative_to(ROOT)) for file in files if PROMPT in file.read_text("utf-8")]


@pytest.mark.parametrize("file", modules_with_examples())
def test_every_example_of_a_module_runs_and_holds(file: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    written = written_in(source)
    # A prompt outside a docstring, or one that the parser of doctest does not see, would never run.
    assert written > 0
    assert written == sum(line.lstrip().startswith(PROMPT) for line in source.splitlines())
    module = importlib.import_module(".".join(Path(file).with_suffix("").parts))
    result = doctest.testmod(module)
    # doctest does not look into every object (a cached_property, for example): all must have run.
    assert (result.attempted, result.failed) == (written, 0)


def test_the_packages_have_examples() -> None:
    assert {file.partition("/")[0] for file in modules_with_examples()} == set(PACKAGES)


def test_examples_are_counted_where_doctest_would_not_look() -> None:
    hidden = '''
class A:
    @cached_property
    def size(self):
        """The size.

        >>> A().size
        1
        """
'''
    assert written_in(hidden) == 1
