"""Every figure of README.md and docs/ that looks measured has an origin: an entry of LOG.md, arithmetic, or a reason."""

import re
from pathlib import Path

import pytest
from claims import Log, problems
from documents import PAGES, ROOT

LOG = """# Measurements

## 2026-11-24 · Captions (2-core)

`python scenarios.py --items 300`: captions 16.50 [15.21, 17.83], titles 1.88.

**Cost** (load 12): 371 s, some seven seconds of them to start; FFT - LoRA -1.23 [-2.32, -0.14].

## 2026-11-23 · Store; frames

1,024 titles at 416 titles/s.
"""
CAPTIONS = "<!-- measured: 2026-11-24 · Captions -->\n"
COST = "<!-- measured: 2026-11-24 · Captions · Cost -->\n"


@pytest.fixture(scope="module")
def log() -> Log:
    return Log((ROOT / "benchmarks" / "LOG.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_measured_figure_has_an_origin(page: Path, log: Log) -> None:
    found = problems(page.read_text(encoding="utf-8"), log)
    lines = [f"{page.relative_to(ROOT)}:{line}: {what}" for line, what in found]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "page",
    [
        CAPTIONS + "Captions reach 16.5 % [15.2, 17.8], titles 1.9 %.",  # rounded
        COST + "A run takes 371 s, seven seconds of them to start.",
        COST + "It is 1.23 points [0.14, 2.32] below full fine-tuning.",  # signs turned
        "<!-- measured: 2026-11-23 · Store; frames -->\nTitles: 416 titles/s, two towers of 7 x 384.",
        "<!-- computed: 371 / 60 = 6; (4.7 - 1.9) * 100 / 416 = 0.67 -->\nThe demo takes six minutes, 0.67 s each.",
        "<!-- not measured: settings -->\nDropout 0.1, a limit of 30 s.",
        COST + "<!-- not measured: 0.1: a setting -->\nWith dropout 0.1 it takes 371 s.",
        "<!-- not measured: column published -->\n| row | published |\n|---|---|\n| SASRec | 9.09 / 5.17 |",
        "<!-- not measured: arithmetic -->\n## Limits\n\nOne disk of 2 GB/s.\n\n### Bus\n\nPCIe: 50 GB/s.",
        COST + "<!-- not run: long -->\n```bash\nmake demo  # 371 s\nsleep 3.5\n```",
        "Python 3.11, RecBole 1.2.1, `dropout 0.1`, [2106.10199](https://arxiv.org/abs/2106.10199), 95 % intervals.",
        "12,076 users, rank 1 of 20, page 3",
    ],
)
def test_a_figure_with_an_origin_is_no_problem(page: str) -> None:
    assert list(problems(page, Log(LOG))) == []


@pytest.mark.parametrize(
    ("page", "line", "what"),
    [
        ("One.\n\nIt takes 371 s.", 3, "371: looks measured, but no comment names its origin"),
        ("It takes 371 s,\nand 1.2 GiB and 3.4 GB.", 2, "^1.2, 3.4: looks measured"),
        ("It takes six minutes.", 1, "six: looks measured"),
        ("nine times as fast", 1, "nine: looks measured"),
        ("```bash\nmake demo  # six minutes\n```", 2, "six: looks measured"),
        ('```json\n{"HR@10": 0.0628}\n```', 2, "0.0628: looks measured"),
        (CAPTIONS + "Captions: 16.6 %.", 2, "16.6: not in the entries of benchmarks/LOG.md"),
        (CAPTIONS + "16.50 [15.21, 17.84]", 2, r"16.50 \[15.21, 17.84\]: not in"),
        (CAPTIONS + "16.50 [1.88, 17.83]", 2, r"16.50 \[1.88, 17.83\]: not in"),
        (
            CAPTIONS + "16.500 and 1.8",
            2,
            "^1.8: not in",
        ),  # 16.500 equals 16.50, 1.88 rounds to 1.9
        (CAPTIONS + "300 items/s", 2, "300: not in"),  # a number of the command
        (COST + "Titles: 1.88.", 2, "1.88: not in"),  # of the entry, but of another part
        (CAPTIONS + "Titles: 1.88.\n\nTitles: 1.88.", 4, "no comment names its origin"),
        ("<!-- measured: 2026-11-24 · Caption -->\n1.88", 1, "the nearest is .*Captions"),
        ("<!-- computed: 371 / 60 = 7 -->\nseven minutes", 1, "371 / 60 is 6.18333, not 7"),
        ("<!-- computed: 371 / 60 = 6 -->\n7.5 minutes", 1, "no figure below is 6"),
        ("<!-- computed: about 6 -->\nsix minutes", 1, "'about 6' is no arithmetic"),
        (
            "- Dropout.\n<!-- not measured: a setting -->\n- Rate 0.1.\n\n- Rate 0.2.",
            5,
            "0.2: looks",
        ),
        ("<!-- not measured: settings -->\nNone.", 1, "no figure below: remove the comment"),
        ("<!-- not measured: 0.1: a setting -->\n0.1 and 0.2", 2, "0.2: looks measured"),
        (
            "<!-- not measured: column published -->\n| published | ours |\n|---|---|\n| 1.0 | 2.0 |",
            4,
            "2.0: looks measured",
        ),
    ],
)
def test_a_figure_without_an_origin_is_named_with_its_line(page: str, line: int, what: str) -> None:
    found = list(problems(page, Log(LOG)))
    assert any(problem.line == line and re.search(what, problem.what) for problem in found), found
