"""Encoders without weights, on the meta device, whose parameters can be counted."""

from typing import Any

import torch
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from benchmarks.golden.towers import GivenInputs
from toolkit.backbones import Encoder, EncoderSpec, Network
from toolkit.backbones.final_norm import FinalNorm
from toolkit.backbones.image import _run as run_image
from toolkit.backbones.pretrained import run as run_text


def on_meta(spec: EncoderSpec) -> Encoder:
    """BERT-base or ViT-base without weights."""
    with torch.device("meta"):
        if spec.modality == "text":
            model: Any = BertModel(BertConfig())
            inputs, run, norm = {"input_ids": torch.ones(1, 4, dtype=torch.long)}, run_text, None
        else:
            model = ViTModel(ViTConfig(), add_pooling_layer=False)
            inputs, run = {"pixel_values": torch.ones(1, 3, 224, 224)}, run_image
            norm = FinalNorm("layernorm", pooled=False)
    network = Network(model, GivenInputs(inputs), run, depth=12, width=768)
    return Encoder(network, spec, final_norm=norm).eval()
