"""Runs side by side: what is shown, what is tested, and what is not comparable."""

import doctest
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import models.compare
from models.cli import main
from models.compare import compare, holm
from toolkit import UserError, metrics, schema
from toolkit.significance import paired_test
from toolkit.store import write_json, write_table

USERS = 400


def write_run(folder: Path, ranks: np.ndarray, *, split: str = "test", **about) -> Path:
    """What an evaluation leaves behind."""
    users = [f"u{number}" for number in range(len(ranks))]
    targets = about.pop("targets", [f"i{number % 7}" for number in range(len(ranks))])
    report = {"protocol": "paper", "split": split, "users": len(ranks), "catalogue": 60}
    report |= {"metrics": metrics.summarise(ranks)} | about.pop("report", {})
    name = about.pop("name", split)
    write_json(folder / "metrics" / f"{name}.json", report)
    table = pa.table([users, targets, ranks.astype(float)], schema=schema.RANKS)
    write_table(folder / "ranks" / f"{name}.arrow", table, compression="zstd")
    write_json(folder / "environment.json", {"dataset": {"items_sha256": "one", **about}})
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """A run, one just like it but for chance, and one that is better."""
    rng = np.random.default_rng(0)
    base = rng.integers(1, 41, size=USERS)
    alike = np.clip(base + rng.choice([-1, 1], size=USERS), 1, None)
    better = np.maximum(base - 8, 1)
    return [
        write_run(tmp_path / name, ranks)
        for name, ranks in {"base": base, "alike": alike, "better": better}.items()
    ]


def test_each_run_is_tested_against_the_first(runs: list[Path]) -> None:
    found = compare(runs)
    ranks = [pa.ipc.open_file(r / "ranks/test.arrow").read_all()["rank"].to_numpy() for r in runs]
    gains = [metrics.ndcg(r, 10) for r in ranks]
    first, alike, better = found.rows
    assert first.against_first == {} and first.values["NDCG@10"]["value"] == gains[0].mean()
    assert better.against_first["NDCG@10"] == paired_test(gains[0], gains[2])
    plain = [paired_test(gains[0], g).p_value for g in gains[1:]]
    assert [alike.corrected["NDCG@10"], better.corrected["NDCG@10"]] == holm(plain)
    assert better.corrected["NDCG@10"] < 0.05 < alike.corrected["NDCG@10"]


def test_holm_is_as_defined() -> None:
    assert doctest.testmod(models.compare).failed == 0
    assert holm([]) == []
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([0.001, 0.2, 0.01]) == [0.003, 0.2, 0.02]


def test_the_table_in_every_form(runs: list[Path]) -> None:
    found = compare(runs)
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["base", "alike", "better"]
    assert lines[3].count("*") == 2 and "*" not in lines[2]
    assert "protocol paper, 400 users" in lines[-1] and "Holm" in lines[-1]
    markdown = found.show("markdown").splitlines()
    assert markdown[1] == "|---|---|---|---|---|"
    assert all(line.count("|") == 6 for line in markdown[:5])
    latex = found.show("latex")
    assert latex.count(r"\\") == 4 and r"\begin{tabular}{lrrrr}" in latex
    about = json.loads(found.show("json"))
    assert [run["run"] for run in about["runs"]] == ["base", "alike", "better"]
    assert about["runs"][2]["against_first"]["HR@10"]["corrected_p_value"] < 0.05


def test_latex_escapes_names(runs: list[Path], tmp_path: Path) -> None:
    odd = Path(shutil.copytree(runs[0], tmp_path / "50%_of_a&b"))
    assert r"50\%\_of\_a\&b" in compare([odd]).show("latex")


def test_one_run_is_shown_without_tests(runs: list[Path]) -> None:
    text = str(compare(runs[:1]))
    assert "against" not in text and "base" in text


def test_runs_of_one_name_are_told_apart_by_their_paths(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "elsewhere" / "base"))
    assert [row.name for row in compare([runs[0], other]).rows] == [str(runs[0]), str(other)]


INCOMPARABLE = {
    "dataset": ({"items_sha256": "two"}, "the items of their datasets differ"),
    "protocol": ({"report": {"protocol": "clean"}}, r"protocol differ \(paper and clean\)"),
    "catalogue": ({"report": {"catalogue": 61}}, r"catalogue differ \(60 and 61\)"),
    "targets": ({"targets": [f"i{number % 5}" for number in range(USERS)]}, "targets of the users"),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_what_is_not_comparable_is_refused(runs: list[Path], tmp_path: Path, case: str) -> None:
    about, told = INCOMPARABLE[case]
    other = write_run(tmp_path / "other", np.ones(USERS), **about)
    with pytest.raises(UserError, match=f"are not comparable: .*{told}"):
        compare([runs[0], other])


def test_other_users_are_not_comparable(runs: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", np.ones(USERS - 1))
    with pytest.raises(UserError, match="the users differ"):
        compare([runs[0], other])


def test_a_run_that_was_not_evaluated_says_how(runs: list[Path]) -> None:
    with pytest.raises(
        UserError,
        match=r"not evaluated on valid yet; run: python -m models evaluate .* --split valid",
    ):
        compare(runs, split="valid")
    with pytest.raises(UserError, match=r"under clean yet; .*--protocol clean"):
        compare(runs, protocol="clean")


def test_a_protocol_that_is_a_run_s_own_is_found_under_the_split_s_name(
    runs: list[Path], tmp_path: Path
) -> None:
    clean = {"report": {"protocol": "clean"}}
    own = write_run(tmp_path / "own", np.ones(USERS), **clean)
    write_run(runs[0], np.ones(USERS), name="test.clean", **clean)
    found = compare([runs[0], own], protocol="clean")
    assert found.protocol == "clean"
    assert found.rows[1].against_first["HR@10"].p_value == 1.0


def test_the_command_prints_what_is_asked_for(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, runs), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.splitlines() == compare(runs).show("markdown").splitlines()
    assert main(["compare", *map(str, runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(runs).as_dict()
