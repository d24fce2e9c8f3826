"""Trains the bundled tiny VLM: `python -m prep.synth.train_tiny_vlm` (about nine minutes on two cores).

An InternVL with 1.2 million weights, whose vision tower starts from the bundled tiny ViT, learns to generate the
captions of `prep.synth.vlm_task`. The scenes of training, evaluation and dumps come from separate random streams
(`prep.synth.world.Purpose`) for every seed.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import InternVLForConditionalGeneration, InternVLProcessor

from prep.synth.vlm_exam import EXAM_SCENES, examine
from prep.synth.vlm_lesson import draw_lesson, loss_of
from prep.synth.vlm_parts import build_model, build_processor
from prep.synth.vlm_task import CLIPS, COVERS, draw_examples, seen
from prep.synth.world import Purpose, generator
from toolkit.console.door import run_command
from toolkit.console.progress import track

FOLDER = Path(__file__).parent / "tiny_vlm"


class Stage(NamedTuple):
    """A stage of the training.

    Args:
        steps: number of optimizer steps.
        covers: number of covers per step.
        clips: number of clips per step.
        eyes: whether the vision tower is trained too, with lessons of all kinds.
    """

    steps: int
    covers: int
    clips: int
    eyes: bool


# An untrained language model would degrade the vision tower, so the first stage freezes it.
STAGES = (Stage(400, 32, 32, eyes=False), Stage(500, 64, 16, eyes=True))
LEARNING_RATE = 2e-3
EYES_LEARNING_RATE = 2e-4
GREY = 0.25  # the fraction of scenes on black-and-white film
WARMUP_STEPS = 50
LONGEST_GRADIENT = 1.0


def speed(step: int, steps: int) -> float:
    """The factor of the learning rate: a linear warm-up followed by a cosine decay to zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def build_optimizer(model: InternVLForConditionalGeneration) -> torch.optim.Optimizer:
    """AdamW with a lower learning rate for the vision tower."""
    parts = model.model
    reader = [*parts.multi_modal_projector.parameters(), *parts.language_model.parameters()]
    groups = [
        {"params": list(parts.vision_tower.parameters()), "lr": EYES_LEARNING_RATE},
        {"params": reader, "lr": LEARNING_RATE},  # word embeddings are tied to the output layer
    ]
    return torch.optim.AdamW(groups, weight_decay=0.05, betas=(0.9, 0.95))


def train(
    model: InternVLForConditionalGeneration,
    processor: InternVLProcessor,
    stages: Sequence[Stage],
    seed: int,
) -> None:
    """Trains the model on new covers and clips of the seen scenes, each shown once."""
    plan = [stage for stage in stages for _ in range(stage.steps)]
    optimizer = build_optimizer(model)
    schedule = LambdaLR(optimizer, lambda step: speed(step, len(plan)))
    for step, stage in track(enumerate(plan), "training", total=len(plan)):
        model.model.vision_tower.requires_grad_(stage.eyes)
        rng = generator(seed, Purpose.CAPTIONER_TRAINING, step)
        losses = []
        for scenes, count in ((seen(COVERS), stage.covers), (seen(CLIPS), stage.clips)):
            examples = list(draw_examples(scenes, count, rng, grey=GREY))
            loss = loss_of(model, draw_lesson(processor, examples, rng, varied=stage.eyes))
            loss.backward()
            losses.append(round(loss.item(), 3))
        torch.nn.utils.clip_grad_norm_(model.parameters(), LONGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0:
            print(step, losses, flush=True)


def main() -> None:
    """Trains, evaluates and saves the model."""
    parser = argparse.ArgumentParser(description="Trains the bundled tiny VLM.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    began_seconds, began_cpu_seconds = time.monotonic(), time.process_time()
    processor, model = build_processor(), build_model()
    train(model, processor, STAGES, arguments.seed)
    trained_seconds = round(time.monotonic() - began_seconds)
    trained_cpu_seconds = round(time.process_time() - began_cpu_seconds)
    model.eval()
    metrics = {
        "stages": [stage._asdict() for stage in STAGES],
        "seed": arguments.seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training_seconds": trained_seconds,
        "training_cpu_seconds": trained_cpu_seconds,
        "exam_scenes": EXAM_SCENES,
        **examine(model, processor, arguments.seed),
    }
    model.save_pretrained(arguments.output)
    (arguments.output / "model.safetensors").chmod(0o644)  # safetensors makes it private
    processor.save_pretrained(arguments.output)
    text = json.dumps(metrics, indent=2)
    (arguments.output / "metrics.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run_command(main)
