"""Encoders that train begin with those of another model: whole, adapted and merged, and saved where they stay frozen."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.build import build, make_features
from models.config import RunConfig, parse_run_config
from models.items import TrainedEncoders
from models.recommender import Recommender
from models.runs.pretrained import base_of, from_pretrained, save_pretrained
from models.transfer.initial import InitialWeights
from toolkit import UserError, open_dataset

METHODS = ("frozen", "full", "dora", "houlsby")


@cache
def config_of(data: Path, bert: Path, *more: str) -> RunConfig:
    return parse_run_config(
        [
            *("--item=encoders", "--towers=[title]", "--side.embedding_dim=8", "--items.dropout=0"),
            *(f"--encoders.title.encoder={bert}", "--encoders.title.pooling=mean"),
            *("--encoders.title.dropout=0", f"--data={data}", "--output=unused", *more),
        ]
    )


def build_on(data: Path, bert: Path, *more: str, source: Path | None = None) -> Recommender:
    config = config_of(data, bert, *more)
    dataset = open_dataset(data)
    config = config.with_encoders(dataset)
    torch.manual_seed(3)
    initial = InitialWeights(str(source or ""), config.initial_parts)
    return build(config, dataset, begin=initial).eval()


def vectors(model: Recommender, data: Path, bert: Path) -> Tensor:
    features = make_features(
        config_of(data, bert), open_dataset(data), item_encoder=model.item_encoder
    )
    with torch.no_grad():
        encoded: Tensor = model.encode_items(features.gather(torch.arange(1, 6)))
    return encoded


def changed(folder: Path, data: Path, bert: Path, *more: str) -> Path:
    """A model whose trainable weights are no longer the initial ones."""
    model = build_on(data, bert, *more)
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    save_pretrained(model, folder)
    return folder


@pytest.fixture(scope="module")
def full(raw_dataset: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source whose encoder was trained in full."""
    folder = tmp_path_factory.mktemp("full") / "model"
    return changed(folder, raw_dataset, tiny_bert, "--adapt=full")


@pytest.mark.parametrize("method", METHODS)
def test_every_adaptation_begins_with_the_encoder_of_the_source_and_keeps_it(
    raw_dataset: Path, tiny_bert: Path, full: Path, tmp_path: Path, method: str
) -> None:
    """Adapter4Rec: trained in full on the source, frozen on the target, adapters added."""
    theirs = from_pretrained(full, encoders={"title": str(tiny_bert)})
    more = f"--adapt={method}"
    plain = vectors(build_on(raw_dataset, tiny_bert, more), raw_dataset, tiny_bert)
    model = build_on(raw_dataset, tiny_bert, more, source=full)
    expected, ours = (vectors(x, raw_dataset, tiny_bert) for x in (theirs, model))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, expected, atol=1e-3)
    # What is saved needs neither the source nor a base encoder with its weights.
    save_pretrained(model, tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model", encoders={"title": str(tiny_bert)})
    torch.testing.assert_close(vectors(loaded, raw_dataset, tiny_bert), ours)
    items: Any = loaded.item_encoder
    assert items.own_base == (set() if method == "full" else {"title"})


@pytest.mark.parametrize("method", ["lora", "dora", "top-1", "frozen"])
def test_what_weights_can_hold_is_merged_into_them(
    raw_dataset: Path, tiny_bert: Path, tmp_path: Path, method: str
) -> None:
    source = changed(tmp_path / "source", raw_dataset, tiny_bert, f"--adapt={method}")
    theirs = from_pretrained(source, encoders={"title": str(tiny_bert)})
    model = build_on(raw_dataset, tiny_bert, "--adapt=houlsby", source=source)
    expected, ours = (vectors(x, raw_dataset, tiny_bert) for x in (theirs, model))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert isinstance(model.item_encoder, TrainedEncoders)
    assert model.item_encoder.own_base == (set() if method == "frozen" else {"title"})


def test_what_weights_cannot_hold_is_refused(
    raw_dataset: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    more = ["--adapt=houlsby", "--sequence.adapt=houlsby"]
    source = changed(tmp_path / "source", raw_dataset, tiny_bert, *more)
    with pytest.raises(UserError, match=r"title: adapt houlsby added modules .*; sequence: adapt"):
        build_on(raw_dataset, tiny_bert, source=source)
    merged = changed(
        tmp_path / "merged", raw_dataset, tiny_bert, "--adapt=houlsby", "--sequence.adapt=lora"
    )
    theirs = from_pretrained(merged, encoders={"title": str(tiny_bert)})
    model = build_on(raw_dataset, tiny_bert, source=merged)  # under all, the title begins fresh
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(2, 4, 8, generator=generator), torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(model.sequence_encoder(*given), theirs.sequence_encoder(*given))


def test_a_checkpoint_of_a_frozen_encoder_is_read_without_the_source(
    raw_dataset: Path, tiny_bert: Path, full: Path
) -> None:
    """A resumed run keeps the same names as the run that began."""
    config = config_of(raw_dataset, tiny_bert, "--adapt=frozen")
    dataset = open_dataset(raw_dataset)
    config = config.with_encoders(dataset)
    began = InitialWeights(str(full), ["all"])
    first = build(config, dataset, begin=began)
    resumed = InitialWeights("gone", ["all"], recorded=began.lineage, stored=True)
    second = build(config, dataset, begin=resumed)
    kept = [x.item_encoder.base_names for x in (first, second)]
    assert kept[0] == kept[1] == frozenset()
    assert base_of(config)["encoders"] == {"title": str(tiny_bert)}
