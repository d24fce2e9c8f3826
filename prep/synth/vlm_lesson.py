"""Inputs of the bundled tiny VLM: chats about covers and clips, and training batches with answers.

B examples, T tokens of a chat, A tokens of the longest answer, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F
from transformers import BatchFeature, InternVLForConditionalGeneration, InternVLProcessor

from prep.synth.scenes import Image
from prep.synth.vlm_parts import VOCABULARY
from prep.synth.vlm_task import CAPTION_WORDS, Example, words_never_shown_with

Kind = Literal["image", "video"]

SHORT_PROMPT, LONG_PROMPT = 5, 300  # maximum number of words of a lesson's prompts
LONG_PROMPTS = 0.1  # the fraction of lessons with long prompts; the shorter ones are cheaper
CLIPS_AS_IMAGES = 0.2  # fraction of clips passed as images, as servers often receive them
HIDDEN_WORDS = 0.5  # fraction of hidden words in the previous part of the answer
_UNKNOWN_WORD = "?"
_IGNORED = -100


class Lesson(NamedTuple):
    """A training batch of chats with answers.

    Args:
        inputs: model inputs of the chats: input_ids (B, T), left-padded, and so on.
        heard: (B, A) previous tokens of the answer with some words hidden, so that the model must see the shape and
            cannot guess it from the colour before it.
        answers: (B, A) token ids, right-padded with -100.
        never: (B, V) true for words that never replace the correct word in a training example.
    """

    inputs: BatchFeature
    heard: Tensor
    answers: Tensor
    never: Tensor


def ask(
    processor: InternVLProcessor,
    pictures: Sequence[Sequence[Image]],
    prompts: Sequence[str],
    *,
    kind: Kind,
) -> BatchFeature:
    """The model's inputs for B chats, each with a prompt and a clip or some images."""
    chats = []
    for frames, prompt in zip(pictures, prompts, strict=True):
        shown = [{"type": kind}] * (len(frames) if kind == "image" else 1)
        chats.append([{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}])
    texts = processor.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    media = {f"{kind}s": [list(frames) for frames in pictures]}
    return processor(text=texts, **media, padding=True, return_tensors="pt")


def draw_prompt(longest: int, rng: Generator) -> str:
    """Draws a prompt of up to `longest` known and unknown words, on which no answer may depend."""
    known = rng.random()
    words = rng.choice(CAPTION_WORDS, size=rng.integers(longest + 1))
    return " ".join(word if rng.random() < known else _UNKNOWN_WORD for word in words)


def draw_lesson(
    processor: InternVLProcessor, examples: Sequence[Example], rng: Generator, *, varied: bool
) -> Lesson:
    """A lesson of B covers or of B clips.

    Args:
        processor: processor of the model.
        examples: covers or clips.
        rng: random generator.
        varied: whether prompts are long at times, and clips are sent as so many images at times.
    """
    is_clip = examples[0].scene.motion is not None
    longest = _longest_prompt(rng) if varied else SHORT_PROMPT
    as_images = varied and rng.random() < CLIPS_AS_IMAGES
    inputs = ask(
        processor,
        [example.frames for example in examples],
        [draw_prompt(longest, rng) for _ in examples],
        kind="video" if is_clip and not as_images else "image",
    )
    answers = _answers(processor, [example.caption for example in examples])
    hidden = torch.tensor(rng.random(answers.shape) < HIDDEN_WORDS)
    heard = answers.clamp(min=0).masked_fill(hidden, processor.tokenizer.unk_token_id)
    excluded = [words_never_shown_with(example.scene) for example in examples]
    never = torch.tensor([[word in words for word in VOCABULARY] for words in excluded])
    return Lesson(inputs, heard, answers, never)


def _longest_prompt(rng: Generator) -> int:
    if rng.random() < LONG_PROMPTS:
        return LONG_PROMPT
    return int(rng.integers(SHORT_PROMPT, 10 * SHORT_PROMPT))


def _answers(processor: InternVLProcessor, captions: Sequence[str]) -> Tensor:
    tokenizer = processor.tokenizer
    texts = [caption + tokenizer.eos_token for caption in captions]
    tokens = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    return tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, _IGNORED)


def loss_of(model: InternVLForConditionalGeneration, lesson: Lesson) -> Tensor:
    """Cross entropy of the answers' words, given those before.

    Words that would make a held-out scene do not compete, as in `prep.synth.vit_task.losses`: else
    the model learns first of all that after "a red" there is never a circle.
    """
    inputs, heard, answers, never = lesson
    # What fills the short answers up comes last: no word that counts can look at it.
    logits = model(
        input_ids=torch.cat([inputs["input_ids"], heard], 1),
        attention_mask=torch.cat([inputs["attention_mask"], torch.ones_like(heard)], 1),
        pixel_values=inputs["pixel_values"],
        logits_to_keep=answers.shape[1] + 1,
        use_cache=False,
    ).logits[:, :-1]
    logits = logits.masked_fill(never[:, None], torch.finfo(logits.dtype).min)
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=_IGNORED)
