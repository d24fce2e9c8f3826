"""Video networks of pytorchvideo, which is imported when one is built (`pip install "versa-toolkit[video-zoo]"`).

Their classification heads, whose pools have the size of the published clip, are removed: states are pooled over all of
time and space, whatever the clip.

B clips, T frames, N positions, D width.
"""

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.zoo.network import VideoNetwork
from toolkit.backbones.zoo.torchvision_networks import blocks, first_member, kinetics_transform
from toolkit.errors import UserError

_FAST_A_SLOW = 4  # frames of SlowFast's fast path for each of the slow path


def import_pytorchvideo(module: str = "models.hub") -> Any:
    """A module of pytorchvideo.

    Raises:
        UserError: if it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # fvcore compiles a loss with torch.jit
            return import_module(f"pytorchvideo.{module}")
    except ImportError as error:
        raise UserError(
            f"encoders pytorchvideo:… need pytorchvideo, which cannot be imported ({error}); "
            'pip install "versa-toolkit[video-zoo]"'
        ) from error


def open_residuals(model: nn.Module) -> nn.Module:
    """Sets the gain of each residual branch to 1/√n, of n branches, so that the variance of states grows e-fold at most.

    The library's own initial gain is 0: states would not depend on the branches, which would get no gradient at first.
    """
    last = [norm.weight for norm in model.modules() if getattr(norm, "block_final_bn", False)]
    for gain in last:
        nn.init.constant_(gain, len(last) ** -0.5)  # type: ignore[arg-type]
    return model


def _build(name: str, frames: int, crop_px: int) -> nn.Module:
    return open_residuals(getattr(import_pytorchvideo(), name)())


def _resnet(name: str, published: str) -> VideoNetwork:
    """Slow (arXiv 1812.03982), CSN (arXiv 1904.02811), R(2+1)D (arXiv 1711.11248): stem, res2 … res5, head."""
    return VideoNetwork(
        build=partial(_build, name),
        layers=blocks(5)[1:],
        head={"blocks.5": nn.Identity},
        pixels=kinetics_transform,
        published=published,
    )


def _pooled_resnet(name: str, published: str) -> VideoNetwork:
    """C2D and I3D (arXiv 1705.07750, 1711.07971), which pool pairs of frames after res2.

    Of an odd number of frames the last makes a pair with nobody, instead of being left out.
    """
    halved = partial(nn.MaxPool3d, kernel_size=(2, 1, 1), stride=(2, 1, 1), ceil_mode=True)
    return VideoNetwork(
        build=partial(_build, name),
        layers=(("blocks.1",), *blocks(6)[3:]),
        head={"blocks.2": halved, "blocks.6": nn.Identity},
        pixels=kinetics_transform,
        published=published,
        least_frames=2,
    )


def _x3d(name: str, published: str) -> VideoNetwork:
    """Arxiv 2004.04730: stem, res2 … res5, and the projection of its head (conv5, global pool, fc1)."""
    head = ("dropout", "proj", "activation", "output_pool")
    return VideoNetwork(
        build=partial(_build, name),
        layers=(*blocks(5)[1:], ("blocks.5.pool",)),
        head={
            "blocks.5.pool.pool": partial(nn.AdaptiveAvgPool3d, 1),
            **{f"blocks.5.{part}": nn.Identity for part in head},
        },
        pixels=kinetics_transform,
        published=published,
    )


def slow_and_fast(pixels: Tensor) -> list[Tensor]:
    """Frames of SlowFast's two paths (arXiv 1812.03982): (B, 3, T, H, W) -> [(B, 3, ⌈T/4⌉, H, W), (B, 3, T, H, W)].

    The slow path reads frames at equal distances from the first to the last; of five frames these two.
    """
    frames = pixels.shape[2]
    slow = torch.linspace(0, frames - 1, -(-frames // _FAST_A_SLOW), device=pixels.device)
    return [pixels.index_select(2, slow.long()), pixels]


def both_paths(state: list[Tensor]) -> Tensor:
    """The mean of each path over time and space, side by side: [(B, D1, …), (B, D2, …)] -> (B, 1, D1 + D2)."""
    means = [path.flatten(2).mean(dim=2, dtype=torch.float32).to(path.dtype) for path in state]
    return torch.cat(means, dim=1)[:, None]


def _slowfast(name: str, published: str) -> VideoNetwork:
    """Arxiv 1812.03982: two paths with lateral connections."""
    return VideoNetwork(
        build=partial(_build, name),
        layers=blocks(5)[1:],
        head={"blocks.5": nn.Identity, "blocks.6": nn.Identity},
        pixels=kinetics_transform,
        published=published,
        read=both_paths,
        feed=slow_and_fast,
    )


def resize_time(table: Tensor, length: int) -> Tensor:
    """Positions in time (1, N, D), linearly interpolated to another N."""
    return F.interpolate(table.transpose(1, 2), size=length, mode="linear").transpose(1, 2)


def resize_space(table: Tensor, length: int) -> Tensor:
    """Positions of a square grid (1, N, D), bilinearly interpolated to another N."""
    old, new = round(table.shape[1] ** 0.5), round(length**0.5)
    grid = table.transpose(1, 2).unflatten(2, (old, old))
    return F.interpolate(grid, size=(new, new), mode="bilinear").flatten(2).transpose(1, 2)


def _build_mvit(name: str, frames: int, crop_px: int) -> nn.Module:
    # Patches of 3 frames, 2 apart and with a frame of padding, are ⌈T/2⌉.
    model: nn.Module = getattr(import_pytorchvideo(), name)(
        temporal_size=2 * -(-frames // 2), spatial_size=crop_px
    )
    return model


def _mvit(name: str, published: str, frames: int) -> VideoNetwork:
    """Arxiv 2104.11227; tables of positions in time and in space."""
    table = "cls_positional_encoding.pos_embed_"
    return VideoNetwork(
        build=partial(_build_mvit, name),
        layers=blocks(16),
        head={"head": nn.Identity},
        pixels=kinetics_transform,
        published=published,
        read=first_member,
        positions={f"{table}temporal": resize_time, f"{table}spatial": resize_space},
        frames=frames,
        step_px=4,
        has_cls=True,
    )


NETWORKS: dict[str, Callable[[], VideoNetwork]] = {
    "r2plus1d_r50": partial(_resnet, "r2plus1d_r50", "R2PLUS1D_16x4_R50.pyth"),
    "slow_r50": partial(_resnet, "slow_r50", "SLOW_8x8_R50.pyth"),
    "csn_r101": partial(_resnet, "csn_r101", "CSN_32x2_R101.pyth"),
    "c2d_r50": partial(_pooled_resnet, "c2d_r50", "C2D_8x8_R50.pyth"),
    "i3d_r50": partial(_pooled_resnet, "i3d_r50", "I3D_8x8_R50.pyth"),
    "slowfast_r50": partial(_slowfast, "slowfast_r50", "SLOWFAST_8x8_R50.pyth"),
    "slowfast_r101": partial(_slowfast, "slowfast_r101", "SLOWFAST_8x8_R101.pyth"),
    "x3d_xs": partial(_x3d, "x3d_xs", "X3D_XS.pyth"),
    "x3d_s": partial(_x3d, "x3d_s", "X3D_S.pyth"),
    "x3d_m": partial(_x3d, "x3d_m", "X3D_M.pyth"),
    "x3d_l": partial(_x3d, "x3d_l", "X3D_L.pyth"),
    "mvit_base_16x4": partial(_mvit, "mvit_base_16x4", "MVIT_B_16x4.pyth", 16),
    "mvit_base_32x3": partial(_mvit, "mvit_base_32x3", "MVIT_B_32x3_f294077834.pyth", 32),
}
