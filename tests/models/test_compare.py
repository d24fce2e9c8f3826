"""Comparison of runs: what is displayed, what is tested, and which runs are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from models.cli import main
from models.compare import compare
from models.config import parse_run_config, save_run_config
from toolkit import UserError, metrics, schema
from toolkit.json_files import write_json
from toolkit.significance import holm, paired_test
from toolkit.store import write_table

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
    dataset = {"items_sha256": "one", "interactions_sha256": "3"} | about
    dataset = {key: value for key, value in dataset.items() if value is not None}
    write_json(folder / "environment.json", {"dataset": dataset})
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
    assert holm([]) == []
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([0.001, 0.2, 0.01]) == [0.003, 0.2, 0.02]


def test_the_table_in_every_form(runs: list[Path]) -> None:
    found = compare(runs)
    blocks = [block.splitlines() for block in str(found).split("\n\n")]
    assert [line.split()[0] for line in blocks[1]] == ["HR@10", "base", "alike", "better"]
    assert [block[0].split()[0] for block in blocks[1:3]] == ["HR@10", "NDCG@10"]
    assert all(len(line) <= 80 for block in blocks[1:3] for line in block)
    assert ["*" in line for line in blocks[2]] == [False, False, False, True]
    assert "protocol paper: 400 users, 60 items" in blocks[0][0]
    assert "corrected for 2 runs against the first (Holm)" in " ".join(blocks[3])
    markdown = found.show("markdown").splitlines()
    assert markdown[1] == "|---|---|---|---|---|"
    assert all(line.count("|") == 6 for line in markdown[:5])
    about = json.loads(found.show("json"))
    assert [run["run"] for run in about["runs"]] == ["base", "alike", "better"]
    assert about["runs"][2]["against_first"]["HR@10"]["corrected_p_value"] < 0.05
    assert about["corrected_over_runs"] == 2


def test_one_test_has_nothing_to_be_corrected_for(runs: list[Path]) -> None:
    found = compare([runs[0], runs[2]])
    row = found.rows[1]
    assert row.corrected["HR@10"] == row.against_first["HR@10"].p_value
    assert "paired sign-flip" in str(found) and "Holm" not in str(found)


def test_the_best_is_bold_and_the_second_underlined(tmp_path: Path) -> None:
    """Hits of 100 users: 40, 70 twice, 60; so 70 is best, 60 second."""
    runs = [
        write_run(tmp_path / name, np.where(np.arange(100) < hits, 1, 99))
        for name, hits in {"a": 40, "b": 70, "c": 60, "d": 70}.items()
    ]
    found = compare(runs, metrics=["HR@10"])
    latex = [line for line in found.show("latex").splitlines() if line.endswith(r"\\")][1:]
    shown = [line.split(" & ")[1].split(" [")[0] for line in latex]
    assert shown == ["40.00", r"\textbf{70.00}", r"\underline{60.00}", r"\textbf{70.00}"]
    markdown = [line.split(" | ")[1].split(" [")[0] for line in found.show("markdown").splitlines()[2:6]]  # fmt: skip
    assert markdown == ["40.00", "**70.00**", "60.00", "**70.00**"]


def test_metrics_are_chosen_at_any_cutoff(runs: list[Path]) -> None:
    found = compare(runs[:2], metrics=["mrr@7", "HR@1", "MRR@7"])
    ranks = pa.ipc.open_file(runs[1] / "ranks/test.arrow").read_all()["rank"].to_numpy()
    assert list(found.rows[1].values) == found.metrics == ["MRR@7", "HR@1"]
    assert found.rows[1].values["MRR@7"]["value"] == metrics.mrr(ranks, 7).mean()
    for wrong in ("HIT@10", "HR", "HR@0", "NDCG@x"):
        with pytest.raises(UserError, match=f"metric '{wrong}' is unknown: expected HR@K, NDCG@K"):
            compare(runs, metrics=[wrong])


def test_names_do_not_act_as_markup(runs: list[Path], tmp_path: Path) -> None:
    odd = Path(shutil.copytree(runs[0], tmp_path / r"[50%_of_a&b~^\|*c*"))
    latex = compare([odd, runs[1]]).show("latex")
    assert (
        r"{[}50\%\_of\_a\&b\textasciitilde{}\textasciicircum{}\textbackslash{}\textbar{}*c*"
        in latex
    )
    markdown = compare([odd, runs[1]]).show("markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    cells = ["".join(c.content for c in t.children) for t in tokens if t.type == "inline"]
    assert cells[5] == odd.name


def test_names_do_not_act_on_a_terminal(runs: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "odd\x1b[2J\nname"
    shutil.copytree(runs[0], odd)
    for how in ("text", "markdown", "latex"):
        shown = compare([odd, runs[1]]).show(how)  # type: ignore[arg-type]
        assert "\x1b" not in shown and "x1b" in shown


def test_metrics_and_runs_are_lists(runs: list[Path]) -> None:
    with pytest.raises(
        UserError, match="metrics: expected a list of metrics, got the text 'HR@10'"
    ):
        compare(runs, metrics="HR@10")
    with pytest.raises(UserError, match="runs: expected a list of paths, got "):
        compare(str(runs[0]))
    with pytest.raises(UserError, match="no run or no metric given"):
        compare([])


def test_one_run_is_shown_without_tests(runs: list[Path]) -> None:
    text = str(compare(runs[:1]))
    assert "against" not in text and "base" in text


def test_runs_of_one_name_are_told_apart_by_their_paths(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "elsewhere" / "base"))
    assert [row.name for row in compare([runs[0], other]).rows] == [str(runs[0]), str(other)]


INCOMPARABLE = {
    "dataset": ({"items_sha256": "two"}, "the items of their datasets"),
    "interactions": ({"interactions_sha256": "4"}, "the interactions of their datasets"),
    "protocol": (
        {"report": {"protocol": "clean"}},
        r"protocol \(paper and clean\); evaluate both under the same protocol, and pass it with --protocol",
    ),
    "split": ({"report": {"split": "valid"}}, r"split \(test and valid\)"),
    "catalogue": ({"report": {"catalogue": 61}}, r"catalogue \(60 and 61\)"),
    "all": (
        {"items_sha256": "two", "report": {"catalogue": 61}},
        r"the items of their datasets, catalogue \(60 and 61\)",
    ),
    "targets": (
        {"targets": [f"i{number % 5}" for number in range(USERS)]},
        "the targets of the users",
    ),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_what_is_not_comparable_is_refused(runs: list[Path], tmp_path: Path, case: str) -> None:
    about, told = INCOMPARABLE[case]
    other = write_run(tmp_path / "other", np.ones(USERS), **about)
    with pytest.raises(UserError, match=f"are not comparable: they differ in {told}"):
        compare([runs[0], other])


def test_a_run_that_does_not_say_its_interactions_is_compared_with_a_note(
    runs: list[Path], tmp_path: Path
) -> None:
    old = write_run(tmp_path / "old", np.ones(USERS), interactions_sha256=None)
    assert compare(runs).notes == []
    found = compare([runs[0], old])
    assert "Not verified: whether all runs were trained on the same interactions" in str(found)
    assert str(old) in found.as_dict()["notes"][0]


def test_other_users_are_not_comparable(runs: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", np.ones(USERS - 1))
    with pytest.raises(UserError, match="they differ in the users"):
        compare([runs[0], other])


def test_a_run_that_was_not_evaluated_says_how(runs: list[Path]) -> None:
    with pytest.raises(
        UserError,
        match=r"not evaluated on valid yet; run: python -m models evaluate .* --split valid",
    ):
        compare(runs, split="valid")
    with pytest.raises(UserError, match=r"under clean yet; .*--protocol clean"):
        compare(runs, protocol="clean")
    (runs[1] / "ranks" / "test.arrow").unlink()
    with pytest.raises(UserError, match="alike: not evaluated on test yet"):
        compare(runs)


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
    assert main(["compare", *map(str, runs), "--json", "--metrics", "MRR@10"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(runs, metrics=["MRR@10"]).as_dict()


def add_budget(run: Path, *words: str, epochs: int = 3, trials: int | None = None) -> None:
    """The config and the log of a run, as training writes them."""
    config = parse_run_config(["--config", "id", *words, "--data", "data", "--output", str(run)])
    (run / "config.yaml").write_text(save_run_config(config))
    valid = {"HR@10": 0.1, "NDCG@10": 0.1}
    lines = [
        {"step": e, "epoch": e, "valid": valid, "train_seconds": 2.0} for e in range(1, epochs + 1)
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = json.loads((run / "environment.json").read_text())
    study = {} if trials is None else {"study": {"hash": "x", "trials": trials}}
    write_json(run / "environment.json", {**environment, **study})


def test_budgets_stand_beside_each_run(runs: list[Path]) -> None:
    add_budget(runs[0], "--train.epochs", "9", trials=4)
    add_budget(runs[1], "--train.epochs", "9", epochs=9, trials=4)
    found = compare(runs[:2])
    assert found.warnings == []
    block = next(b for b in str(found).split("\n\n") if b.startswith("budget"))
    assert [line.split() for line in block.splitlines()[1:]] == [
        ["base", "4", "3", "of", "9", "6.0"],
        ["alike", "4", "9", "of", "9", "18.0"],
    ]
    assert found.show("markdown").splitlines()[2].endswith("| 4 | 3 of 9 | 6.0 |")
    assert r"& 4 & 9 of 9 & 18.0 \\" in found.show("latex")
    about = found.as_dict()["runs"][1]["budget"]
    assert (about["trials"], about["epochs"], about["max_epochs"]) == (4, 9, 9)
    assert about["seconds"] == 18.0


def test_unequal_budgets_are_warned_of_in_every_form(runs: list[Path]) -> None:
    add_budget(runs[0], "--train.epochs", "9", "--train.max_seconds", "60", trials=4)
    add_budget(runs[1], "--train.epochs", "20", "--train.patience", "3")
    found = compare(runs[:2])
    assert found.warnings == [
        "Unequal budgets: the runs differ in the maximum number of epochs: 9 (base), 20 (alike).",
        "Unequal budgets: the runs differ in the patience: 10 (base), 3 (alike).",
        "Unequal budgets: the runs differ in the maximum seconds of training: 60 (base), no limit (alike).",
        "Unequal budgets: the runs differ in the number of tried settings: 4 (base), – (alike).",
    ]
    for how in ("text", "markdown", "latex", "json"):
        shown = " ".join(found.show(how).split())  # type: ignore[arg-type]
        assert "9 (base), 20 (alike)" in shown, how


def test_a_model_without_epochs_has_no_ceiling_of_them(runs: list[Path]) -> None:
    add_budget(runs[0], "--config", "popularity", "--train.epochs", "9", epochs=0)
    add_budget(runs[1], "--train.epochs", "20")
    found = compare(runs)  # the third has no config, so its budget is unknown
    assert found.warnings == []
    assert [row.budget and row.budget.max_epochs for row in found.rows] == [None, 20, None]


def test_a_run_is_compared_once(runs: list[Path], tmp_path: Path) -> None:
    """Another copy of it would raise the p-values of all others by Holm's correction."""
    (tmp_path / "link").symlink_to(runs[1].resolve())
    with pytest.raises(UserError, match="link: the run is given twice; give each run once"):
        compare([*runs, tmp_path / "link"])
