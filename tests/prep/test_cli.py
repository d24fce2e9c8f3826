"""The command line: exit statuses, one line per mistake, options and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import toolkit
from prep.cli import main
from toolkit import UserError

ROOT = Path(__file__).parents[2]


def prep(*words):
    """Runs `python -m prep` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "prep", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def one_line_error(result):
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("configuration:")]
    assert line.startswith("error: ")
    return line


@pytest.mark.slow
def test_synth_build_check(tmp_path, tiny_bert, capsys):
    dump, out = tmp_path / "dump", tmp_path / "out"
    assert run("synth", dump, "--items", 20, "--users", 30) == 0
    (dump / "prep.yaml").write_text(f"encode:\n  title: {{encoder: {tiny_bert}, pooling: mean}}\n")
    first = next((dump / "covers").iterdir())
    first.write_bytes(b"")
    capsys.readouterr()
    built, told = run("build", dump, out, "--media.workers", 1), capsys.readouterr()
    assert (built, f"configuration: {dump / 'prep.yaml'}" in told.err) == (0, True)
    assert "covers: 20 of 20 items done now; errors: 1 empty" in told.out
    assert toolkit.open_dataset(out).states_metadata("title")["pooling"] == "mean"
    assert run("check", out) == 0
    assert "19 ok, 1 empty" in capsys.readouterr().out
    (out / "covers" / "part-00000.arrow").unlink()
    assert run("check", out) == 1
    told = capsys.readouterr().err
    assert told.startswith("broken: ") and "covers: no such table" in told


def test_a_mistake_is_one_line_and_status_2():
    assert "absent: no such folder" in one_line_error(prep("build", "absent", "out"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build"], "are required: DUMP, DATASET; see python -m prep build --help"),
        (["build", "dump"], "are required: DATASET;"),
        (
            ["build", "dump", "out", "--media.pixels", "3"],
            "unrecognized arguments: --media.pixels 3",
        ),
        (["build", "dump", "out", "--media.frame-count=3"], "did you mean --media.frame_count"),
        (["build", "dump", "out", "--media.backend", "pyva"], "one of 'pyav', 'decord', .*pyva"),
        (
            ["build", "dump", "out", "--k_core", "many"],
            "k_core: Expected a whole number. Got value: many",
        ),
        (["check", "absent", "--quite"], "--quite; did you mean --quiet"),
        (["bulid", "dump", "out"], "no command 'bulid'; did you mean build.; commands: synth, "),
        (["--quiet", "check"], "no command '--quiet'; commands: synth, "),
        (["--print-completion", "fish"], "--print-completion fish: expected one of bash, zsh"),
    ],
)
def test_what_is_misspelt_or_missing_is_named_with_the_near_word(words, message):
    with pytest.raises(UserError, match=message):
        run(*words)


def test_no_command_prints_where_to_begin(capsys):
    assert run() == 2
    out, err = capsys.readouterr()
    assert out == "" and "where to begin:\n  python -m prep synth" in err


def test_help_names_every_command_without_loading_torch():
    code = "import sys; sys.argv=['prep','--help']\nfrom prep.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    for command in ("synth", "build", "ingest", "media", "encode", "check"):
        assert f"    {command} " in result.stdout
    assert result.stdout.strip().endswith("False")


@pytest.fixture
def small(write_microlens):
    return write_microlens()


def run(*words):
    return main([str(word) for word in words])


def test_options_make_towers_of_any_name(small, tmp_path, tiny_bert):
    options = ["--encode.blurb.encoder", tiny_bert, "--encode.blurb.layers", "[0,2]"]
    assert run("build", small, tmp_path / "out", *options, "--encode.blurb.pooling=last") == 0
    about = toolkit.open_dataset(tmp_path / "out").states_metadata("blurb")
    assert (about["kept"], about["pooling"], about["source"]) == ("0,1,3", "last", "title")


def test_options_override_and_add_to_the_file(small, tmp_path, tiny_bert):
    text = f"name: mine\nencode:\n  title: {{encoder: {tiny_bert}, layers: [0], max_tokens: 7}}\n"
    (small / "prep.yaml").write_text(text)
    extra = ["--encode.title.pooling", "mean", "--encode.other.encoder", tiny_bert]
    assert run("build", small, tmp_path / "out", *extra) == 0
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.name == "mine"
    assert data.towers() == ["other", "title"]
    assert data.manifest["config"]["encode"]["title"]["max_tokens"] == 7
    about = data.states_metadata("title")
    assert (about["pooling"], about["kept"]) == ("mean", "0,1")


def test_a_named_config_replaces_the_default_one(small, tmp_path):
    (small / "prep.yaml").write_text("name: theirs\n")
    (tmp_path / "my.yaml").write_text("name: ours\n")
    assert run("ingest", small, tmp_path / "out", "--config", tmp_path / "my.yaml") == 0
    assert toolkit.open_dataset(tmp_path / "out").name == "ours"


