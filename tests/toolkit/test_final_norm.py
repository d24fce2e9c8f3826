"""Encoders that train read the last state through the network's final norm; stored states come before it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_encoders import ALL, payloads_of, source_of, write_model
from torch import nn

from models.adaptation import adapt
from toolkit.backbones import Encoder, EncoderSpec, load_encoder
from toolkit.backbones.final_norm import FinalNorm

# What the code of each library says; None where the last state is normalised already, or by its layer, or not at all.
FINAL: dict[str, FinalNorm | None] = {
    **dict.fromkeys(ALL),
    "clip text": FinalNorm("final_layer_norm", pooled=False),
    "vit": FinalNorm("layernorm", pooled=False),
    "vit of frames": FinalNorm("layernorm", pooled=False),
    "clip image": FinalNorm("post_layernorm", pooled=True),
    "mae": FinalNorm("layernorm", pooled=False),
    "swin": FinalNorm("layernorm", pooled=False),
    "x-clip": FinalNorm("post_layernorm", pooled=True),
    "open_clip text": FinalNorm("ln_final", pooled=False),
    "open_clip image": FinalNorm("ln_post", pooled=False),
}

Load = Callable[..., tuple[Encoder, Encoder]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A family's encoder without and with its final norm, whose gain and bias are no longer neutral."""
    kept: dict[str, tuple[Encoder, Encoder]] = {}

    def load(family: str, pooling: Any = "mean") -> tuple[Encoder, Encoder]:
        if family not in kept:
            name = write_model(tmp_path_factory.mktemp("encoder"), family)
            spec = EncoderSpec(name, source=source_of(family), pooling="mean")
            kept[family] = load_encoder(spec), load_encoder(spec, final_norm=True)
            for encoder in kept[family]:
                if norm := FINAL[family]:
                    unsettle(encoder.model.get_submodule(norm.path))
        pair = deepcopy(kept[family])
        for encoder in pair:
            encoder.spec = replace(encoder.spec, pooling=pooling)
        return pair

    return load


def unsettle(norm: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)


@pytest.mark.parametrize("family", ALL)
def test_the_last_state_alone_is_read_through_the_final_norm(family: str, load: Load) -> None:
    stored, trained = load(family)
    assert trained.final_norm == FINAL[family] and stored.final_norm is None
    inputs = stored.prepare(payloads_of(family))
    with torch.no_grad():
        before, after = stored(inputs), trained(inputs)
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert torch.equal(before[:, -1], after[:, -1]) == (FINAL[family] is None)


def test_it_is_what_the_libraries_return(load: Load) -> None:
    with torch.no_grad():
        for family in ("vit", "mae", "swin", "clip text"):
            _, encoder = load(family)
            inputs = encoder.prepare(payloads_of(family))
            tensors = dict(inputs.tensors)
            if family == "mae":
                tensors["noise"] = torch.arange(4.0).expand(3, -1)  # in the order of the patches
            theirs = encoder.model(**tensors).last_hidden_state
            mask = tensors.get("attention_mask", torch.ones(theirs.shape[:2]))[..., None]
            mean = (theirs * mask).sum(dim=1) / mask.sum(dim=1)
            torch.testing.assert_close(encoder(inputs)[:, -1], mean, atol=1e-6, rtol=1e-5)
        _, encoder = load("clip image", "cls")
        inputs = encoder.prepare(payloads_of("clip image"))
        theirs = encoder.model(**inputs.tensors).pooler_output
        torch.testing.assert_close(encoder(inputs)[:, -1], theirs, atol=1e-6, rtol=1e-5)
        _, encoder = load("open_clip image", "cls")
        inputs = encoder.prepare(payloads_of("open_clip image"))
        theirs = encoder.model(inputs.tensors["pixel_values"])
        ours = encoder(inputs)[:, -1] @ encoder.model.proj
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", ["full", "top-1", "bitfit", "layernorm"])
@pytest.mark.parametrize("family", [name for name, norm in FINAL.items() if norm is not None])
def test_it_trains(family: str, method: str, load: Load) -> None:
    for encoder in load(family):
        adapted = adapt(encoder, method)
        read = encoder.final_norm is not None
        assert (f"model.{FINAL[family].path}.bias" in adapted.trainable) == read
