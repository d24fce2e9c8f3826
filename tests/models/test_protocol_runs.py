"""Runs under a cut in time, for cold targets and under a user's own protocol, from training to comparison."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.ipc
import pytest
import torch
from tiny_dataset import write_dataset

from models.compare import compare
from models.config import parse_run_config
from models.evaluate import evaluate, format_report
from models.ranking.catalogue import make_catalogue
from models.ranking.ranks import rank_targets
from models.report import report
from models.runs.run import load_own
from models.train import train
from toolkit import UserError, metrics, open_dataset

COMMON = 40
ITEMS = 200
TINY = ["--config=id", "--train.epochs=1", "--side.embedding_dim=8", "--sequence.max_len=4", "--train.trackers=[]"]  # fmt: skip


def config(data: Path, output: Path, *more: str) -> Any:
    return parse_run_config([*TINY, f"--data={data}", f"--output={output}", *more])


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 400 moments in which common items appear one after the other, and some items are so rare that they are cold."""
    rng = np.random.default_rng(0)
    histories, times = [], []
    for _ in range(150):
        moments = np.sort(rng.integers(rng.integers(0, 390), 400, size=rng.integers(5, 12)))
        common = [int(rng.integers(1, 10 + 30 * t // 400 + 1)) for t in moments]
        rare = rng.integers(COMMON + 1, ITEMS + 1, size=len(moments))
        histories.append(np.where(rng.random(len(moments)) < 0.2, rare, common).tolist())
        times.append([int(t) for t in moments])
    return write_dataset(
        tmp_path_factory.mktemp("timed") / "data", histories, items=ITEMS, times=times
    )


@pytest.fixture(scope="module")
def in_time(timed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("in_time") / "run"
    train(config(timed, run, "--protocol=time", "--train.select_by=mrr@3"))
    return run


@pytest.fixture(scope="module")
def one_out(timed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("one_out") / "run"
    train(config(timed, run, "--protocol=clean"))
    return run


def ranks_of(run: Path, name: str) -> Any:
    return pyarrow.ipc.open_file(run / "ranks" / f"{name}.arrow").read_all()


def test_a_run_under_a_cut_in_time_says_so_everywhere(in_time: Path) -> None:
    written = json.loads((in_time / "metrics" / "test.json").read_text())
    assert written["protocol"] == "time"
    assert written["protocol_settings"]["split"]["kind"] == "time"
    assert written["users"] == written["targets"] == ranks_of(in_time, "test").num_rows
    card = (in_time / "model" / "README.md").read_text()
    assert "before the validation cut" in card and "protocol `time`" in card
    assert "times_sha256" in (in_time / "environment.json").read_text()  # the split depends on them


def test_the_best_epoch_is_selected_by_any_metric(in_time: Path, one_out: Path) -> None:
    entries = [json.loads(line) for line in (in_time / "log.jsonl").read_text().splitlines()]
    assert entries[-1]["valid MRR@3"] == entries[-2]["valid"]["MRR@3"]
    assert "highest MRR@3" in (in_time / "model" / "README.md").read_text()
    assert "highest HR@10" in (one_out / "model" / "README.md").read_text()
    with pytest.raises(UserError, match=r"train.select_by: metric 'recall@5' is unknown"):
        config(in_time, in_time, "--train.select_by=recall@5")


def test_a_user_with_several_targets_counts_once(in_time: Path) -> None:
    found = evaluate(in_time, protocol="time-successive", progress=False)
    table = ranks_of(in_time, "test.time-successive")
    assert found["targets"] == table.num_rows > found["users"]
    by_user: dict[str, list[float]] = {}
    for row in table.to_pylist():
        by_user.setdefault(row["user_id"], []).append(float(row["rank"] <= 10))
    mean = np.mean([np.mean(hits) for hits in by_user.values()])
    assert found["metrics"]["HR@10"]["value"] == pytest.approx(mean)
    assert f"{found['users']:,} users · {found['targets']:,} targets" in format_report(found)
    compared = compare([in_time], protocol="time-successive")
    assert compared.rows[0].values["HR@10"]["value"] == pytest.approx(mean)
    assert "counts once" in (in_time / "model" / "README.md").read_text()


def test_a_run_is_not_evaluated_under_another_split(in_time: Path, one_out: Path) -> None:
    for run, protocol in ((one_out, "time"), (in_time, "clean")):
        with pytest.raises(
            UserError, match=rf"may contain what {protocol} tests; .*--protocol {protocol}"
        ):
            evaluate(run, protocol=protocol, progress=False)
    with pytest.raises(UserError, match=r"differ in .*protocol \(clean and time\)"):
        compare([one_out, in_time])


def test_new_items_are_ranked_alone_and_jointly(one_out: Path) -> None:
    """Against a slow ranking from all scores."""
    trained = load_own(one_out)
    counts = trained.splits.train_counts
    seen = set(np.flatnonzero(counts).tolist())
    vectors = trained.item_embeddings()
    for name in ("new-item", "new-item-joint", "cold", "warm-3"):
        evaluation = trained.splits_under(name).test
        ranks = rank_targets(trained.model, trained.catalogue_of(evaluation), evaluation)
        inputs = torch.from_numpy(evaluation.inputs.astype(np.int64))
        with torch.no_grad():
            all_scores = (trained.model.encode_users(inputs, vectors) @ vectors.T).tolist()
        new = set(evaluation.targets.tolist()) if name != "warm-3" else set()
        assert not new & seen and (name != "warm-3" or counts[evaluation.targets].min() >= 3)
        for row, target in enumerate(evaluation.targets.tolist()):
            others = {"new-item": seen, "new-item-joint": seen | new}.get(
                name, set(trained.splits.known.tolist())
            )
            history = set(evaluation.masked(np.array([row]))[0].tolist())
            others = others - history - {target}
            scores = all_scores[row]
            above = sum(scores[item] > scores[target] for item in others)
            equal = sum(scores[item] == scores[target] for item in others)
            assert ranks[row] == pytest.approx(1 + above + equal / 2), (name, row)
        report = evaluate(one_out, protocol=name, progress=False)
        assert ("optimistic" in format_report(report)) == (name == "new-item")
        assert report["metrics"] == metrics.summarise(ranks)
        assert report["catalogue"] == {
            "new-item": len(seen) + 1,
            "new-item-joint": len(seen | new),
        }.get(name, len(trained.splits.known))


@pytest.mark.parametrize("name", ["cold", "new-item", "new-item-joint", "time-successive"])
def test_equal_scores_are_at_chance_under_every_protocol(name: str, timed: Path) -> None:
    """The rank of a target among n items with equal scores is (n + 1) / 2."""
    evaluation = open_dataset(timed).splits(name, max_len=4).test
    same = torch.arange(ITEMS + 1)
    vectors = torch.zeros(ITEMS + 1, 2)
    catalogue = make_catalogue(vectors, same, evaluation.catalogue, appended=evaluation.new_targets)
    model: Any = SimpleNamespace(
        user_vectors=lambda users, tables: torch.ones(len(users.inputs), 2)
    )
    ranks = rank_targets(model, catalogue, evaluation)
    for row, target in enumerate(evaluation.targets.tolist()):
        masked = set(evaluation.masked(np.array([row]))[0].tolist())
        others = set(evaluation.catalogue.tolist()) - masked - {target}
        assert ranks[row] == 1 + len(others) / 2


def test_a_run_for_cold_targets_selects_by_cold_targets(timed: Path, tmp_path: Path) -> None:
    train(config(timed, tmp_path / "run", "--protocol=cold"))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    valid = json.loads((tmp_path / "run" / "metrics" / "valid.json").read_text())
    assert log[-2]["valid"]["HR@10"] == pytest.approx(valid["metrics"]["HR@10"]["value"])
    counts = load_own(tmp_path / "run").splits.train_counts
    items = [int(item[1:]) for item in ranks_of(tmp_path / "run", "valid")["item_id"].to_pylist()]
    assert items and not counts[items].any()


def test_a_run_records_the_content_of_its_own_protocol(timed: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.yaml"
    path.write_text("split: {kind: time, test_share: 0.3}\n")
    run = tmp_path / "run"
    train(config(timed, run, f"--protocol={path}"))
    path.write_text("split: {kind: time, test_share: 0.3}\nmask: none\n")
    recorded = load_own(run).config.protocol
    assert isinstance(recorded, dict) and recorded["split"]["test_share"] == 0.3
    assert json.loads((run / "metrics" / "test.json").read_text())["protocol"] == "late"
    evaluate(run, protocol=path, progress=False)  # the same name with another value
    assert (run / "metrics" / "test.late.json").exists()
    own, other = compare([run]), compare([run], protocol=path)
    assert own.rows[0].values != other.rows[0].values
    again = train(config(timed, run, "--config", str(run / "config.yaml"), "--resume"))
    assert again["protocol_settings"]["mask"]["kind"] == "history"


def test_the_report_page_shows_runs_under_a_cut_in_time(in_time: Path, tmp_path: Path) -> None:
    evaluate(in_time, protocol="time-successive", progress=False)
    for protocol in (None, "time-successive"):
        facts = report([in_time], output=tmp_path / "page.html", protocol=protocol, users=2, progress=False)  # fmt: skip
        assert facts["runs"][0]["protocol"] == (protocol or "time")


def test_users_without_a_vector_are_counted_and_ranked_with_zeros(
    timed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = [f"--data={timed}", f"--output={run}", "--protocol=time", "--train.epochs=1", "--train.trackers=[]"]  # fmt: skip
    found = train(
        parse_run_config([*words, "--recommender.kind=lightgcn", "--side.embedding_dim=8"])
    )
    evaluation = load_own(run).splits.test
    unknown = evaluation.rows == 0
    assert found["users_without_vector"] == int(unknown.sum()) > 0
    assert "ranks for them with a vector of zeros" in format_report(found)
    ranks = np.asarray(ranks_of(run, "test")["rank"])
    for row in np.flatnonzero(unknown):  # all scores are equal
        masked = set(evaluation.masked(np.array([row]))[0].tolist()) - {evaluation.targets[row]}
        assert ranks[row] == (len(set(evaluation.catalogue.tolist()) - masked) + 1) / 2
    facts = report([run], output=tmp_path / "page.html", users=2, progress=False)
    assert facts["runs"][0]["users"] == found["users"]