def test_encode_goes_on_from_what_was_recorded(small, tmp_path, tiny_bert, capsys):
    (small / "prep.yaml").write_text(f"encode:\n  title: {{encoder: {tiny_bert}, pooling: mean}}\n")
    assert run("ingest", small, tmp_path / "out") == 0
    (small / "prep.yaml").unlink()
    assert run("media", small, tmp_path / "out", "--media.workers", 1) == 0  # its part alone
    assert run("encode", tmp_path / "out", "--encode.more.encoder", tiny_bert) == 0
    data = toolkit.open_dataset(tmp_path / "out")
    assert data.towers() == ["more", "title"]
    assert data.states_metadata("title")["pooling"] == "mean"
    assert run("encode", tmp_path / "out") == 0
    assert "encode:more: 0 of 2 items done now" in capsys.readouterr().out


def test_print_config_round_trips(small, tmp_path, capsys):
    options = ["--media.cover_px", "99", "--encode.a.encoder", "x", "--encode.a.layers", "[1, 2]"]
    with pytest.raises(SystemExit):
        run("build", small, tmp_path / "out", *options, "--print_config")
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        run(
            "build",
            small,
            tmp_path / "out",
            "--config",
            tmp_path / "printed.yaml",
            "--print_config",
        )
    assert capsys.readouterr().out == printed
    assert yaml.safe_load(printed)["media"]["cover_px"] == 99
    assert yaml.safe_load(printed)["encode"]["a"]["layers"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("medai: {cover_px: 3}\n", "medai"),
        ("media: {cover: 3}\n", "cover"),
        ("encode: {title: {encoder: x, poling: cls}}\n", "poling"),
        ("media: {backend: gstreamer}\n", "gstreamer"),
        ("layout: netflix\n", "netflix"),
        ("media: {frame_count: 0}\n", r"media.frame_count is 0; it must be at least 1"),
    ],
)
def test_mistakes_in_the_file_are_named(small, tmp_path, text, message):
    (small / "prep.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        run("build", small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def sampled(small, tmp_path, monkeypatch):
    """A dataset, and how `sample_captions` was called."""
    assert run("ingest", small, tmp_path / "out") == 0
    calls = []
    monkeypatch.setattr(
        "prep.sample_captions",
        lambda dataset, config, **options: calls.append((dataset, config.caption, options)),
    )
    return tmp_path / "out", calls


@pytest.mark.parametrize(
    ("words", "count", "page"),
    [
        (["--sample", "3"], 3, None),
        (["--html"], 20, "out/captions-sample.html"),
        (["--sample=3", "--html"], 3, "out/captions-sample.html"),
        (["--html", "look.html", "--sample", "3"], 3, "look.html"),
    ],
)
def test_a_sample_of_captions_and_its_page(
    sampled, tmp_path, monkeypatch, capsys, words, count, page
):
    monkeypatch.chdir(tmp_path)
    assert run("caption", "out", *words, "--caption.said.model", "m") == 0
    ((dataset, caption, options),) = sampled[1]
    assert (dataset, list(caption), caption["said"].model) == (Path("out"), ["said"], "m")
    assert options == {"count": count, "html": page and Path(page)}
    assert (f"page: {page}" in capsys.readouterr().out) == bool(page)


def test_a_sample_of_no_item_is_a_mistake(small, tmp_path):
    assert run("ingest", small, tmp_path / "out") == 0
    with pytest.raises(UserError, match="the sample size is 0; it must be at least 1"):
        run("caption", tmp_path / "out", "--sample", "0")


def test_a_sample_stores_nothing_that_could_be_done_again(sampled):
    out, calls = sampled
    with pytest.raises(UserError, match="--retry-failed does items again, and --sample stores no"):
        run("caption", out, "--sample", "3", "--retry-failed")
    assert calls == []


def test_a_step_and_a_check_answer_as_json(small, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("ingest", small, out, "--json") == 0
    printed = capsys.readouterr()
    tables = {"items": {"rows": 2}, "interactions": {"rows": 5}}
    assert json.loads(printed.out) == {"dataset": str(out), "tables": tables}
    assert printed.err.startswith("ingest: microlens, 1 users, 2 items")
    assert run("check", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["broken"] == []
    (out / "items" / "part-00000.arrow").unlink()
    assert run("check", out, "--json", "--quiet") == 1
    reasons = json.loads(capsys.readouterr().out)["broken"]
    assert any("items/part-00000.arrow" in reason for reason in reasons), reasons


def test_quiet_steps_say_nothing(small, tmp_path, capsys):
    (small / "prep.yaml").write_text("name: mine\n")
    assert run("build", small, tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
