"""Both sides of open_clip models: every kept state equals the library's own, computed item by item.

The expected layer outputs come from `forward_intermediates`, which our code does not use; the embedding outputs come from the
model's parts.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import torch
from hub_cache import COMMIT, cache_as_downloaded
from open_clip.modified_resnet import ModifiedResNet
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from toolkit import UserError
from toolkit.backbones import load_backbone
from toolkit.images import decode_jpeg

EMBED = {"embed_dim": 8}
VIT = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
TEXT = {"context_length": 12, "width": 16, "heads": 2, "layers": 2}  # CLIP's own vocabulary
TIMM = {"timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear"}
MEAN_STD = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
TITLES = ["a", "the longest of these titles, which is cut at its end for all that", "x! & y"]


def jpeg(seed: int, height_px: int = 40, width_px: int = 60) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


IMAGES = [jpeg(0), jpeg(1, 100, 20)]


def save(folder: Path, config: dict[str, Any], kind: type = open_clip.CLIP) -> str:
    """A random model as open_clip's hub repositories are laid out."""
    about = {"model_cfg": config, "preprocess_cfg": MEAN_STD}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.manual_seed(0)
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"open_clip:{folder}"


@pytest.fixture(scope="module")
def tiny_open_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ViT and a text transformer of 2 layers, 16 wide."""
    folder = tmp_path_factory.mktemp("open_clip")
    return save(folder, {**EMBED, "vision_cfg": VIT, "text_cfg": TEXT})


def library(encoder: str) -> tuple[Any, Any]:
    folder = encoder.removeprefix("open_clip:")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), transform  # type: ignore[union-attr]


@torch.no_grad()
def vision_means(
    encoder: str, image: bytes, embed: Callable[[Any, Tensor], Tensor]
) -> list[Tensor]:
    """The mean over positions of the embedding output and every layer's."""
    model, transform = library(encoder)
    pixels = transform(Image.fromarray(decode_jpeg(image)))[None]
    trunk = getattr(model.visual, "trunk", model.visual)
    maps = embed(trunk, pixels.clone())
    if trunk is model.visual:
        found = trunk.forward_intermediates(pixels, output_fmt="NCHW", output_extra_tokens=True)
        layers, prefix = found["image_intermediates"], found.get("image_intermediates_prefix")
    else:
        vit = hasattr(trunk, "pos_embed")
        found = trunk.forward_intermediates(
            pixels, intermediates_only=True, **({"return_prefix_tokens": True} if vit else {})
        )
        layers = [one[0] if vit else one for one in found]
        prefix = [one[1] for one in found] if vit else None
    if isinstance(trunk, ModifiedResNet):
        layers = layers[1:]  # the library counts the stem, which is our embedding output
    flat = [layer[0].flatten(1).T for layer in layers]
    if prefix is not None:
        flat = [torch.cat([own[0], layer]) for own, layer in zip(prefix, flat, strict=True)]
    first = maps[0] if maps.dim() == 3 else maps[0].flatten(1).T
    return [state.mean(0) for state in (first, *flat)]


# By family: its vision configuration, its embedding output, and the width of each state.
VISION: dict[str, tuple[dict[str, Any], Callable[[Any, Tensor], Tensor], tuple[int, ...]]] = {
    "own vit": (VIT, lambda visual, x: visual._embeds(x), (16, 16, 16)),
    "own resnet": (
        {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        lambda visual, x: visual.stem(x),
        (8, 32, 64, 128, 256),
    ),
    "timm vit": (
        {"timm_model_name": "test_vit", "image_size": 160, **TIMM},
        lambda trunk, x: trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(x))),
        (64,) * 7,
    ),
    "timm resnet": (  # to timm, the stem's activation is the first stage
        {"timm_model_name": "test_resnet", "image_size": 64, **TIMM},
        lambda trunk, x: trunk.bn1(trunk.conv1(x)),
        (32, 32, 32, 48, 192, 96),
    ),
    "timm convnext": (
        {"timm_model_name": "test_convnext", "image_size": 64, **TIMM},
        lambda trunk, x: trunk.stem(x),
        (24, 24, 32, 48, 64),
    ),
    "timm, channels last": (
        {"timm_model_name": "test_mambaout", "image_size": 64, **TIMM, "timm_proj": "none"},
        lambda trunk, x: trunk.stem(x).permute(0, 3, 1, 2),
        (16, 16, 32, 48, 64),
    ),
}


@pytest.mark.parametrize("family", VISION)
def test_vision_towers_equal_the_library(family: str, tmp_path: Path) -> None:
    config, embed, widths = VISION[family]
    encoder = save(tmp_path, {**EMBED, "vision_cfg": config, "text_cfg": TEXT})
    backbone = load_backbone(encoder, modality="image", pooling="mean")
    assert backbone.encoder.widths == widths
    assert backbone.encoder.has_cls == (family in ("own vit", "timm vit"))
    ours = backbone.encode(IMAGES)
    assert ours.shape == (2, len(widths), max(widths))
    for row, image in enumerate(IMAGES):
        expected = vision_means(encoder, image, embed)
        for level, state in enumerate(expected):
            torch.testing.assert_close(ours[row, level, : widths[level]], state)
            assert not ours[row, level, widths[level] :].any()
    few = load_backbone(encoder, modality="image", pooling="mean", batch_size=1)
    torch.testing.assert_close(few.encode(IMAGES), ours, atol=1e-5, rtol=1e-5)


