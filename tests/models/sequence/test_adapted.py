"""A user encoder that is adapted (`--sequence.adapt`): built, trained, saved, loaded, resumed and refused."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from public_iisan import public_weights
from safetensors.torch import load_file
from torch import nn

import models
from models.adaptation import ADAPTATIONS, check_gradients
from models.build import build
from models.config import load_run_config, parse_run_config
from models.parameters import rate_groups
from models.recommender import Recommender
from models.runs.pretrained import from_pretrained, save_pretrained
from models.sequence import SEQUENCES
from models.train import train
from models.transfer.initial import InitialWeights
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json, write_json

METHODS = {name.replace("K", "1"): "{}" for name in ADAPTATIONS if name not in ("prompt", "prefix")}
METHODS["k-adapter"] = "{width: 8, heads: 2, layers: [1]}"
METHODS["compacter"] = "{width: 8}"
SHAPES = {"text": (3, 16), "image": (4, 24)}  # the tiny dataset's towers: kept states, width


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("public") / "epoch-3.pt"
    torch.save({"model_state_dict": public_weights(*SHAPES.values())}, file)
    return file


def words(data: Path, output: Path | str, *more: str) -> list[str]:
    return ["--config=raw-image", f"--data={data}", f"--output={output}", "--train.trackers=[]",
            "--side.embedding_dim=16", "--side.bottlenecks={title: 5, cover: 7}", *more]  # fmt: skip


def built(data: Path, checkpoint: Path, *more: str) -> Recommender:
    config = parse_run_config(words(data, "unused", f"--init_from={checkpoint}", *more))
    begin = InitialWeights(config.init_from, config.initial_parts)
    return build(config, open_dataset(data), begin=begin)


def states_of(encoder: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    items = torch.randn(2, 10, 16, generator=generator)
    states: torch.Tensor = encoder(items, torch.ones(2, 10, dtype=torch.bool))
    return states


@pytest.fixture(scope="module")
def plain(dataset: Path, checkpoint: Path) -> nn.Module:
    """The user encoder with the checkpoint's weights, not adapted."""
    return built(dataset, checkpoint).eval().sequence_encoder


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_the_initial_weights_and_is_saved_and_loaded(
    dataset: Path, checkpoint: Path, plain: nn.Module, tmp_path: Path, method: str
) -> None:
    more = [f"--sequence.adapt={method}", f"--sequence.adapt_settings={METHODS[method]}"]
    model = built(dataset, checkpoint, *more).eval()
    encoder = model.sequence_encoder
    if method != "k-adapter":  # its join begins at random
        torch.testing.assert_close(states_of(encoder), states_of(plain), atol=1e-6, rtol=1e-6)
    groups = {group for group, _ in rate_groups(encoder)}
    assert groups <= {"sequence_encoder", "sequence_adapter", "sequence_norm"}
    assert bool(groups) == (method != "frozen")
    if method != "frozen":
        (states_of(encoder) * torch.randn(2, 10, 16)).sum().backward()
    check_gradients(encoder)
    with torch.no_grad():
        for x in encoder.parameters():
            x.add_(0.1 * torch.randn_like(x) * x.requires_grad)
    save_pretrained(model, tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model").sequence_encoder
    assert torch.equal(states_of(loaded), states_of(encoder))
    flags = [{n for n, x in e.named_parameters() if x.requires_grad} for e in (encoder, loaded)]
    assert flags[0] == flags[1]
    assert not torch.allclose(states_of(loaded), states_of(plain)) or method == "frozen"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"width": 10**9}, "width is 1000000000, which does not fit the weights"),
        (
            {"width": 4, "activation": "odd"},
            "activation of adapt houlsby is 'odd'; expected one of",
        ),
        ({"width": 4, "norms": True}, "the weights do not fit"),
    ],
)
def test_a_damaged_record_of_a_method_is_refused(
    dataset: Path, checkpoint: Path, tmp_path: Path, chosen: dict[str, Any], message: str
) -> None:
    more = ["--sequence.adapt=houlsby", "--sequence.adapt_settings={width: 8, norms: true}"]
    save_pretrained(built(dataset, checkpoint, *more), tmp_path)
    record = read_json(tmp_path / "config.json")
    record["sequence_encoder"]["adapt_settings"] = chosen
    write_json(tmp_path / "config.json", record)
    with pytest.raises(UserError, match=message):
        from_pretrained(tmp_path)


def final(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1])


