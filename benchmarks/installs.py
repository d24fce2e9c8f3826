"""Installs the wheel into fresh environments, one per Python and extra, and asks every command for `--help` there.

    pip install uv
    python -m benchmarks.installs --work FOLDER [--pythons 3.11 3.12 3.13] [--extras none demo …] [--resolution lowest-direct]

Each cell builds an environment outside the checkout, installs `versa-toolkit[EXTRA]`, imports `toolkit`, `prep`, `models` and the packages
of the extra, and runs `--help` of every command. The environment is deleted afterwards. Its result stays in FOLDER, so the same command
continues after a stop: cells of the same wheel are not repeated. With `--resolution lowest-direct` uv installs the oldest versions that
pyproject.toml allows. Pythons must be installed: none is downloaded.

A cell with PyTorch and CUDA needs about 8 GiB. uv links files from its cache, so that a second cell needs little more if FOLDER and the
cache (`UV_CACHE_DIR`) are on one disk. A cell is not begun with less than `--disk_gib` free.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LEFT_OUT = {"dev"}  # extras of developers
NONE = "none"
CHECK = """
import contextlib, importlib, importlib.metadata as metadata, io, json, re, runpy, sys
import models, prep, toolkit
from models.commands import COMMANDS as of_models
from models.facial.commands import COMMANDS as of_faces
from prep.commands import COMMANDS as of_prep

extra, problems = sys.argv[1], {}
for text in metadata.requires("versa-toolkit"):
    if re.search(f"extra == .{extra}.$", text):
        name = re.match(r"[\\w.-]+", text)[0].lower().replace("_", "-")
        provided = metadata.packages_distributions().items()
        tops = [top for top, owners in provided if name in {one.lower().replace("_", "-") for one in owners}]
        try:  # a wheel may list files that it lacks: the package of its own name first
            importlib.import_module(min(tops or [name], key=lambda top: top.lower() != name.replace("-", "_")))
        except Exception as error:
            problems[name] = repr(error)
programs = {"prep": of_prep, "models": of_models, "models.facial": of_faces}
commands = [[program, *words] for program, names in programs.items() for words in ([], *([name] for name in names))]
commands += [["models.train"], ["models.scaling"], ["models.facial.train"]]
for module, *words in commands:
    sys.argv, printed = [module, *words, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        if ended.code or "usage" not in printed.getvalue().lower():
            problems[" ".join(sys.argv)] = f"status {ended.code}"
    except Exception as error:
        problems[" ".join(sys.argv)] = repr(error)
versions = {name: metadata.version(name) for name in ("torch", "transformers", "numpy", "pyarrow")}
print(json.dumps({"commands": len(commands), "problems": problems, "versions": versions}))
"""


class Failed(Exception):
    """A command of a cell failed; the message is its error on one line, or the last line of a traceback."""


def run(words: Sequence[str | Path], folder: Path, seconds: float) -> str:
    """The output of a command, which is killed with all that it started after some seconds.

    Bytecode of linked files is kept for the next environment: it is compiled once per Python, not once per cell.
    """
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean |= {"UV_PYTHON_DOWNLOADS": "never", "HF_HUB_OFFLINE": "1"}
    clean |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    process = subprocess.Popen(
        [str(word) for word in words],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, told = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failed(f"{Path(words[0]).name} {words[1]}: no end after {seconds:.0f} s") from None
    if process.returncode:
        text = told.strip() or printed.strip() or f"status {process.returncode}"
        raise Failed(text.splitlines()[-1] if "Traceback" in text else " ".join(text.split()))
    return printed


def build(work: Path) -> Path:
    """The wheel of this checkout, built from its sdist, so that both are tested. The checkout is left unchanged."""
    for folder in ("source", "dist"):
        shutil.rmtree(work / folder, ignore_errors=True)
    for name in run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT, 60
    ).splitlines():
        (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, work / "source" / name)
    run([uv(), "build", "--out-dir", work / "dist", work / "source"], work, 600)
    return next((work / "dist").glob("*.whl"))


def digest(wheel: Path) -> str:
    """A digest of the files in a wheel, without their times."""
    with zipfile.ZipFile(wheel) as archive:
        content = sorted((entry.filename, entry.CRC) for entry in archive.infolist())
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def cell(
    work: Path, wheel: Path, python: str, extra: str, resolution: str, seconds: float
) -> dict[str, Any]:
    """Installs and checks one combination."""
    environment = work / "environment"
    shutil.rmtree(environment, ignore_errors=True)
    begun = time.monotonic()
    wanted = str(wheel) if extra == NONE else f"{wheel}[{extra}]"
    inside = environment / "bin" / "python"
    try:
        run([uv(), "venv", "--python", python, environment], work, seconds)
        run(
            [uv(), "pip", "install", "--python", inside, "--resolution", resolution, wanted],
            work,
            seconds,
        )
        size = sum(path.lstat().st_size for path in environment.rglob("*"))
        found = json.loads(run([inside, "-c", CHECK, extra], work, seconds).splitlines()[-1])
        return {**found, "seconds": time.monotonic() - begun, "bytes": size}
    except Failed as error:
        return {"problems": {"installation": str(error)}}
    finally:
        shutil.rmtree(environment, ignore_errors=True)


def told(result: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if result is None:
        return "not run"
    if result["problems"]:
        name, why = next(iter(result["problems"].items()))
        return f"**{len(result['problems'])} failed**: {name}: {why}".replace("|", "/")[:200]
    size, torch = result["bytes"] / 2**30, result["versions"]["torch"]
    return f"ok: {result['commands']} commands, {size:.1f} GiB, {result['seconds']:.0f} s, torch {torch}"


def uv() -> str:
    """The program uv, of this environment or of the path."""
    beside = Path(sys.executable).with_name("uv")
    return (
        str(beside) if beside.is_file() else shutil.which("uv") or sys.exit("run: pip install uv")
    )


def main() -> None:
    """Runs the cells that are missing, and prints the table of all of them."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for environments and results"
    )
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    parser.add_argument("--extras", nargs="+", default=[NONE, *sorted(set(extras) - LEFT_OUT)])
    parser.add_argument("--resolution", choices=["highest", "lowest-direct"], default="highest")
    parser.add_argument("--seconds", type=float, default=1800, help="limit of each step of a cell")
    parser.add_argument(
        "--disk_gib", type=float, default=12, help="free space that a cell requires"
    )
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    wheel = build(work)
    code = digest(wheel)
    results: dict[tuple[str, str], dict[str, Any]] = {}
    cells = itertools.product(options.pythons, options.extras)
    for python, extra in sorted(cells, key=lambda cell: cell[1] != NONE):  # without extras first
        file = work / f"{code}-{options.resolution}-{python}-{extra}.json"
        if not file.exists():
            free = shutil.disk_usage(work).free / 2**30
            if free < options.disk_gib:
                print(f"{python}, {extra}: not run, {free:.0f} GiB free", file=sys.stderr)
                continue
            result = cell(work, wheel, python, extra, options.resolution, options.seconds)
            file.write_text(json.dumps(result, indent=2))
            print(f"{python}, {extra}: {told(result)}", file=sys.stderr)
        results[python, extra] = json.loads(file.read_text())
    print(f"| extra | {' | '.join(f'Python {python}' for python in options.pythons)} |")
    print(f"|---|{'---|' * len(options.pythons)}")
    for extra in options.extras:
        cells = [told(results.get((python, extra))) for python in options.pythons]
        print(f"| `{extra}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
