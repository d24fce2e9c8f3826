"""One training step of each of MicroLens' fifteen video encoders at its public freeze index: real size, random weights.

`python -m benchmarks.videos [NAME ...]` prints a table. It needs `pip install "versa-toolkit[video-zoo]"`, about 6 GB of
memory, and no network.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

from models.adaptation import adapt, check_gradients
from models.items.heads import Head
from toolkit.backbones import Encoder, EncoderSpec, load_encoder
from toolkit.backbones.zoo.loading import build_network, find_network
from toolkit.backbones.zoo.name import parse_zoo_name


class Row(NamedTuple):
    """An encoder of the table.

    Args:
        name: MicroLens' own.
        encoder: ours.
        top: K of `--adapt top-K`.
        index: the public freeze index: parameter tensors before it are frozen.
        frames: of a clip.
    """

    name: str
    encoder: str
    top: int
    index: int
    frames: int = 5


VIDEOMAE = "VideoMAE"
ROWS = (
    Row("r3d18", "torchvision:r3d_18@random", 2, 30),
    Row(VIDEOMAE, "transformers", 2, 152, frames=4),
    Row("r3d50", "pytorchvideo:r2plus1d_r50@random", 1, 168),
    Row("c2d50", "pytorchvideo:c2d_r50@random", 1, 129),
    Row("i3d50", "pytorchvideo:i3d_r50@random", 2, 72),
    Row("csn101", "pytorchvideo:csn_r101@random", 1, 282),
    Row("slow50", "pytorchvideo:slow_r50@random", 1, 129),
    Row("slowfast-50", "pytorchvideo:slowfast_r50@random", 1, 270),
    Row("slowfast-101", "pytorchvideo:slowfast_r101@random", 1, 576),
    Row("x3d-xs", "pytorchvideo:x3d_xs@random", 2, 226),
    Row("x3d-s", "pytorchvideo:x3d_s@random", 2, 226),
    Row("x3d-m", "pytorchvideo:x3d_m@random", 2, 226),
    Row("x3d-l", "pytorchvideo:x3d_l@random", 2, 455),
    Row("MViT 16x4", "pytorchvideo:mvit_base_16x4@random", 2, 326),
    Row("MViT 32x3", "pytorchvideo:mvit_base_32x3@random", 2, 326),
)
WIDTH = 512  # of MicroLens' item vectors


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each encoder as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="encoders, by MicroLens' names; all by default")
    names = parser.parse_args(arguments).names
    print(
        "| encoder | ours | clip | top | tensors (public) | frozen (index) | trained | seconds | loss | gradients |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for row in ROWS:
        if not names or row.name in names:
            print("| " + " | ".join(step(row)) + " |", flush=True)


def step(row: Row) -> Iterator[str]:
    """Loads an encoder, lets its top layers train and takes one step of AdamW on one clip; the cells of its line."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = _load(row, Path(folder))
    adapted = adapt(encoder, f"top-{row.top}", prefix="image")
    head = Head(encoder.widths[-1], WIDTH, layers=0, dropout=0.0)
    trained = [x for x in encoder.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW([*trained, *head.parameters()], lr=1e-4)
    before = {name: x.detach().clone() for name, x in encoder.named_parameters()}
    inputs = encoder.prepare([_clip(row.frames)])
    encoder.train()
    began = time.perf_counter()
    loss = head(encoder(inputs)[:, -1]).square().mean()
    loss.backward()
    optimizer.step()
    seconds = time.perf_counter() - began
    check_gradients(encoder)
    changed = {name for name, x in encoder.named_parameters() if not torch.equal(x, before[name])}
    right = changed == set(adapted.trainable)
    tensors = _published_tensors(row, encoder)
    clip = inputs.tensors["pixel_values"].shape
    yield row.name
    yield row.encoder.partition("@")[0]
    yield f"{row.frames} x {clip[-1]} px"
    yield f"top-{row.top}"
    yield str(tensors)
    yield f"{len(before) - len(adapted.trainable)} ({row.index})"
    yield str(len(adapted.trainable))
    yield f"{seconds:.1f}"
    yield f"{float(loss.detach()):.3g}{'' if torch.isfinite(loss) else ' (not finite)'}"
    yield (
        "in the trained layers alone"
        if right
        else f"{len(changed ^ set(adapted.trainable))} differ"
    )


def _load(row: Row, folder: Path) -> Encoder:
    encoder = row.encoder
    if row.name == VIDEOMAE:
        torch.manual_seed(0)
        VideoMAEModel(VideoMAEConfig()).save_pretrained(folder)
        VideoMAEImageProcessor().save_pretrained(folder)
        encoder = str(folder)
    spec = EncoderSpec(encoder, source="frames", pooling="mean", layers="group-1", frame_count=row.frames)  # fmt: skip
    return load_encoder(spec, final_norm=True)


def _published_tensors(row: Row, encoder: Encoder) -> int:
    """Parameter tensors with the classification head."""
    name = parse_zoo_name(row.encoder)
    if name is None:
        return len(list(encoder.parameters()))
    network = find_network(name)
    return len(list(build_network(network, row.frames, network.crop_px).parameters()))


def _clip(frames: int) -> list[bytes]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (frames, 256, 340, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


if __name__ == "__main__":
    main()
