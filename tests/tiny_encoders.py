"""Tiny random encoders of every family, written as on the hub."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import timm
import torch
import transformers as hf
from safetensors.torch import save_file

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, Any] = {**SIZE, "intermediate_size": 32}
PATCHES: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 16}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS: dict[str, Any] = {"vocab_size": 80, "pad_token_id": 0}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
CLIP = {"vision_config": PATCHES, "text_config": {**SMALL, **WORDS, "max_position_embeddings": 12}}
STAGES = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1]}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

TITLES = ["a", "the longest of these titles by far", "short"]


def jpegs(seed: int, count: int) -> list[bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in pixels]


IMAGES = jpegs(0, 3)
CLIPS = [jpegs(1, 4), jpegs(2, 4), jpegs(3, 6)]

# By family: configuration, what is read, and the source it stands for.
FAMILIES: dict[str, tuple[hf.PreTrainedConfig, list[Any], str]] = {
    "bert": (hf.BertConfig(**SMALL, **WORDS), TITLES, "title"),
    "llama": (hf.LlamaConfig(**SMALL, **WORDS, num_key_value_heads=1), TITLES, "title"),
    "t5": (hf.T5Config(**T5, **WORDS, decoder_start_token_id=0), TITLES, "title"),
    "clip text": (hf.CLIPConfig(**CLIP), TITLES, "title"),
    "vit": (hf.ViTConfig(**PATCHES), IMAGES, "cover"),
    "vit of frames": (hf.ViTConfig(**PATCHES), CLIPS, "frames"),
    "clip image": (hf.CLIPConfig(**CLIP), IMAGES, "cover"),
    "mae": (hf.ViTMAEConfig(**PATCHES), IMAGES, "cover"),
    "swin": (hf.SwinConfig(**SWIN, image_size=32, patch_size=4), IMAGES, "cover"),
    "resnet": (hf.ResNetConfig(**STAGES), IMAGES, "cover"),
    "videomae": (hf.VideoMAEConfig(**PATCHES, num_frames=4, tubelet_size=2), CLIPS, "frames"),
    "x-clip": (
        hf.XCLIPConfig(
            vision_config={
                **PATCHES,
                "num_frames": 4,
                "mit_hidden_size": 16,
                "mit_intermediate_size": 32,
                "mit_num_attention_heads": 2,
            },
            text_config={**SMALL, **WORDS, "max_position_embeddings": 12},
            projection_dim=8,
        ),
        CLIPS,
        "frames",
    ),
}
# Families that only the tests of adaptation read.
DISTIL: dict[str, Any] = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
MODERN: dict[str, Any] = {**SMALL, **WORDS, "cls_token_id": 2, "sep_token_id": 3}
MORE: dict[str, tuple[hf.PreTrainedConfig, list[Any], str]] = {
    "deberta": (hf.DebertaV2Config(**SMALL, **WORDS), TITLES, "title"),
    "mpnet": (hf.MPNetConfig(**SMALL, vocab_size=80), TITLES, "title"),
    "distilbert": (hf.DistilBertConfig(**DISTIL, **WORDS), TITLES, "title"),
    "modernbert": (hf.ModernBertConfig(**MODERN), TITLES, "title"),
    "gpt2": (hf.GPT2Config(**GPT2, vocab_size=80), TITLES, "title"),
    "dinov2": (hf.Dinov2Config(**PATCHES), IMAGES, "cover"),
    "timesformer": (hf.TimesformerConfig(**PATCHES, num_frames=4), CLIPS, "frames"),
}
OPEN_CLIP: dict[str, tuple[list[Any], str]] = {
    "open_clip text": (TITLES, "title"),
    "open_clip image": (IMAGES, "cover"),
}
ALL = [*FAMILIES, *OPEN_CLIP]


def write_model(folder: Path, family: str) -> str:
    """A tiny random model with its tokenizer or processor, as on the hub; returns its name."""
    torch.manual_seed(0)
    if family in OPEN_CLIP:
        vision = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
        text = {"context_length": 12, "width": 16, "heads": 2, "layers": 2}
        config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
        about = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.2] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(about))
        save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
        return f"open_clip:{folder}"
    if family == "timm":
        return write_timm(folder)
    config, _, source = (MORE | FAMILIES)[family]
    hf.AutoModel.from_config(config).save_pretrained(folder)
    if source == "title":
        words = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        vocabulary = {word: row for row, word in enumerate(words)}
        hf.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    elif family in ("videomae", "timesformer"):
        size = {"shortest_edge": 32}, {"height": 32, "width": 32}
        hf.VideoMAEImageProcessor(size=size[0], crop_size=size[1]).save_pretrained(folder)
    else:
        hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def write_timm(folder: Path) -> str:
    """A ViT of timm, as timm's own repositories on the hub have it."""
    trunk = timm.create_model("test_vit", num_classes=0)
    save_file(trunk.state_dict(), folder / "model.safetensors")
    seen = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.2] * 3, "crop_pct": 0.9}
    about = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": seen}
    (folder / "config.json").write_text(json.dumps(about))
    return str(folder)


def payloads_of(family: str) -> list[Any]:
    if family == "timm":
        return IMAGES
    return OPEN_CLIP[family][0] if family in OPEN_CLIP else (MORE | FAMILIES)[family][1]


def source_of(family: str) -> str:
    if family == "timm":
        return "cover"
    return OPEN_CLIP[family][1] if family in OPEN_CLIP else (MORE | FAMILIES)[family][2]
