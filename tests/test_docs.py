"""Builds the pages as `make docs` does, and checks them: no warning, no network, every command and preset included."""

import ast
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from documents import ROOT

from models.commands import COMMANDS as MODELS
from models.config import presets
from prep.cli import COMMANDS as PREP

PLACEHOLDER = re.compile("…|KEY|DATASET|auto")  # what a message in troubleshooting.md leaves open


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    words = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs")]
    done = subprocess.run([*words, str(folder)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_reference_has_every_command_and_preset(built: Path) -> None:
    commands = " ".join(text_of(built / "reference" / "commands.html").split())
    for program, names in {"prep": PREP, "models": MODELS}.items():
        for name, command in names.items():
            assert f"python -m {program} {name}" in commands
            assert command.help.rstrip(".").lower() in commands.lower(), name
    assert "--train.rates.side_block" in commands and "--over" in commands
    told = text_of(built / "reference" / "presets.html")
    assert all(f"\n{name}" in told for name in presets())


@pytest.mark.slow
def test_the_reference_has_what_the_packages_export(built: Path) -> None:
    page = text_of(built / "reference" / "python.html")
    for package in ("toolkit", "prep", "models"):
        module = __import__(package)
        for name in module.__all__:
            assert re.search(rf"\b{package}(\.\w+)*\.{name}\b", page), f"{package}.{name}"


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    assert pages
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(https?:[^\"]+)", html)
        assert not loaded, f"{page.name} loads {loaded}"


def test_links_of_the_readme_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_messages_of_troubleshooting_are_those_of_the_code() -> None:
    texts = "\n".join(
        text
        for package in ("toolkit", "prep", "models")
        for path in (ROOT / package).rglob("*.py")
        for text in strings_in(ast.parse(path.read_text(encoding="utf-8")))
    )
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page, flags=re.M)
    assert len(quoted) > 20
    for message in quoted:
        for part in PLACEHOLDER.split(message):
            assert part.strip() in texts, f"no message of the code contains {part.strip()!r}"


def strings_in(tree: ast.AST) -> list[str]:
    """String literals, implicit concatenations joined; the values of an f-string are left out."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