def test_the_last_state_is_what_the_library_projects(tiny_open_clip: str) -> None:
    cls = load_backbone(tiny_open_clip, modality="image").encode(IMAGES)[:, -1]
    model, transform = library(tiny_open_clip)
    pixels = torch.stack([transform(Image.fromarray(decode_jpeg(image))) for image in IMAGES])
    with torch.no_grad():
        expected = model.visual.ln_post(cls) @ model.visual.proj
        torch.testing.assert_close(model.visual(pixels), expected)


CUSTOM = {**EMBED, "vision_cfg": VIT, "custom_text": True}
COCA = {"context_length": 12, "width": 16, "heads": 2, "layers": 2}
TEXTS: dict[str, tuple[dict[str, Any], type]] = {
    "own": ({**EMBED, "vision_cfg": VIT, "text_cfg": TEXT}, open_clip.CLIP),
    "apart": ({**CUSTOM, "text_cfg": TEXT}, open_clip.CustomTextCLIP),
    "both ways": (  # as SigLIP
        {**CUSTOM, "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"}},
        open_clip.CustomTextCLIP,
    ),
    "coca": (
        {
            **CUSTOM,
            "vision_cfg": {**VIT, "attentional_pool": True, "output_tokens": True},
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": COCA,
        },
        open_clip.CoCa,
    ),
}


@pytest.mark.parametrize("family", TEXTS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_text_towers_equal_the_library(family: str, pooling: str, tmp_path: Path) -> None:
    config, kind = TEXTS[family]
    encoder = save(tmp_path, config, kind)
    backbone = load_backbone(encoder, modality="text", pooling=pooling, max_tokens=99)  # type: ignore[arg-type]
    ours = backbone.encode(TITLES)
    assert ours.shape == (3, 3, 16)
    model, _ = library(encoder)
    tower = getattr(model, "text", model)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    for row, title in enumerate(TITLES):
        tokens = tokenizer([title])
        assert tokens.shape == (1, 12)
        real = int(tokens.argmax()) + 1  # the end of the text has the highest number of all
        with torch.no_grad():
            first = tower.token_embedding(tokens) + tower.positional_embedding[:12]
            layers = model.forward_intermediates(text=tokens)["text_intermediates"]
        for level, state in enumerate([first, *layers]):
            expected = state[0, :real].mean(0) if pooling == "mean" else state[0, real - 1]
            torch.testing.assert_close(ours[row, level], expected)
    one_by_one = torch.cat([backbone.encode([title]) for title in TITLES])
    torch.testing.assert_close(one_by_one, ours, atol=1e-5, rtol=1e-5)


def test_a_text_tower_of_transformers_brings_its_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    text = {"hf_model_name": str(tiny_bert), "hf_tokenizer_name": "own", "context_length": 12}
    text |= {
        "hf_model_pretrained": False,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }
    config = {**CUSTOM, "text_cfg": text}
    encoder = save(tmp_path, config, open_clip.CustomTextCLIP)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, tmp_path)
    ours = load_backbone(encoder, modality="text").encode(TITLES)
    assert ours.shape == (3, 4, 16)
    model, _ = library(encoder)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    for row, title in enumerate(TITLES):
        tokens = tokenizer([title.lower()])
        mask = (tokens != 0).long()
        with torch.no_grad():
            found = model.text.transformer(tokens, mask, output_hidden_states=True)
        expected = torch.stack([state[0, 0] for state in found.hidden_states])
        torch.testing.assert_close(ours[row], expected)


def test_texts_are_cut_as_asked_and_filled_up_to_the_context(tiny_open_clip: str) -> None:
    cut = load_backbone(tiny_open_clip, modality="text", pooling="mean", max_tokens=5)
    inputs = cut.encoder.prepare([TITLES[1]]).tensors
    tokens = open_clip.get_tokenizer("ViT-B-32")([TITLES[1]], context_length=5)
    assert torch.equal(inputs["input_ids"], F.pad(tokens, (0, 7)))
    assert inputs["attention_mask"].tolist() == [[1] * 5 + [0] * 7]


def test_the_revision_of_a_name_on_the_hub_is_its_commit(
    tiny_open_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tiny_open_clip.removeprefix("open_clip:"))
    cache_as_downloaded(folder, "someone/clip", tmp_path, monkeypatch)
    for modality in ("image", "text"):
        backbone = load_backbone("open_clip:someone/clip", modality=modality, pooling="mean")  # type: ignore[arg-type]
        assert backbone.encoder.revision == COMMIT


def test_open_clip_limits_are_said(tiny_open_clip: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'abc' is asked for; take a pinned one through transf"):
        load_backbone(tiny_open_clip, modality="image", revision="abc")
    with pytest.raises(UserError, match=r"no \[CLS\] token, and pooling is cls"):
        load_backbone(tiny_open_clip, modality="text")
    folder = tiny_open_clip.removeprefix("open_clip:")
    shutil.copy(Path(folder) / "open_clip_config.json", tmp_path)
    torch.save({}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights are not loaded"):
        load_backbone(f"open_clip:{tmp_path}", modality="image")
