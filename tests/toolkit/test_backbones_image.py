"""Image encoders: every kept state equals the library's own, computed picture by picture.

Each family is a tiny random model built from its own configuration.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import Tensor

from toolkit import TowerSpec, UserError
from toolkit.backbones import load_backbone, pretrained
from toolkit.images import decode_jpeg

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
PATCHES = {"image_size": 32, "patch_size": 8}  # 16 of them
WORDS = {"vocab_size": 77, "max_position_embeddings": 12, "bos_token_id": 2, "eos_token_id": 3}
STAGES = {"hidden_sizes": [8, 16, 24], "depths": [1, 1, 2]}
DINO = {**PATCHES, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

# By family: configuration, whether it has a [CLS] token, tokens of each state, and their widths. Tokens:
# [CLS], the distillation token (DeiT), registers (4), patches (4 x 4); stages halve the side each time.
UNIFORM = (16, 16, 16)
FAMILIES: dict[str, tuple[hf.PreTrainedConfig, bool, tuple[int, ...], tuple[int, ...]]] = {
    "vit": (hf.ViTConfig(**SMALL, **PATCHES), True, (17, 17, 17), UNIFORM),
    "deit": (hf.DeiTConfig(**SMALL, **PATCHES), True, (18, 18, 18), UNIFORM),
    "beit": (hf.BeitConfig(**SMALL, **PATCHES), True, (17, 17, 17), UNIFORM),
    "dinov2": (hf.Dinov2Config(**DINO, mlp_ratio=2), True, (17, 17, 17), UNIFORM),
    "dinov2 with registers": (
        hf.Dinov2WithRegistersConfig(**DINO, mlp_ratio=2),
        True,
        (21, 21, 21),
        UNIFORM,
    ),
    "dinov3": (
        hf.DINOv3ViTConfig(**SMALL, **PATCHES, num_register_tokens=4),
        True,
        (21, 21, 21),
        UNIFORM,
    ),
    "clip vision": (hf.CLIPVisionConfig(**SMALL, **PATCHES), True, (17, 17, 17), UNIFORM),
    "clip": (
        hf.CLIPConfig(vision_config={**SMALL, **PATCHES}, text_config={**SMALL, **WORDS}),
        True,
        (17, 17, 17),
        UNIFORM,
    ),
    "siglip": (
        hf.SiglipConfig(vision_config={**SMALL, **PATCHES}, text_config={**SMALL, **WORDS}),
        False,
        (16, 16, 16),
        UNIFORM,
    ),
    "mae": (hf.ViTMAEConfig(**SMALL, **PATCHES), True, (17, 17, 17), UNIFORM),
    "swin": (hf.SwinConfig(**SWIN, image_size=32, patch_size=4), False, (64, 16, 16), (8, 16, 16)),
    "swin v2": (
        hf.Swinv2Config(**SWIN, image_size=32, patch_size=4),
        False,
        (64, 16, 16),
        (8, 16, 16),
    ),
    "resnet": (
        hf.ResNetConfig(embedding_size=4, **STAGES),
        False,
        (64, 64, 16, 4),
        (4, 8, 16, 24),
    ),
    "convnext": (
        hf.ConvNextConfig(num_stages=3, **STAGES),
        False,
        (64, 64, 16, 4),
        (8, 8, 16, 24),
    ),
    "dinov3 convnext": (
        hf.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
        False,
        (1024, 64, 16, 4, 1),  # the library counts the picture itself as the embedding output
        (3, 8, 16, 24, 32),
    ),
}
WITH_CLS = [family for family, (_, has_cls, _, _) in FAMILIES.items() if has_cls]


def jpeg(seed: int, height_px: int = 40, width_px: int = 60) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


IMAGES = [jpeg(0), jpeg(1, 100, 20), jpeg(2)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder for each family, with a model and its image processor, as on the hub."""
    folders: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp("encoder")
            torch.manual_seed(0)
            hf.AutoModel.from_config(FAMILIES[family][0]).save_pretrained(folders[family])
            processor = hf.ViTImageProcessor(size={"height": 32, "width": 32})
            processor.save_pretrained(folders[family])
        return folders[family]

    return save


