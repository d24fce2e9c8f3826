"""Compares ours with golden runs of public codes: `python -m benchmarks.parity FOLDER`.

A line per file: `NAME ok ERRORS`, or `NAME off WHAT`. Errors are relative to the largest value of each array: outputs at
most 1e-5, gradients at most 1e-4. Shapes and names are read from each file. The exit status is 1 if a file is off, of a
kind that is not known or not supported yet, or if there is none.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.golden.adapters import CHOOSERS, run_adapters
from benchmarks.golden.evaluations import RUNS as EVALUATIONS
from benchmarks.golden.files import Golden, Ours, compare, read_golden
from benchmarks.golden.fusions import RUNS as FUSIONS
from benchmarks.golden.general import RUNS as GENERAL
from benchmarks.golden.graphs import RUNS as GRAPHS
from benchmarks.golden.idrec import RUNS as ID_EVALUATIONS
from benchmarks.golden.iisan import run_iisan
from benchmarks.golden.losses import RUNS as LOSSES
from benchmarks.golden.morec import run_id_plus_modality, run_two_stage
from benchmarks.golden.sequences import RUNS as SEQUENCES

Run = Callable[[Golden], Ours]

KINDS: dict[str, Run] = {
    **{kind: partial(run_adapters, chooser=chooser) for kind, chooser in CHOOSERS.items()},
    "iisan_": run_iisan,
    "morec_two_stage": run_two_stage,
    "morec_id_plus_modality": run_id_plus_modality,
    **SEQUENCES,
    **LOSSES,
    **EVALUATIONS,
    **GRAPHS,
    **GENERAL,
    **FUSIONS,
    **ID_EVALUATIONS,
}
LATER = (
    "adapter4rec_",
    "adapterhub_",
    "iisan_",
    "microlens_",
    "mmrec_",
    "mmsr_",
    "morec_",
    "ninerec_",
    "peft_",
)


@contextmanager
def double_precision() -> Iterator[None]:
    """Computes in float64, so that errors are those of the file and of the equations, not of our rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def kind_of(name: str) -> str | None:
    """The kind of a file: the longest known one that its name holds; evaluations are of other kinds than what they evaluate."""
    kinds = (kind for kind in KINDS if kind in name and ("_eval" in kind) == ("_eval" in name))
    return max(kinds, key=len, default=None)


def check(path: Path) -> tuple[bool, str]:
    """Whether a file is reproduced, and its line."""
    name = path.stem
    kind = kind_of(name)
    if kind is None:
        known = any(later in name for later in LATER)
        return False, f"{name} off {'not supported yet' if known else 'of an unknown kind'}"
    try:
        golden = read_golden(path)
        with double_precision():
            same, what = compare(golden, KINDS[kind](golden))
    except Exception as error:  # one broken file must not hide the others
        return False, f"{name} off {type(error).__name__}: {str(error).strip()[:300]}"
    return same, f"{name} {'ok' if same else 'off'} {what}"


def main(arguments: list[str]) -> int:
    """Prints a line per file, and returns the exit status."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m benchmarks.parity FOLDER", file=sys.stderr)
        return 2
    files = sorted(Path(arguments[0]).glob("*.npz"))
    if not files:
        print(f"{arguments[0]} holds no golden files (*.npz)", file=sys.stderr)
        return 1
    results = [check(path) for path in files]
    for _, line in results:
        print(line)
    return 0 if all(same for same, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
