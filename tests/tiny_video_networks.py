"""Thin video networks of torchvision and pytorchvideo, built by the libraries' own builders, and files of their weights."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.video import mvit, resnet, swin_transformer

from toolkit.backbones.zoo import pytorchvideo_networks, torchvision_networks
from toolkit.backbones.zoo.network import VideoNetwork
from toolkit.backbones.zoo.torchvision_networks import blocks

FRAMES, PX = 5, 32
TABLES = {
    "torchvision": torchvision_networks.NETWORKS,
    "pytorchvideo": pytorchvideo_networks.NETWORKS,
}
DEEP = {"embed_dim_mul": [[1, 2.0]], "pool_q_stride_size": [[1, 1, 2, 2]], "depth": 2}
MVIT = {**DEEP, "atten_head_mul": [[1, 2.0]], "pool_kv_stride_adaptive": [1, 4, 4], "pool_kvq_kernel": [3, 3, 3]}  # fmt: skip


def builder(path: str, **options: Any) -> nn.Module:
    """What a builder of pytorchvideo returns."""
    module, name = path.split(".")
    model = getattr(pytorchvideo_networks.import_pytorchvideo(f"models.{module}"), name)(**options)
    return pytorchvideo_networks.open_residuals(model)


def thin_r3d(frames: int, crop_px: int) -> nn.Module:
    makers = [resnet.Conv3DSimple] * 4
    return resnet.VideoResNet(resnet.BasicBlock, makers, [1, 1, 1, 1], resnet.BasicStem)


def s3d(frames: int, crop_px: int) -> nn.Module:
    """Not thin, because its widths are fixed; torchvision's initial weights let its states vanish."""
    model = torchvision_networks.get_model("s3d")
    for part in model.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.kaiming_normal_(part.weight)
    return model


def thin_swin(frames: int, crop_px: int) -> nn.Module:
    heads = [1, 2, 2, 2]
    return swin_transformer.SwinTransformer3d([2, 4, 4], 8, [1, 1, 1, 1], heads, [2, 3, 3])


def thin_mvit_v2(frames: int, crop_px: int) -> nn.Module:
    def block(width: int, out: int, stride: int) -> mvit.MSBlockConfig:
        return mvit.MSBlockConfig(2, width, out, [3] * 3, [3] * 3, [1, stride, stride], [1, 2, 2])

    return mvit.MViT((crop_px, crop_px), frames, [block(8, 16, 1), block(16, 16, 2)], True, True,
                     rel_pos_embed=True, proj_after_attn=True)  # fmt: skip


def thin_mvit(frames: int, crop_px: int) -> nn.Module:
    time = 2 * -(-frames // 2)
    return builder("vision_transformers.create_multiscale_vision_transformers", spatial_size=crop_px, temporal_size=time,
                   patch_embed_dim=8, **MVIT)  # fmt: skip


def thin(path: str, **options: Any) -> Callable[[int, int], nn.Module]:
    return lambda frames, crop_px: builder(path, **options)


C2D = {"stage1_pool": nn.MaxPool3d, "stem_conv_kernel_size": (1, 7, 7), "stage_conv_a_kernel_size": (1, 1, 1)}  # fmt: skip
PATHS = {"stem_dim_outs": (16, 2)}
FACTORS = {"width_factor": 1.0, "depth_factor": 1.0}

# By encoder: its thin builder, and what of its declaration follows from another size.
THIN: dict[str, tuple[Callable[[int, int], nn.Module], dict[str, Any]]] = {
    "torchvision:r3d_18": (thin_r3d, {}),
    "torchvision:s3d": (s3d, {}),
    "torchvision:swin3d_t": (thin_swin, {}),
    "torchvision:mvit_v2_s": (thin_mvit_v2, {"layers": blocks(2), "frames": 4, "crop_px": 32}),
    "pytorchvideo:slow_r50": (thin("resnet.create_resnet", stem_dim_out=4), {}),
    "pytorchvideo:c2d_r50": (thin("resnet.create_resnet", stem_dim_out=4, **C2D), {}),
    "pytorchvideo:csn_r101": (thin("csn.create_csn", stem_dim_out=8, stem_pool=nn.MaxPool3d), {}),
    "pytorchvideo:r2plus1d_r50": (thin("r2plus1d.create_r2plus1d", stem_dim_out=4), {}),
    "pytorchvideo:slowfast_r50": (thin("slowfast.create_slowfast", **PATHS), {}),
    "pytorchvideo:x3d_xs": (thin("x3d.create_x3d", **FACTORS), {}),
    "pytorchvideo:mvit_base_16x4": (thin_mvit, {"layers": blocks(2)}),
}


def make_thin(patch: pytest.MonkeyPatch) -> None:
    """Lets the names of THIN stand for thin networks that read small clips."""
    for encoder, (build, changed) in THIN.items():
        library, _, name = encoder.partition(":")
        small = {"frames": FRAMES, "crop_px": PX, **changed}
        network = partial(_changed, TABLES[library][name](), build=build, **small)
        patch.setitem(TABLES[library], name, network)


def _changed(network: VideoNetwork, **changed: Any) -> VideoNetwork:
    return replace(network, **changed)


def published(encoder: str, seed: int = 0) -> nn.Module:
    """The library's own network, thin, in evaluation mode, with statistics of BatchNorm as after training."""
    build, changed = THIN[encoder]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(changed.get("frames", FRAMES), changed.get("crop_px", PX)).eval()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm3d):
                nn.init.normal_(norm.running_mean, std=0.1)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
        for name, table in model.named_parameters():
            if "pos" in name:
                nn.init.normal_(table, std=0.1)
    return model


def write_weights(encoder: str, folder: Path, suffix: str = ".pyth") -> str:
    """The encoder's name with a file of such weights, laid out as the public ones are."""
    state = published(encoder).state_dict()
    file = folder / f"{encoder.partition(':')[2]}{suffix}"
    if suffix == ".safetensors":
        save_file({name: x.contiguous() for name, x in state.items()}, file)
    else:
        torch.save({"model_state": state, "epoch": 3} if suffix == ".pyth" else state, file)
    return f"{encoder}@{file}"


def jpeg_clip(seed: int, frames: int, height_px: int = 36, width_px: int = 50) -> list[bytes]:
    """A clip of random frames."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (frames, height_px, width_px, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


def without_pytorchvideo(patch: pytest.MonkeyPatch) -> None:
    """As if pytorchvideo were not installed."""
    patch.setitem(sys.modules, "pytorchvideo", None)
    for name in [name for name in sys.modules if name.startswith("pytorchvideo.")]:
        patch.delitem(sys.modules, name)