def library_states(folder: Path, image: bytes) -> list[Tensor]:
    """Tokens of every state, (S, D), from the library's own model and processor."""
    model: Any = hf.AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "vision_model", model)
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=decode_jpeg(image), return_tensors="pt")
    if isinstance(model, hf.ViTMAEModel):  # noise in ascending order keeps the patches in theirs
        model.config.mask_ratio = 0.0
        inputs["noise"] = torch.arange(16.0)[None]
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    return [s[0] if s.dim() == 3 else s[0].flatten(1).T for s in states]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_equal_the_library(family: str, saved: Callable[[str], Path]) -> None:
    folder = saved(family)
    _, has_cls, tokens, widths = FAMILIES[family]
    backbone = load_backbone(str(folder), modality="image", pooling="mean")
    ours = backbone.encode(IMAGES)
    assert ours.shape == (3, len(widths), max(widths))
    assert backbone.encoder.widths == widths and backbone.encoder.has_cls == has_cls
    for row, image in enumerate(IMAGES):
        states = library_states(folder, image)
        assert tuple(map(len, states)) == tokens
        for level, state in enumerate(states):
            torch.testing.assert_close(ours[row, level, : widths[level]], state.mean(0))
            assert not ours[row, level, widths[level] :].any()


@pytest.mark.parametrize("family", WITH_CLS)
def test_cls_is_the_first_token(family: str, saved: Callable[[str], Path]) -> None:
    ours = load_backbone(str(saved(family)), modality="image").encode(IMAGES[:1])
    states = library_states(saved(family), IMAGES[0])
    torch.testing.assert_close(ours[0], torch.stack([state[0] for state in states]))


@pytest.mark.parametrize("family", FAMILIES)
def test_states_do_not_depend_on_the_batch(family: str, saved: Callable[[str], Path]) -> None:
    whole = load_backbone(str(saved(family)), modality="image", pooling="mean")
    few = load_backbone(str(saved(family)), modality="image", pooling="mean", batch_size=2)
    torch.testing.assert_close(few.encode(IMAGES), whole.encode(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "has_cls", "widths"),
    [("test_vit", True, (64,) * 7), ("test_convnext", False, (24, 24, 32, 48, 64))],
)
def test_networks_of_timm_give_their_embedding_output_too(
    name: str, has_cls: bool, widths: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    trunk: Any = timm.create_model(name, num_classes=0).eval()
    save_file(trunk.state_dict(), tmp_path / "model.safetensors")
    seen = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.2] * 3}
    seen |= {"interpolation": "bicubic", "crop_pct": 0.9}
    about = {"architecture": name, "num_classes": 0, "pretrained_cfg": seen}
    (tmp_path / "config.json").write_text(json.dumps(about))  # as timm's hub repositories
    backbone = load_backbone(str(tmp_path), modality="image", pooling="mean")
    assert backbone.encoder.widths == widths and backbone.encoder.has_cls == has_cls
    ours = backbone.encode(IMAGES)
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path)
    for row, image in enumerate(IMAGES):
        pixels = processor(decode_jpeg(image), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            x = trunk._pos_embed(trunk.patch_embed(pixels)) if has_cls else trunk.stem(pixels)
            states = [x]
            for block in trunk.blocks if has_cls else trunk.stages:
                states.append(block(states[-1]))
        for level, state in enumerate(states):
            expected = state[0].mean(0) if has_cls else state[0].mean((1, 2))
            torch.testing.assert_close(ours[row, level, : widths[level]], expected)


def test_siglip_2_leaves_out_what_fills_up_small_pictures(tmp_path: Path) -> None:
    sides = {"vision_config": {**SMALL, "patch_size": 8, "num_patches": 16}}
    torch.manual_seed(0)
    config = hf.Siglip2Config(**sides, text_config={**SMALL, **WORDS})
    hf.AutoModel.from_config(config).save_pretrained(tmp_path)
    hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(tmp_path)
    ours = load_backbone(str(tmp_path), modality="image", pooling="mean").encode(IMAGES)
    model = hf.AutoModel.from_pretrained(tmp_path).eval().vision_model
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path)
    filled_up = False
    for row, image in enumerate(IMAGES):
        inputs = processor(images=decode_jpeg(image), return_tensors="pt")
        real = int(inputs["pixel_attention_mask"].sum())
        assert real == inputs["spatial_shapes"].prod()
        filled_up |= real < 16
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states
        expected = torch.stack([state[0, :real].mean(0) for state in states])
        torch.testing.assert_close(ours[row], expected)
    assert filled_up


