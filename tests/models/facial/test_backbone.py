import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from models.facial import StageBackbone, load_stage_backbone
from toolkit.errors import UserError

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]


def saved(model: hf.PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    hf.ViTImageProcessor(image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return folder


def test_weights_and_normalisation_of_a_checkpoint_are_loaded(swin, images, tmp_path):
    classifier = hf.SwinForImageClassification(swin).eval()
    backbone = load_stage_backbone(str(saved(classifier, tmp_path))).eval()
    normalised = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = classifier.swin(normalised, output_hidden_states=True).reshaped_hidden_states
    maps = backbone(images)
    assert [tuple(stage.shape[1:]) for stage in maps] == [(8, 8, 8), (16, 4, 4), (32, 2, 2)]
    # A backbone has a LayerNorm of its own after every stage; the last stage's state is before it.
    last = torch.nn.functional.layer_norm(expected[-1].permute(0, 2, 3, 1), (32,))
    torch.testing.assert_close(maps[-1], last.permute(0, 3, 1, 2))


def test_settings_rebuild_it_without_a_file(swin, images):
    backbone = StageBackbone.from_config(swin, mean=MEAN, std=STD).eval()
    again = StageBackbone.from_settings(json.loads(json.dumps(backbone.settings()))).eval()
    again.load_state_dict(backbone.state_dict())
    for one, other in zip(backbone(images), again(images), strict=True):
        assert torch.equal(one, other)


def test_any_hierarchical_network_has_all_its_stages(images):
    sizes = {"hidden_sizes": [4, 8, 12], "depths": [1, 1, 1]}
    for config in (
        hf.ResNetConfig(embedding_size=4, **sizes),
        hf.ConvNextConfig(num_stages=3, **sizes),
    ):
        backbone = StageBackbone.from_config(config).eval()
        assert backbone.channels == (4, 8, 12)
        widths = [stage.shape[3] for stage in backbone(images)]
        assert widths == [widths[0], widths[0] // 2, widths[0] // 4]


def test_every_trainable_weight_has_a_gradient(swin, images):
    backbone = StageBackbone.from_config(swin)
    sum(stage.square().sum() for stage in backbone(images)).backward()
    without = {name for name, p in backbone.named_parameters() if p.grad is None}
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert without == frozen == {f"network.swin.layernorm.{part}" for part in ("weight", "bias")}


VIT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}


def test_refusals(swin, tmp_path):
    vit = saved(hf.ViTModel(hf.ViTConfig(**VIT, image_size=32)), tmp_path / "vit")
    with pytest.raises(UserError, match=r"vit' \(vit\) has no stages .* such as swin"):
        load_stage_backbone(str(vit))
    flat = hf.Dinov2Model(hf.Dinov2Config(**VIT, image_size=32, patch_size=8))
    with pytest.raises(UserError, match=r"dinov2 has stages with grids \[\(4, 4\), \(4, 4\)\]"):
        load_stage_backbone(str(saved(flat, tmp_path / "flat")))
    with pytest.raises(UserError, match="no such folder"):
        load_stage_backbone(str(tmp_path / "absent"))
    short = saved(hf.SwinModel(swin), tmp_path / "short")
    weights = load_file(short / "model.safetensors")
    weights.pop("embeddings.norm.weight")
    save_file(weights, short / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights, such as .*embeddings\.norm\.weight"):
        load_stage_backbone(str(short))
