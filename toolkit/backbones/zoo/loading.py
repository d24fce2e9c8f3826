"""Loads video networks of torchvision and pytorchvideo.

B clips, T frames, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.backbones.listening import listen
from toolkit.backbones.network import Hidden, Network
from toolkit.backbones.pretrained import probing, processor_name
from toolkit.backbones.video import ClipPreparation
from toolkit.backbones.zoo import pytorchvideo_networks, torchvision_networks
from toolkit.backbones.zoo.name import ZooName
from toolkit.backbones.zoo.network import VideoNetwork
from toolkit.backbones.zoo.weights import load_weights
from toolkit.errors import UserError

_NETWORKS = {
    "torchvision": torchvision_networks.NETWORKS,
    "pytorchvideo": pytorchvideo_networks.NETWORKS,
}
_SEED = 0  # of random weights


def find_network(name: ZooName) -> VideoNetwork:
    """The declaration of a network.

    Raises:
        UserError: if the library has no such network, with those that it has.
    """
    known = _NETWORKS[name.library]
    if name.network not in known:
        raise UserError(
            f"encoder {str(name)!r}: {name.library} has no video network {name.network!r} that is known; choose from "
            f"{', '.join(known)}"
        )
    return known[name.network]()


def clip_size(
    name: ZooName, network: VideoNetwork, frame_count: int | None, crop_px: int | None
) -> tuple[int, int]:
    """T, and height and width in px, of the clips that a network is to read.

    Raises:
        UserError: if it cannot read such clips.
    """
    frames, px = frame_count or network.frames, crop_px or network.crop_px
    who = f"encoder {str(name)!r}"
    if network.fixed and (frames, px) != (network.frames, network.crop_px):
        raise UserError(
            f"{who} reads clips of {network.frames} frames at {network.crop_px} px only, and {frames} frames at {px} px "
            "are asked for; leave out frame_count and crop_px, or choose another encoder"
        )
    if frames < network.least_frames:
        raise UserError(
            f"{who}: frame_count is {frames}, and the network reads at least {network.least_frames} frames"
        )
    if px < network.least_px or px % network.step_px:
        raise UserError(
            f"{who}: crop_px is {px}; expected a multiple of {network.step_px}, at least {network.least_px}"
        )
    return frames, px


def build_network(network: VideoNetwork, frames: int, crop_px: int) -> nn.Module:
    """The library's module with random weights from seed 0, in evaluation mode; torch's generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return network.build(frames, crop_px).eval()


def load(name: ZooName, *, frame_count: int | None, crop_px: int | None) -> Network:
    """Loads a video network without its classification head; see `toolkit.backbones.load_encoder`.

    Args:
        name: of the network and its weights.
        frame_count: T; None for the network's own.
        crop_px: height and width; None for the network's own.

    Raises:
        UserError: if the network is unknown, cannot read such clips, or the weights are not its own.
    """
    network = find_network(name)
    frames, px = clip_size(name, network, frame_count, crop_px)
    file = name.file
    model = build_network(network, frames, px)
    if file is not None:
        load_weights(model, file, network, who=str(name))
    for path, replacement in network.head.items():
        model.set_submodule(path, replacement())
    transform = network.pixels(px)
    run = partial(run_network, network=network)
    with probing(model):
        states = run(model, {"pixel_values": torch.zeros(1, 3, frames, px, px)}).states
    widths = tuple(state.shape[2] for state in states)
    return Network(
        model=model,
        preparation=PixelPreparation(transform, frames),
        run=run,
        depth=len(network.layers),
        width=max(widths),
        widths=widths if len(set(widths)) > 1 else None,
        frames=frames,
        crop_px=px,
        has_cls=network.has_cls,
        processor=processor_name(transform),
        layer_modules=network.layers,
    )


def run_network(model: nn.Module, inputs: dict[str, Tensor], *, network: VideoNetwork) -> Hidden:
    """States of every layer, read while the library's own `forward` runs."""
    ends = [model.get_submodule(paths[-1]) for paths in network.layers]
    states = listen(
        ends,
        lambda: model(network.feed(inputs["pixel_values"])),
        first=model.get_submodule(network.layers[0][0]),
        read=network.read,
    )
    return Hidden(states, None)


@dataclass(frozen=True)
class PixelPreparation(ClipPreparation):
    """The same as for whole clips, with a transform of torchvision.

    Args:
        processor: from frames (T, 3, height, width) uint8 to normalised pixels (3, T, crop_px, crop_px).
        frames: T, how many the network reads of a clip.
    """

    def collate(self, read: Sequence[list[np.ndarray]]) -> dict[str, Tensor]:
        """Pixel values (B, 3, T, crop_px, crop_px)."""
        clips = [torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2) for clip in read]
        return {"pixel_values": torch.stack([self.processor(clip.contiguous()) for clip in clips])}