def test_kept_stages_say_their_widths(saved: Callable[[str], Path]) -> None:
    folder = str(saved("resnet"))
    some = load_backbone(folder, modality="image", pooling="mean", layers=[0, 1])
    assert (some.encoder.width, some.encoder.widths) == (
        16,
        (4, 8, 16),
    )  # of the widest that is kept
    assert some.encode(IMAGES).shape == (3, 3, 16)
    about = some.encoder.states_metadata()
    assert about["widths"] == "4,8,16"
    assert TowerSpec.of_metadata("cover", about) == TowerSpec("cover", 3, 16, "image", (4, 8, 16))
    uniform = load_backbone(str(saved("vit")), modality="image").encoder
    assert TowerSpec.of_metadata("cover", uniform.states_metadata()) == TowerSpec(
        "cover", 3, 16, "image"
    )


@pytest.mark.parametrize("family", ["siglip", "swin", "resnet"])
def test_cls_of_an_encoder_without_one_is_refused(
    family: str, saved: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=r"no \[CLS\] token, and pooling is cls; set pooling mean"):
        load_backbone(str(saved(family)), modality="image")


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_text_side_reads_texts(
    family: str, pooling: str, saved: Callable[[str], Path], tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved(family), tmp_path / "both"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, folder)
    about = json.loads((folder / "tokenizer_config.json").read_text())
    about["model_input_names"] = ["input_ids"]  # as SigLIP's: no attention mask unasked
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    titles = ["a", "bc d", "e " * 100]
    backbone = load_backbone(str(folder), modality="text", pooling=pooling, max_tokens=128)  # type: ignore[arg-type]
    ours = backbone.encode(titles)
    model = hf.AutoModel.from_pretrained(folder).eval().text_model
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    for row, title in enumerate(titles):
        tokens = tokenizer(title, truncation=True, max_length=12, return_tensors="pt")
        with torch.no_grad():
            states = model(**tokens, output_hidden_states=True).hidden_states
        pool = {"mean": lambda h: h[0].mean(0), "last": lambda h: h[0, -1]}[pooling]
        torch.testing.assert_close(ours[row], torch.stack([pool(state) for state in states]))


def test_an_encoder_of_something_else_is_refused(
    saved: Callable[[str], Path], tiny_bert: Path
) -> None:
    message = r"\(bert\) reads texts, and this tower's source is pictures; .*title and other texts"
    with pytest.raises(UserError, match=message):
        load_backbone(str(tiny_bert), modality="image")
    for family, kind in (
        ("vit", "vit"),
        ("resnet", "resnet"),
        ("clip vision", "clip_vision_model"),
    ):
        message = rf"\({kind}\) reads images, and this tower's source is a text; .*cover and frames"
        with pytest.raises(UserError, match=message):
            load_backbone(str(saved(family)), modality="text", pooling="mean")


def test_a_side_of_a_model_that_returns_no_states_names_the_version_that_does(monkeypatch):
    monkeypatch.setattr(pretrained.transformers, "__version__", "5.5.4")
    whole, part = torch.nn.Module(), torch.nn.Linear(1, 1)
    assert pretrained.side_of("mine", whole, "vision_model") is whole
    whole.vision_model = part
    with pytest.raises(
        UserError,
        match=r"'mine' \(Linear\) needs transformers 5\.6 or newer, because transformers 5\.5\.4",
    ):
        pretrained.side_of("mine", whole, "vision_model")
    monkeypatch.setattr(pretrained.transformers, "__version__", "5.6.0")
    assert pretrained.side_of("mine", whole, "vision_model") is part
