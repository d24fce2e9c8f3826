"""Trains the bundled tiny ViT: `python -m prep.synth.train_tiny_vit` (about six minutes on two cores).

A ViT with half a million weights learns `prep.synth.vit_task` with linear heads that are discarded. The scenes of
training, tests and dumps come from separate random streams (`prep.synth.world.Purpose`) for every seed.

B images, D the width of the ViT.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from prep.synth.scenes import SIDE_PX, Image
from prep.synth.vit_task import (
    CLASSES,
    HELD_OUT,
    LOSS_WEIGHTS,
    PATCH_PX,
    SEEN,
    Pair,
    draw_batch,
    losses,
)
from prep.synth.world import Purpose, generator
from toolkit.console.door import run_command
from toolkit.console.progress import track

FOLDER = Path(__file__).parent / "tiny_vit"

INPUT_SIDE_PX = 64
BATCH = 64
LEARNING_RATE = 2e-3
WARMUP_STEPS = 100
TEST_IMAGES = 2000


class Student(nn.Module):
    """The ViT with its preprocessing and the heads of the training task."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            image_size=INPUT_SIDE_PX,
            patch_size=PATCH_PX,
            hidden_size=96,
            num_hidden_layers=6,
            num_attention_heads=4,
            intermediate_size=192,
        )
        side = {"height": INPUT_SIDE_PX, "width": INPUT_SIDE_PX}
        self.processor = ViTImageProcessor(size=side)
        self.vit = ViTModel(config, add_pooling_layer=False)
        grid = wave_positions(INPUT_SIDE_PX // PATCH_PX, config.hidden_size)
        self.vit.embeddings.position_embeddings.data[0, 1:] = grid
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.hidden_size, count) for name, count in CLASSES.items()}
        )
        self.outline = nn.Linear(config.hidden_size, PATCH_PX**2)

    def forward(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """Logits: (B, classes) of the last layer's CLS token, and the outline of each patch."""
        pixels = self.processor(images, return_tensors="pt")["pixel_values"]
        states = self.vit(pixel_values=pixels).last_hidden_state
        logits = {name: head(states[:, 0]) for name, head in self.heads.items()}
        return logits | {"outline": self.outline(states[:, 1:])}


def wave_positions(side: int, width: int) -> Tensor:
    """Sine waves of both coordinates (side * side, D), an initialisation from which places are learnt quickly."""
    frequencies = 100.0 ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [axis.flatten()[:, None] * frequencies for axis in (rows, columns)]
    return 0.5 * torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], 1)


def learning_rate(step: int, steps: int) -> float:
    """A linear warm-up followed by a cosine decay to zero."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return LEARNING_RATE * warmup * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(student: Student, steps: int, seed: int) -> None:
    """Trains the student on new scenes of the seen pairs, each shown once.

    Scenes are drawn at the ViT's input size, which is faster than scaling down larger scenes.
    """
    optimizer = torch.optim.AdamW(student.parameters(), weight_decay=0.05, betas=(0.9, 0.95))
    for step in track(range(steps), "training", total=steps):
        rng = generator(seed, Purpose.ENCODER_TRAINING, step)
        images, labels = draw_batch(SEEN, BATCH, rng, side_px=INPUT_SIDE_PX)
        parts = losses(student(images), labels)
        optimizer.zero_grad()
        torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum().backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.step()
        if step % 100 == 0:
            print(step, {name: round(part.item(), 3) for name, part in parts.items()}, flush=True)


@torch.inference_mode()
def accuracy(student: Student, pairs: Sequence[Pair], seed: int) -> dict[str, float]:
    """The accuracy of each head on new scenes of `pairs`, at the size of dumps."""
    rng = generator(seed, Purpose.ENCODER_TEST)
    images, labels = draw_batch(pairs, TEST_IMAGES, rng, side_px=SIDE_PX)
    logits = student(images)
    hits = {name: logits[name].argmax(1) == labels[name] for name in CLASSES}
    return {name: round(hit.float().mean().item(), 4) for name, hit in hits.items()}


def main() -> None:
    """Trains, evaluates and saves the model."""
    parser = argparse.ArgumentParser(description="Trains the bundled tiny ViT.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    began_seconds = time.monotonic()
    student = Student()
    train(student, arguments.steps, arguments.seed)
    trained_seconds = round(time.monotonic() - began_seconds)
    student.eval()
    metrics = {
        "steps": arguments.steps,
        "batch": BATCH,
        "seed": arguments.seed,
        "parameters": sum(parameter.numel() for parameter in student.vit.parameters()),
        "training_seconds": trained_seconds,
        "test_images": TEST_IMAGES,
        "held_out_pairs": accuracy(student, HELD_OUT, arguments.seed),
        "seen_pairs": accuracy(student, SEEN, arguments.seed),
    }
    student.vit.save_pretrained(arguments.output)
    (arguments.output / "model.safetensors").chmod(0o644)  # safetensors makes it private
    student.processor.save_pretrained(arguments.output)
    text = json.dumps(metrics, indent=2)
    (arguments.output / "metrics.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run_command(main)
