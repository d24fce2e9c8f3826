"""Kinds that somebody registers without a fork: trained, saved, loaded and reported; where absent, they are named."""

from collections.abc import Iterator
from pathlib import Path

import own_fusion
import own_items
import own_sequence
import pytest
import torch

import models
from models.build import make_features
from models.config import load_run_config, make_parser, named_kinds, parse_run_config
from models.export import export_items
from models.report import report
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json

# A loss of one's own joins this list, as one file, once losses are declared in a dict too.
OWN = ["--sequence.kind=gru", "--sequence.layers=2", "--sequence.max_len=5", "--fusion.kind=weighted",
       "--fusion.temperature=0.5", "--item=vectors-and-towers", "--items.hidden=8", "--towers=[title, cover]",
       "--side.embedding_dim=16", "--train.epochs=2", "--train.trackers=[]"]  # fmt: skip
OF_EACH = {
    "vectors-and-towers": models.ITEMS,
    "gru": models.SEQUENCES,
    "weighted": models.FUSIONS,
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Importing the three modules registered their kinds; afterwards they are gone, so that no other test sees them."""
    yield
    for name, kinds in OF_EACH.items():
        del kinds[name]


@pytest.fixture(scope="module")
def run(reported: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained from the command line's Python twin."""
    output = tmp_path_factory.mktemp("own") / "run"
    data = load_run_config(reported[0] / "config.yaml").data
    train(parse_run_config([*OWN, f"--data={data}", f"--output={output}"]))
    return output


def test_a_run_of_own_kinds_is_trained_saved_and_loaded(run: Path) -> None:
    model = models.load(run)
    items, users = model.model.item_encoder, model.model.sequence_encoder
    assert isinstance(items, own_items.VectorsAndTowers) and isinstance(users, own_sequence.GRU)
    assert isinstance(items.fusion, own_fusion.Weighted)
    assert (items.hidden, items.fusion.temperature, users.gru.num_layers) == (8, 0.5, 2)
    assert items.fusion.weights.abs().sum() > 0  # it has learnt
    saved = read_json(run / "model" / "config.json")
    assert saved["item_encoder"]["fusion"] == {"kind": "weighted", "temperature": 0.5}
    assert saved["sequence_encoder"]["kind"] == "gru"
    assert model.recommend([["i1", "i2"]], k=3).num_rows == 3
    written = load_run_config(run / "config.yaml")
    assert written == parse_run_config(["--config", str(run / "config.yaml")])
    assert isinstance(written.sequence, own_sequence.GRUSettings) and written.items.hidden == 8


def test_a_run_of_own_kinds_is_resumed(run: Path) -> None:
    config = load_run_config(run / "config.yaml")
    words = [*OWN, f"--data={config.data}", f"--output={run}", "--resume"]
    with pytest.raises(
        UserError, match=r"sequence\.layers = 2, but this call sets sequence\.layers = 1"
    ):
        train(parse_run_config([*words, "--sequence.layers=1"]))
    assert train(parse_run_config(words)) == read_json(run / "metrics" / "test.json")


def test_its_card_and_its_report_say_what_the_declarations_say(run: Path, tmp_path: Path) -> None:
    card = (run / "model" / "README.md").read_text()
    assert "Items are learned vectors beside their 2 towers." in card
    assert (
        "a GRU of 2 layers over 5 items" in card
        and "the model has no vectors for other items" in card
    )
    assert '{"id": torch.arange(data.items.num_rows + 1)} | {name: data.states(name)' in card
    facts = report([run], output=tmp_path / "page.html", users=1, progress=False)["runs"][0]
    assert facts["item"] == "vectors-and-towers" and facts["settings"]["items.hidden"] == 8
    assert facts["gates"]["why_not"] == "its item encoder has no gates"


def test_what_a_kind_cannot_do_is_refused(run: Path, dataset: Path) -> None:
    with pytest.raises(
        UserError, match="a model of vectors and towers has vectors for its training items only"
    ):
        export_items(run, run.parent / "items.npy", data=dataset)
    words = [*OWN, "--data=DATA", "--output=RUN", "--train.initial_std=0.02"]
    config = parse_run_config(words)
    with pytest.raises(
        UserError, match=r"initial_std is 0\.02, but sequence\.kind gru has no such"
    ):
        config.sequence_kind.build(config.sequence, embedding_dim=8, initial_std=0.02)


@pytest.mark.parametrize("name", OF_EACH)
def test_a_kind_that_is_not_registered_is_one_clear_error(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(OF_EACH[name], name)
    asks = {
        "run": lambda: models.load(run),
        "folder": lambda: models.from_pretrained(run / "model"),
        "command line": lambda: parse_run_config([*OWN, "--data=DATA", "--output=RUN"]),
    }
    for ask in asks.values():
        with pytest.raises(UserError, match=f"{name}'.*known: .*import") as error:
            ask()
        assert "\n" not in str(error.value)


def test_features_of_several_sources_are_joined_by_name(run: Path) -> None:
    config = load_run_config(run / "config.yaml")
    data = open_dataset(config.data)
    features = make_features(config, data)
    gathered = features.gather(torch.tensor([3, 1]))
    assert list(gathered) == ["id", "title", "cover"] and gathered["id"].tolist() == [3, 1]
    assert torch.equal(features.same_as(), torch.arange(data.items.num_rows + 1))


def test_help_and_keys_are_those_of_the_chosen_kinds() -> None:
    shown = make_parser(kinds=named_kinds({"": {"sequence": {"kind": "gru"}}})).format_help()
    assert "--sequence.layers" in shown and "--sequence.heads" not in shown
    assert ",hstu,gru}" in shown and "--items" not in shown
    assert "--sequence.heads" in make_parser().format_help()
    for words, message in (
        (["--sequence.kind=gru", "--sequence.heads=4"], r"--sequence\.heads"),
        (["--sequence.layers=4"], r"--sequence\.layers"),
        (["--items.hidden=4"], r"--items\.hidden"),
        (["--fusion.temperature=4"], r"--fusion\.temperature"),
    ):
        with pytest.raises(UserError, match=f"unrecognized arguments: {message}"):
            parse_run_config(["--data=DATA", "--output=RUN", *words])


def test_a_recipe_of_another_kind_leaves_its_settings_out_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--data=DATA", "--output=RUN"]
    config = parse_run_config([*where, "--config=paper", "--sequence.kind=gru"])
    assert config.sequence == own_sequence.GRUSettings(max_len=10)
    told = capsys.readouterr().err
    assert "paper.yaml: sequence.heads, sequence.blocks, sequence.dropout: " in told
    (tmp_path / "wrong.yaml").write_text("sequence: {headz: 2}\n")
    with pytest.raises(UserError, match=r"unknown key 'sequence\.headz'"):
        parse_run_config([*where, f"--config={tmp_path / 'wrong.yaml'}", "--sequence.kind=gru"])
    (tmp_path / "own.yaml").write_text("sequence: {kind: gru, layers: 3}\n")
    config = parse_run_config([*where, f"--config={tmp_path / 'own.yaml'}"])
    assert config.sequence == own_sequence.GRUSettings(layers=3)
    inline = parse_run_config([*where, "--sequence={kind: gru, layers: 3}"])
    assert inline.sequence == config.sequence
    back = parse_run_config([*where, f"--config={tmp_path / 'own.yaml'}", "--sequence.kind=sasrec"])
    assert back.sequence == type(parse_run_config(where).sequence)()
