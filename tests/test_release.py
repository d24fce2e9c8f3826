"""The files about the release agree with one another and with the repository."""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    name: list(map(Requirement, lines)) for name, lines in PROJECT["optional-dependencies"].items()
}
PACKAGES = {"toolkit", "prep", "models"}
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


def tracked() -> list[str]:
    listed = ["git", "ls-files"]
    return subprocess.run(
        listed, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_third_party_names_all_weights_of_the_repository_and_of_extras() -> None:
    notices = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    weights = [Path(path) for path in tracked() if Path(path).suffix in WEIGHTS]
    assert weights
    for path in weights:
        assert f"`{path.parent.as_posix()}/`" in notices, path
        card = (ROOT / path).with_name("README.md").read_text(encoding="utf-8")
        assert "\nlicense: apache-2.0\n" in card, path
    rows = re.findall(r"\| `(\w+)` \| `([\w-]+)` .*`([\w./]+)` \(SHA-256 ([0-9a-f]{64})\)", notices)
    assert {extra for extra, *_ in rows} == {"demo", "faces"}  # the extras that install weights
    for extra, package, file, digest in rows:
        assert package in {requirement.name for requirement in EXTRAS[extra]}
        module, *inside = Path(file).parts
        if (spec := find_spec(module)) and spec.origin:
            content = Path(spec.origin).parent.joinpath(*inside).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, file


def pins() -> Iterator[tuple[Requirement, list[str]]]:
    """The pins of requirements.txt with their hashes."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for line in re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines():
        pin, *hashes = line.split(" --hash=")
        yield Requirement(pin), [one.strip() for one in hashes]


def test_every_dependency_has_a_lower_bound() -> None:
    libraries = [Requirement(line) for line in PROJECT["dependencies"]]
    libraries += [one for extra, lines in EXTRAS.items() if extra != "dev" for one in lines]
    unbound = [
        one.name
        for one in libraries
        if not {bound.operator for bound in one.specifier} & {">=", "=="}
    ]
    assert not unbound


def test_pins_are_in_step_with_pyproject_and_have_hashes() -> None:
    pinned = {canonicalize_name(pin.name): pin for pin, _ in pins()}
    (ours,) = (one for one in EXTRAS["dev"] if one.name == PROJECT["name"])
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    wanted += [one for extra in ("dev", *ours.extras) for one in EXTRAS[extra] if one is not ours]
    for requirement in wanted:
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name}: run make pins"
        (exact,) = pin.specifier
        assert exact.operator == "==" and requirement.specifier.contains(exact.version), pin
        assert requirement.marker or not pin.marker, pin
    for pin, hashes in pins():
        assert pin.url is None and hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), pin


def test_pins_were_made_by_the_command_of_the_makefile() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    (command,) = re.findall(r"^#    (uv .*)$", text, flags=re.M)
    (recipe,) = re.findall(r"^\t(uv pip compile .*)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert command.split() == recipe.replace(" --quiet", "").replace(" $(UPGRADE)", "").split()
    assert not re.search(r"index-url|find-links|://", text)


def test_the_changelog_is_in_order() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## ", text, flags=re.M)[1:]
    assert releases[0].startswith("Unreleased\n")
    assert re.match(rf"{re.escape(PROJECT['version'])} - \d{{4}}-\d\d-\d\d\n", releases[1])
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for release in releases:
        kinds = re.findall(r"^### (.+)$", release, flags=re.M)
        assert kinds == sorted(set(kinds), key=order.index)


def built(source: Path, kind: str) -> Path:
    """An sdist or a wheel of a folder, without the network."""
    code = f"import setuptools.build_meta as backend, sys; backend.build_{kind}(sys.argv[1])"
    output = source / f"built-{kind}"
    output.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", code, str(output)]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    return next(output.iterdir())


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.is_dir()}


# Python 3.11.0 to 3.11.3 have no filters.
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


@pytest.mark.slow
def test_sdist_and_wheel_hold_the_packages_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    files = [path for path in tracked() if (ROOT / path).is_file()]
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    (tree / "models" / "weights.bin").write_bytes(b"not tracked")
    wheel = contents(built(tree, "wheel"))
    ours = {path for path in files if Path(path).parts[0] in PACKAGES}
    info = f"versa_toolkit-{PROJECT['version']}.dist-info/"
    licences = {f"{info}licenses/LICENSE", f"{info}licenses/THIRD_PARTY.md"}
    written = {
        f"{info}{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")
    }
    assert wheel.keys() == ours | licences | written

    with tarfile.open(built(tree, "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", **SAFELY)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    inside = {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    }
    beside = {
        "LICENSE",
        "THIRD_PARTY.md",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "SECURITY.md",
    }
    beside |= {"MANIFEST.in", "pyproject.toml", "requirements.txt"}
    generated = {
        path for path in inside if path in {"PKG-INFO", "setup.cfg"} or ".egg-info/" in path
    }
    assert inside == ours | beside | generated
    for path in inside:
        content = (unpacked / path).read_bytes()
        assert str(ROOT).encode() not in content and str(tmp_path).encode() not in content, path
    assert contents(built(unpacked, "wheel")) == wheel
