"""The evaluation of the tiny VLM: captions scenes that are written as dump files and read as prep stores them."""

import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image as PillowImage
from transformers import InternVLForConditionalGeneration, InternVLProcessor

from prep.pictures.frames import stills
from prep.pictures.pixels import read_image, to_jpeg
from prep.synth.dump import write_clip, write_cover
from prep.synth.scenes import SIDE_PX, Image, draw_cover, draw_frames
from prep.synth.vlm_lesson import Kind, ask
from prep.synth.vlm_task import CLIPS, COVERS, FRAMES_TAKEN, WORDS, Scene, held_out, seen
from prep.synth.world import Purpose, generator

PROMPT = "What is there to be seen? Answer in one sentence."
LONG_PROMPT = " ".join([PROMPT] * 20)  # 240 tokens
BATCH = 50
EXAM_SCENES = 500  # of each kind


def photograph(scene: Scene, rng: Generator) -> list[Image]:
    """The RGB frames that prep stores for a new item of a dump: one for a cover, five for a clip."""
    with tempfile.TemporaryDirectory() as folder:
        if scene.motion is None:
            cover = Path(folder) / "0.jpg"
            write_cover(cover, draw_cover(scene.shape, scene.colour, rng))
            stored = [to_jpeg(read_image(cover))]
        else:
            clip = Path(folder) / "0.mp4"
            frames = draw_frames(scene.shape, scene.colour, scene.motion, rng)
            write_clip(clip, frames, index_first=True)
            row = stills(
                clip,
                backend="pyav",
                sampling="uniform",
                count=FRAMES_TAKEN,
                interval=1,
                px=SIDE_PX,
            )
            stored = row["frames"]
    return [np.array(PillowImage.open(BytesIO(jpeg))) for jpeg in stored]


@torch.inference_mode()
def captions(
    model: InternVLForConditionalGeneration,
    processor: InternVLProcessor,
    pictures: Sequence[Sequence[Image]],
    *,
    kind: Kind,
    prompt: str = PROMPT,
) -> list[str]:
    """The model's caption for each cover or clip."""
    texts: list[str] = []
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        inputs = ask(processor, batch, [prompt] * len(batch), kind=kind)
        answers = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        texts += processor.batch_decode(answers, skip_special_tokens=True)
    return texts


def marks(scenes: Sequence[Scene], texts: Sequence[str]) -> dict[str, float]:
    """For each attribute, the fraction of captions that contain the correct word and no other word of it.

    >>> marks([Scene("star", "red"), Scene("star", "blue")], ["a red star", "a red blue square"])
    {'shape': 0.5, 'colour': 0.5}
    """
    rights: dict[str, list[bool]] = {}
    for scene, caption in zip(scenes, texts, strict=True):
        for attribute, word in scene.words().items():
            named = WORDS[attribute].intersection(caption.split())
            rights.setdefault(attribute, []).append(named == {word})
    return {attribute: round(float(np.mean(right)), 4) for attribute, right in rights.items()}


def examine(
    model: InternVLForConditionalGeneration, processor: InternVLProcessor, seed: int
) -> dict[str, dict[str, float]]:
    """Marks per attribute, on new drawings of scenes that were seen in training and of held-out scenes."""
    kinds: list[tuple[str, Kind, tuple[Scene, ...]]] = [
        ("covers", "image", COVERS),
        ("clips", "video", CLIPS),
    ]
    rng = generator(seed, Purpose.CAPTIONER_TEST)
    results = {}
    for name, kind, scenes in kinds:
        for group, chosen in (("held_out", held_out(scenes)), ("seen", seen(scenes))):
            asked = [chosen[int(row)] for row in rng.integers(len(chosen), size=EXAM_SCENES)]
            pictures = [photograph(scene, rng) for scene in asked]
            for prompt, suffix in ((PROMPT, ""), (LONG_PROMPT, "_long_prompt")):
                texts = captions(model, processor, pictures, kind=kind, prompt=prompt)
                results[f"{name}_{group}{suffix}"] = marks(asked, texts)
    return results
