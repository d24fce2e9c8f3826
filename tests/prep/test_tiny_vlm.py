"""The bundled tiny VLM: its captions of new scenes, and its training."""

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, ViTModel

from prep.synth.scenes import Image
from prep.synth.vlm_exam import captions, marks, photograph
from prep.synth.vlm_lesson import draw_lesson
from prep.synth.vlm_parts import TINY_VIT, VOCABULARY, build_model, build_processor
from prep.synth.vlm_task import CLIPS, COVERS, Scene, caption, draw_examples, held_out, seen

FOLDER = Path(str(files("prep.synth") / "tiny_vlm"))
METRICS = json.loads((FOLDER / "metrics.json").read_text(encoding="utf-8"))
ATTRIBUTES = ("shape", "colour", "motion")
EXAMS = {
    f"{kind}_{group}{suffix}": f"{kind}, {shown}{words}"
    for kind in ("covers", "clips")
    for group, shown in (("held_out", "never shown"), ("seen", "shown"))
    for suffix, words in (("", ""), ("_long_prompt", ", long prompt"))
}
LONG_PROMPT = "You are shown the media of one item. State its topic, setting, mood. " * 16

Album = tuple[list[Scene], list[list[Image]]]


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForImageTextToText.from_pretrained(FOLDER).eval()


def album(scenes: list[Scene], seed: int) -> Album:
    rng = np.random.default_rng(seed)
    return scenes, [photograph(scene, rng) for scene in scenes]


@pytest.fixture(scope="module")
def covers() -> Album:
    return album(held_out(COVERS) * 16, seed=1001)


@pytest.fixture(scope="module")
def clips() -> Album:
    return album(held_out(CLIPS) * 3, seed=1002)


# What it says


def assert_as_measured(album: Album, said: list[str], exam: str) -> None:
    """No mark is below the card's by more than 4 standard deviations of what so few scenes give."""
    for attribute, mark in marks(album[0], said).items():
        measured = METRICS[exam][attribute]
        chance_error = (measured * (1 - measured) + 0.01) ** 0.5 / len(said) ** 0.5
        assert mark >= measured - 4 * chance_error, attribute


def test_covers_of_pairs_never_shown(model: Any, processor: Any, covers: Album) -> None:
    assert_as_measured(
        covers, captions(model, processor, covers[1], kind="image"), "covers_held_out"
    )


def test_clips_of_combinations_never_shown(model: Any, processor: Any, clips: Album) -> None:
    assert_as_measured(clips, captions(model, processor, clips[1], kind="video"), "clips_held_out")


def test_order_is_seen(model: Any, processor: Any) -> None:
    """Backwards, what goes left goes right; nothing else about the clip has changed."""
    scenes = [scene for scene in CLIPS if scene.motion in ("left", "right")]
    _, pictures = album(scenes, seed=1003)
    turned = {"left": "right", "right": "left"}
    backwards = [scene._replace(motion=turned[str(scene.motion)]) for scene in scenes]
    said = captions(model, processor, [frames[::-1] for frames in pictures], kind="video")
    assert marks(backwards, said)["motion"] > 0.9  # 48 clips; chance 1/5, and 0 if order were lost


def test_a_clip_sent_as_images_is_told_as_a_clip(model: Any, processor: Any, clips: Album) -> None:
    said = captions(model, processor, clips[1], kind="image")
    assert marks(clips[0], said)["motion"] > 0.8  # chance 1/5


@pytest.mark.parametrize("prompt", ["", LONG_PROMPT, "Is it a blue square moving up ?", "圖片 🙂"])
def test_the_prompt_changes_little(model: Any, processor: Any, clips: Album, prompt: str) -> None:
    scenes, pictures = clips[0][::2], clips[1][::2]
    told = marks(scenes, captions(model, processor, pictures, kind="video", prompt=prompt))
    assert min(told.values()) > 0.85


def test_black_pictures_get_a_caption(model: Any, processor: Any) -> None:
    black = np.zeros((90, 160, 3), np.uint8)
    assert captions(model, processor, [[black]], kind="image")[0].endswith("ground")
    assert captions(model, processor, [[black] * 5], kind="video")[0].endswith("ground")


