"""Costs of runs: TPME against hand fractions, and stored and live states of one tiny run, measured end to end."""

import json
from pathlib import Path

import forked
import pytest

import prep
from models import efficiency
from models.build import build
from models.cli import main
from models.config import parse_run_config, save_run_config
from models.efficiency import format_costs, plot_costs, tpme
from prep.config import EncodeConfig, PrepConfig
from toolkit import UserError, open_dataset


@pytest.fixture(autouse=True)
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own for each measurement shares the imports; the notebook of costs starts real ones."""
    monkeypatch.setattr(efficiency, "get_context", lambda _: forked.CONTEXT)


def write_run(folder: Path, data: Path, *options: str) -> Path:
    """The folder of a run that was never trained: its settings are all that is measured."""
    words = ["--data", str(data), "--output", str(folder), "--train.batch_size=16", *options]
    folder.mkdir()
    (folder / "config.yaml").write_text(save_run_config(parse_run_config(words)))
    return folder


def test_tpme_is_the_weighted_sum_of_what_was_normalised() -> None:
    # seconds 10, 20, 50; parameters 100, 300, 200; memory 7, 3, 5
    scores = tpme([(10, 100, 7), (20, 300, 3), (50, 200, 5)])
    assert scores == pytest.approx(
        [
            0.45 * 0 + 0.1 * 0 + 0.45 * 1,
            0.45 * (1 / 4) + 0.1 * 1 + 0.45 * 0,
            0.45 * 1 + 0.1 * (1 / 2) + 0.45 * (1 / 2),
        ]
    )


def test_tpme_of_what_does_not_differ_is_zero() -> None:
    assert tpme([(10, 100, 7)]) == [0.0]
    assert tpme([(10, 100, 7), (10, 100, 7)]) == [0.0, 0.0]
    assert tpme([(10, 100, 7), (20, 100, 7)]) == pytest.approx([0.0, 0.45])


def test_tpme_needs_the_memory_of_all() -> None:
    assert tpme([(10, 100, 7), (20, 100, None)]) == [None, None]


@pytest.mark.slow
def test_runs_of_trained_encoders_are_measured(
    raw_dataset: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    more = ["--towers=[title]", f"--encoders.title.encoder={tiny_bert}"]
    runs = [
        write_run(tmp_path / name, raw_dataset, f"--config={name}", *more)
        for name in ("fft", "lora")
    ]
    report = efficiency.efficiency(runs, states=["stored"], epochs=1, warmup=0)
    fft, lora = report["methods"]
    assert fft["states"] is None and fft["method"] == str(runs[0])
    assert fft["trainable_parameters"] > lora["trainable_parameters"] > 0
    assert all(one["seconds_per_epoch"] > 0 and one["peak_memory_bytes"] > 0 for one in (fft, lora))


@pytest.mark.slow
def test_a_run_is_measured_with_stored_and_with_live_states(
    synth_dump: Path,
    tiny_bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    prep.ingest(synth_dump, data)
    prep.encode(data, PrepConfig(encode={"title": EncodeConfig(encoder=str(tiny_bert))}))
    run = write_run(tmp_path / "run", data, "--towers=[title]", "--side.embedding_dim=16")
    out, plot = tmp_path / "costs.json", tmp_path / "costs.svg"
    words = [str(run), "--states", "stored", "live", "--epochs=2", "--output", str(out)]
    capsys.readouterr()
    assert main(["efficiency", *words, "--plot", str(plot)]) == 0

    report = json.loads(out.read_text())
    stored, live = report["methods"]
    assert [stored["states"], live["states"]] == ["stored", "live"]
    model = build(parse_run_config(["--config", str(run / "config.yaml")]), open_dataset(data))
    trainable = sum(parameter.numel() for parameter in model.parameters())
    for method in (stored, live):  # a frozen encoder trains nothing, wherever its states come from
        assert method["trainable_parameters"] == trainable
        assert len(method["epoch_seconds"]) == 2
        low, high = sorted(method["epoch_seconds"])
        assert 0 < low <= method["seconds_per_epoch"] <= high
        assert method["device"] != "cpu" or method["peak_memory_bytes"] > 0
    assert sorted(path.name for path in run.iterdir()) == [
        "config.yaml"
    ]  # nothing is written to it
    shown = capsys.readouterr().out
    assert format_costs(report) in shown
    header, rule, first, *_ = shown.splitlines()
    assert header.split(" | ")[0].strip("| ") == "method" and set(rule) <= set("|- ")
    assert f"{trainable:,}" in first and f"{run} (stored)" in first
    assert "(live)" in plot.read_text()


def test_the_id_baseline_is_measured_once(dataset: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "id", dataset, "--item=id")
    assert len(efficiency._variants(run, ["stored", "live"])) == 1
    side = write_run(tmp_path / "side", dataset, "--towers=[title]", "--states=live")
    assert [config.states for _, config in efficiency._variants(side, [])] == ["live"]
    assert [c.states for _, c in efficiency._variants(side, ["stored", "live"])] == [
        "stored",
        "live",
    ]


def test_what_cannot_be_measured_or_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: not a run folder, because it has no config"):
        efficiency.efficiency([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="0 timed epochs"):
        efficiency.efficiency([tmp_path], epochs=0)
    one = str(tmp_path / "costs.svg")
    with pytest.raises(UserError, match="--output and --plot are both"):
        main(["efficiency", "nowhere", "--output", one, "--plot", one])


def test_memory_that_is_not_known_is_neither_written_nor_drawn_as_none_used(tmp_path: Path) -> None:
    method = {"method": "a", "seconds_per_epoch": 2.0, "trainable_parameters": 1500, "tpme": None}
    report = {"methods": [{**method, "peak_memory_bytes": None, "memory": "x"}]}
    cells = [cell.strip() for cell in format_costs(report).splitlines()[2].split("|")[1:-1]]
    assert cells == ["a", "2.00", "1,500", "unknown", "unknown"]
    plot_costs(report, tmp_path / "costs.svg")
    drawn = (tmp_path / "costs.svg").read_text()
    assert "seconds per epoch" in drawn and "peak memory" not in drawn
