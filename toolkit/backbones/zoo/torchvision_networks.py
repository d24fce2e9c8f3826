"""Video networks of torchvision."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.video import R3D_18_Weights

from toolkit.backbones.listening import as_tokens
from toolkit.backbones.zoo.network import VideoNetwork


def scaled_transform(transform: "partial[Any]", crop_px: int) -> Any:
    """A published transform for another crop, resized in proportion."""
    published, resized = transform.keywords["crop_size"][0], transform.keywords["resize_size"]
    sizes = [round(px * crop_px / published) for px in resized]
    return transform(crop_size=(crop_px, crop_px), resize_size=sizes)


def kinetics_transform(crop_px: int) -> Any:
    """The transform of PySlowFast and pytorchvideo: shorter side at 256/224 of the crop, mean 0.45, deviation 0.225."""
    return R3D_18_Weights.DEFAULT.transforms(
        crop_size=(crop_px, crop_px),
        resize_size=[round(crop_px * 256 / 224)],
        mean=(0.45,) * 3,
        std=(0.225,) * 3,
    )


def first_member(output: Any) -> Tensor:
    """The tokens (B, S, D) that a block of an MViT returns together with their grid."""
    tokens: Tensor = output[0] if isinstance(output, tuple) else output
    return tokens


def blocks(count: int, path: str = "blocks") -> tuple[tuple[str, ...], ...]:
    """The members of a list as layers."""
    return tuple((f"{path}.{number}",) for number in range(count))


def _declared(name: str, **parts: Any) -> VideoNetwork:
    weights = get_model_weights(name).DEFAULT
    return VideoNetwork(
        build=lambda frames, crop_px: get_model(name),
        pixels=partial(scaled_transform, weights.transforms),
        published=weights.url.rpartition("/")[2],
        **parts,
    )


def _resnet(name: str) -> VideoNetwork:
    """Arxiv 1711.11248."""
    stages = tuple((f"layer{number}",) for number in range(1, 5))
    return _declared(name, layers=stages, head={"fc": nn.Identity})


def _s3d() -> VideoNetwork:
    """Arxiv 1712.04851: the units of its figure between pools. Two pools halve T before one takes pairs of frames."""
    units = ((2, 3), (5, 6), range(8, 13), (14, 15))
    return _declared(
        "s3d",
        layers=tuple(tuple(f"features.{number}" for number in unit) for unit in units),
        head={"avgpool": nn.Identity, "classifier": nn.Identity},
        least_frames=5,
    )


def _swin(name: str) -> VideoNetwork:
    """Arxiv 2106.13230. The merging of patches belongs to the stage that reads them."""
    stages = (("features.0",), *((f"features.{n}", f"features.{n + 1}") for n in (1, 3, 5)))
    channels_last = partial(as_tokens, channels_last=True)
    return _declared(name, layers=stages, head={"head": nn.Identity}, read=channels_last)


def _mvit(name: str) -> VideoNetwork:
    """Arxiv 2104.11227 and 2112.01526; their tables of positions are of 16 frames at 224 px."""
    network = _declared(
        name, layers=blocks(16), head={"head": nn.Identity}, read=first_member, has_cls=True
    )
    return replace(network, frames=16, fixed=True)


NETWORKS: dict[str, Callable[[], VideoNetwork]] = {
    **{name: partial(_resnet, name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")},
    "s3d": _s3d,
    **{name: partial(_swin, name) for name in ("swin3d_t", "swin3d_s", "swin3d_b")},
    **{name: partial(_mvit, name) for name in ("mvit_v1_b", "mvit_v2_s")},
}