# As any other model of transformers


def chat(kind: str, media: Any, text: str) -> list[dict[str, Any]]:
    parts = [{"type": kind, kind: media}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def generate(model: Any, processor: Any, chats: list[Any]) -> list[str]:
    inputs = processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"padding": True, "return_tensors": "pt"},
    )
    tokens = model.generate(**inputs, max_new_tokens=32)[:, inputs["input_ids"].shape[1] :]
    return list(processor.batch_decode(tokens, skip_special_tokens=True))


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_batch_says_what_its_rows_say_alone(
    model: Any, processor: Any, covers: Album, clips: Album, kind: str
) -> None:
    """Prompts of different lengths are padded on the left."""
    media = clips[1][:6] if kind == "video" else [frames[0] for frames in covers[1][:6]]
    texts = ["", "What?", LONG_PROMPT, "Tell me.", "What do you see here?", "a b c d e f g h"]
    chats = [chat(kind, shown, text) for shown, text in zip(media, texts, strict=True)]
    together = generate(model, processor, chats)
    assert together == [generate(model, processor, [one])[0] for one in chats]
    assert len(set(together)) > 1


def test_it_is_small_and_plain() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000
    assert {path.suffix for path in FOLDER.iterdir()} == {".safetensors", ".json", ".jinja", ".md"}


def test_it_loads_in_full_precision(model: Any) -> None:
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert sum(weight.numel() for weight in model.parameters()) == METRICS["parameters"]


def test_the_card_states_the_measured_marks() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:covers|clips),.*?) \| (.*) \|$", card, re.MULTILINE)
    stated = {name: cells.split(" | ") for name, cells in rows}
    measured = {
        name: [f"{METRICS[exam][a]:.3f}" if a in METRICS[exam] else "" for a in ATTRIBUTES]
        for exam, name in EXAMS.items()
    }
    assert stated == measured


@pytest.mark.parametrize("exam", ["clips_held_out", "clips_held_out_long_prompt"])
def test_captions_of_clips_reach_their_goals(exam: str) -> None:
    """The goals were set before training; on covers never shown the shape falls short of its own."""
    for attribute, goal in {"shape": 0.93, "colour": 0.97, "motion": 0.93}.items():
        assert METRICS[exam][attribute] >= goal, attribute


# How it was taught


def test_every_shape_colour_and_motion_is_shown_and_some_combinations_are_not() -> None:
    assert len(held_out(COVERS)) == 5 and len(held_out(CLIPS)) == 5 * 5 + 9
    shown = Counter(word for scene in seen(CLIPS) for word in scene)
    assert len(shown) == 4 + 6 + 5 and min(shown.values()) >= 10
    assert {scene[:2] for scene in seen(CLIPS)} == {scene[:2] for scene in seen(COVERS)}


def test_every_caption_is_in_its_words() -> None:
    tokenizer = build_processor().tokenizer
    grounds = [np.full((4, 4, 3), level, np.uint8) for level in (60, 120, 200)]
    for text in {caption(scene, [ground]) for scene in CLIPS + COVERS for ground in grounds}:
        tokens = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in tokens and tokenizer.decode(tokens) == text


def test_no_right_word_is_kept_out_of_a_lesson() -> None:
    rng = np.random.default_rng(0)
    examples = list(draw_examples(seen(CLIPS), 16, rng))
    lesson = draw_lesson(build_processor(), examples, rng, varied=True)
    for example, never in zip(examples, lesson.never, strict=True):
        words = {word for word, is_out in zip(VOCABULARY, never, strict=True) if is_out}
        assert words and words.isdisjoint(example.caption.split())


def test_it_starts_with_the_eyes_of_the_tiny_vit() -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    vit = ViTModel.from_pretrained(TINY_VIT, add_pooling_layer=False).eval()
    tower = build_model().model.vision_tower.eval()
    with torch.inference_mode():
        states = [eyes(pixel_values=pixels).last_hidden_state for eyes in (vit, tower)]
    torch.testing.assert_close(states[0], states[1], atol=1e-5, rtol=1e-5)
