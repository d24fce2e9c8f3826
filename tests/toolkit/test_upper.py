"""The upper part of an encoder on stored states is the whole encoder: values and gradients, in each family."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tiny_encoders import CLIP, CLIPS, FAMILIES, IMAGES, PATCHES, SMALL, TITLES, WORDS, write_model
from torch import Tensor

from toolkit import UserError
from toolkit.backbones import Encoder, EncoderSpec, FrozenEncoder, load_encoder
from toolkit.backbones.upper import STACKS, image_tokens, keep_upper_part

DEEP: dict[str, Any] = {**SMALL, "num_hidden_layers": 3}
PIXELS: dict[str, Any] = {**PATCHES, "num_hidden_layers": 3}
DISTIL = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "vocab_size": 80}
TEXTS = {
    "bert": hf.BertConfig(**DEEP, **WORDS),
    "roberta": hf.RobertaConfig(**DEEP, **WORDS),
    "xlm-roberta": hf.XLMRobertaConfig(**DEEP, **WORDS),
    "distilbert": hf.DistilBertConfig(**DISTIL),
    "llama": hf.LlamaConfig(**DEEP, **WORDS, num_key_value_heads=1),
    "mistral": hf.MistralConfig(**DEEP, **WORDS, num_key_value_heads=1),
    "qwen2": hf.Qwen2Config(**DEEP, **WORDS, num_key_value_heads=1),
    "qwen3": hf.Qwen3Config(**DEEP, **WORDS, num_key_value_heads=1, head_dim=8),
}
VISION = {
    "vit": hf.ViTConfig(**PIXELS),
    "deit": hf.DeiTConfig(**PIXELS),
    "dinov2": hf.Dinov2Config(**PIXELS),
    "clip_vision_model": hf.CLIPConfig(**{**CLIP, "vision_config": PIXELS}),
    "videomae": hf.VideoMAEConfig(**PIXELS, num_frames=4, tubelet_size=2),
}
LAYER = 2


def loaded(family: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Encoder, list[Any]]:
    config = TEXTS.get(family) or VISION[family]
    payloads: list[Any] = TITLES if family in TEXTS else IMAGES
    source = "title" if family in TEXTS else "cover"
    if family == "videomae":
        payloads, source = CLIPS, "frames"
    monkeypatch.setitem(FAMILIES, family, (config, payloads, source))
    spec = EncoderSpec(write_model(folder, family), source=source, pooling="mean", layers="group-1")
    return load_encoder(spec, final_norm=True), payloads


def stored(encoder: Encoder, payloads: list[Any]) -> list[Tensor]:
    rows = dict(FrozenEncoder(encoder).tokens(payloads, LAYER))
    return [rows[row] for row in range(len(payloads))]


def gradients(encoder: Encoder, states: Tensor) -> dict[str, Tensor]:
    (states * torch.linspace(-1, 1, states.shape[-1])).sum().backward()
    return {n: p.grad for n, p in encoder.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", [*TEXTS, *VISION])
def test_values_and_gradients_are_those_of_the_whole_encoder(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name for stack in STACKS for name in stack.families} == {*TEXTS, *VISION}
    encoder, payloads = loaded(family, tmp_path, monkeypatch)
    tokens = stored(encoder, payloads)
    encoder.requires_grad_(True)
    names = [name for name, _ in encoder.named_parameters()]
    whole = encoder(encoder.prepare(payloads))[:, -1]
    expected = gradients(encoder, whole)
    encoder.zero_grad()
    keep_upper_part(encoder, LAYER)
    assert set(names) > {name for name, _ in encoder.named_parameters()}  # their names are the same
    upper = encoder(encoder.prepare(tokens))[:, -1]
    assert torch.allclose(upper, whole, rtol=1e-6, atol=1e-6)
    found = gradients(encoder, upper)
    assert len(found) >= 10
    if family in ("vit", "deit", "dinov2"):  # the norm after the last layer is read and trains, too
        assert "layernorm.weight" in found
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-5, atol=1e-6), name


def test_texts_are_padded_again_and_frames_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = loaded("bert", tmp_path, monkeypatch)
    tokens = stored(encoder, TITLES)
    assert [len(one) for one in tokens] == [3, 30, 7]  # [CLS], letters, [SEP]: no padding
    keep_upper_part(encoder, LAYER)
    together = encoder(encoder.prepare(tokens))
    for row, one in enumerate(tokens):
        assert torch.allclose(encoder(encoder.prepare([one])), together[row], atol=1e-6)
    (tmp_path / "vit").mkdir()
    monkeypatch.setitem(FAMILIES, "frames", (VISION["vit"], CLIPS, "frames"))
    name = write_model(tmp_path / "vit", "frames")
    clips = load_encoder(EncoderSpec(name, source="frames", pooling="cls", layers="group-1"))
    assert image_tokens(clips) == 5
    with torch.no_grad():
        whole = clips(clips.prepare(CLIPS))[:, -1]
    frames = [list(one.split(5)) for one in stored(clips, CLIPS)]
    assert [len(clip) for clip in frames] == [4, 4, 6]
    keep_upper_part(clips, LAYER)
    assert torch.allclose(clips(clips.prepare(frames))[:, -1], whole, atol=1e-6)


def test_other_encoders_and_layers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = loaded("bert", tmp_path, monkeypatch)
    for layer in (0, 3):
        with pytest.raises(
            UserError, match=rf"after layer {layer} .* 3 layers; choose from 1 to 2"
        ):
            keep_upper_part(encoder, layer)
    (tmp_path / "t5").mkdir()
    t5 = load_encoder(EncoderSpec(write_model(tmp_path / "t5", "t5"), pooling="mean"))
    with pytest.raises(UserError, match=r"\(t5\) cannot run from a middle layer.* bert, roberta"):
        keep_upper_part(t5, 1)