@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(x, marks=pytest.mark.slow) for x in ("houlsby", "k-adapter"))]
)
def test_a_resumed_run_is_the_whole_run_bit_for_bit(
    dataset: Path, checkpoint: Path, plain: nn.Module, tmp_path: Path, method: str
) -> None:
    more = [f"--init_from={checkpoint}", f"--sequence.adapt={method}", "--sequence.dropout=0.2",
            f"--sequence.adapt_settings={METHODS[method]}", "--train.batch_size=32"]  # fmt: skip
    train(parse_run_config(words(dataset, tmp_path / "whole", *more, "--train.epochs=2")))
    train(parse_run_config(words(dataset, tmp_path / "run", *more, "--train.epochs=1")))
    train(parse_run_config(words(dataset, tmp_path / "run", *more, "--train.epochs=2", "--resume")))
    whole, ours = final(tmp_path / "whole"), final(tmp_path / "run")
    assert whole.keys() == ours.keys() and all(torch.equal(ours[n], x) for n, x in whole.items())
    before = plain.state_dict()
    after = models.load(tmp_path / "run").model.sequence_encoder.state_dict()
    same = {name for name, x in before.items() if name in after and torch.equal(after[name], x)}
    assert "blocks.0.feed_forward.norm.weight" in same and "positions.weight" in same
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[0]["rates"]["sequence_adapter"] == 1e-4
    config = load_run_config(tmp_path / "run" / "config.yaml")
    assert config.sequence.adapt == method  # type: ignore[attr-defined]
    assert f"adapted by {method}" in (tmp_path / "run" / "model" / "README.md").read_text()
    saved = read_json(tmp_path / "run" / "model" / "config.json")["sequence_encoder"]
    assert saved["adapt"] == method and saved["adapt_settings"]


@pytest.mark.parametrize(("method", "warned"), [("houlsby", 1), ("full", 0)])
def test_random_weights_that_stay_are_warned_of_once(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, warned: int
) -> None:
    more = ["--item=id", f"--sequence.adapt={method}", "--train.epochs=1", "--train.batch_size=64"]
    train(parse_run_config([f"--data={dataset}", f"--output={tmp_path / 'run'}", *more]))
    text = f"warning: sequence.adapt {method} keeps random weights of the sequence encoder"
    assert capsys.readouterr().err.count(text) == warned


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sequence.adapt=loraa"], "sequence: adapt 'loraa' is unknown; expected one of frozen"),
        (
            ["--sequence.adapt=lora", "--sequence.adapt_settings={ranks: 2}"],
            "sequence: adapt_settings names ranks, and adapt lora has rank, alpha",
        ),
        (["--sequence.adapt_settings={rank: 2}"], "needs a method; add --sequence.adapt METHOD"),
        (["--sequence.adapt=top-3"], "sequence: adapt top-3: .* depend on 2 layers"),
        (
            ["--sequence.adapt=prompt"],
            "sequence: adapt prompt needs .* SASRec .* take one of frozen",
        ),
    ],
)
def test_what_a_user_encoder_cannot_take_is_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        train(parse_run_config(words(dataset, tmp_path / "run", *more)))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def run_of(encoder: nn.Module, items: torch.Tensor) -> torch.Tensor:
    """States of two sequences of six items, the last of them behind a mask token where the encoder has one."""
    given = [items, torch.ones(2, 6, dtype=torch.bool)]
    if getattr(encoder, "takes_mask", False):
        given.append(torch.arange(6).expand(2, -1) == 5)
    times = 60_000 * torch.arange(6).expand(2, -1)
    more = {"times": times} if getattr(encoder, "takes_times", False) else {}
    states: torch.Tensor = encoder(*given, **more)
    return states


@pytest.mark.parametrize("name", [name for name in SEQUENCES if name != "sasrec"])
def test_other_user_encoders_take_the_methods_that_they_can(name: str) -> None:
    kind, items = SEQUENCES[name], torch.randn(2, 6, 16)
    settings = kind.settings(max_len=6, dropout=0.0)
    plain = kind.build(settings, embedding_dim=16).eval()
    taken = []
    for method, chosen in METHODS.items():
        encoder = deepcopy(plain)
        chosen_settings = yaml.safe_load(chosen)
        adapted = replace(settings, adapt=method, adapt_settings=chosen_settings)
        try:
            kind.adapt(encoder, adapted)
        except UserError as error:
            assert f"sequence: adapt {method} needs" in str(error)
            continue
        taken.append(method)
        if method != "k-adapter":
            torch.testing.assert_close(run_of(encoder, items), run_of(plain, items))
        loaded = kind.load(kind.describe(encoder)).eval()
        loaded.load_state_dict(encoder.state_dict())
        assert torch.equal(run_of(loaded, items), run_of(encoder, items))
        if method != "frozen":
            (run_of(encoder, items) * torch.randn(2, 6, 16)).sum().backward()
        check_gradients(encoder)
    assert {"frozen", "full"} <= set(taken)
    assert ("houlsby" in taken) == (name == "bert4rec")


def test_a_kind_without_the_settings_is_built_as_before() -> None:
    class Settings:
        kind = "sasrec"
        max_len = 5

    kind: Any = SEQUENCES["sasrec"]
    kind.check(Settings())
    encoder = kind.load({"embedding_dim": 8, "max_len": 5})
    assert kind.describe(encoder) == encoder.settings() and not hasattr(encoder, "adapted")
