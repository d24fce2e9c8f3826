"""What docs/guides/adapt.md says of the methods: their settings with defaults, and trainable parameters at BERT-base."""

import re
from copy import deepcopy
from dataclasses import fields

import pytest
import torch
from documents import ROOT
from transformers import BertConfig, BertModel

from benchmarks.golden.towers import as_encoder
from models.adaptation import ADAPTATIONS, adapt
from models.parameters import count_trainable
from toolkit.backbones import Encoder

WORDS, LAYERS, WIDTH = 30_522, 12, 768  # of BERT-base


def rows() -> dict[str, list[str]]:
    """The cells of the table of methods, by method."""
    page = (ROOT / "docs" / "guides" / "adapt.md").read_text(encoding="utf-8")
    table = page.split("## The methods")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, flags=re.M)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}


def encoder(layers: int) -> Encoder:
    """BERT-base of fewer layers and words."""
    ids = torch.tensor([[1, 2, 3]])
    model = BertModel(BertConfig(num_hidden_layers=layers, vocab_size=10), add_pooling_layer=False)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return as_encoder(model, inputs, source="title")


@pytest.fixture(scope="module")
def encoders() -> dict[int, Encoder]:
    return {layers: encoder(layers) for layers in (2, 3)}


def test_every_method_has_a_row() -> None:
    assert list(rows()) == list(ADAPTATIONS)


@pytest.mark.parametrize("method", ADAPTATIONS)
def test_settings_and_defaults(method: str) -> None:
    said = re.findall(r"`([a-z_]+)` ([^\s,(]+)", rows()[method][2])
    if method == "dora":  # "as lora, without biases"
        said = [pair for pair in rows_of("lora") if pair[0] != "biases"]
    if method == "top-K":
        said = [("layers", "2")]
    settings = ADAPTATIONS[method].settings()
    real = {field.name: getattr(settings, field.name) for field in fields(settings)}
    assert dict(said) == {
        name: str(f"{x:g}" if type(x) is float else x).lower() for name, x in real.items()
    }


def rows_of(method: str) -> list[tuple[str, str]]:
    return re.findall(r"`([a-z_]+)` ([^\s,(]+)", rows()[method][2])


@pytest.mark.parametrize("method", ADAPTATIONS)
def test_trainable_parameters_at_bert_base(method: str, encoders: dict[int, Encoder]) -> None:
    counts = []
    for few in encoders.values():
        adapted = deepcopy(few)
        adapt(adapted, method.replace("K", "2"))
        counts.append(count_trainable(adapted))
    total = counts[0] + (LAYERS - 2) * (counts[1] - counts[0])  # it is linear in the layers
    if method == "full":
        total += (WORDS - 10) * WIDTH
    assert rows()[method][3] == f"{total:,}"
